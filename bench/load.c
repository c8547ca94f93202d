/* load.c - the load generator. See bench/README.md.
 *
 * One thread with one loop sends; a second waits for signals, a third, in an open loop, for the
 * time. Exit: 0 all was done, 1 the result is partial or messages were lost, 64 usage. */
#include "bench/control.h"
#include "bench/load_report.h"
#include "bench/load_run.h"

#include <stdio.h>
#include <unistd.h>

#define SUBMISSION_COUNT 4096
#define INPUT_COUNT_MIN 64
#define INPUT_COUNT_MAX 4096

static struct loop *make_loop(const struct load_options *options)
{
    struct loop_options loop_options = {
        .submission_count = SUBMISSION_COUNT,
        .socket_count_max = 2 * options->sessions + 16, /* some still close while others open */
        .input_count = INPUT_COUNT_MIN,
    };
    while (loop_options.input_count < options->sessions &&
           loop_options.input_count < INPUT_COUNT_MAX) {
        loop_options.input_count *= 2;
    }
    struct loop *loop;
    char why[256];
    if (loop_create(&loop_options, &loop, why, sizeof(why)) == 0) return loop;
    fprintf(stderr, "load: %s\n", why);
    return NULL;
}

static void load_on_command(void *owner, struct slice command)
{
    struct load_run *run = owner;
    if (slice_eq(command, SLICE("stop"))) load_run_stop(run, LOAD_STOPPED);
}

static int exit_code(const struct load_run *run)
{
    bool is_wanted_stop = run->end == LOAD_STOPPED && run->options->until_killed_ok;
    if (load_report_is_partial(run) && !is_wanted_stop) return 1;
    return run->counts.lost > 0 && !run->options->may_reconnect && !is_wanted_stop ? 1 : 0;
}

int main(int argc, char **argv)
{
    control_block_signals();
    struct load_options options;
    load_options_read(&options, argc, argv);
    struct loop *loop = make_loop(&options);
    if (loop == NULL) return 1;

    struct load_run *run = load_run_start(&options, loop);
    struct control *control = control_start(loop, false, load_on_command, run);
    int err = loop_run(loop);
    if (isatty(STDERR_FILENO)) fputc('\n', stderr);
    if (err != 0) {
        fprintf(stderr, "load: the loop failed: %s\n", err_str(err));
        return 1;
    }
    control_stop(control);

    json_t *report = load_report(run);
    int code = exit_code(run);
    if (!report_write(report, options.json, false)) code = 1;
    json_decref(report);
    load_run_finish(run);
    loop_destroy(loop);
    return code;
}
