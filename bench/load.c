/* load.c - the load generator. See bench/README.md.
 *
 * A thread with a loop for each core sends; another waits for signals, and, in an open loop, one
 * for each core for the time. Exit: 0 all was done, 1 the result is partial or messages were lost,
 * 64 usage. */
#include "bench/control.h"
#include "bench/load_report.h"
#include "bench/load_run.h"
#include "ring/base/memory.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    control_block_signals();
    struct load_options options;
    load_options_read(&options, argc, argv);
    struct load_run run = {.options = NULL};
    load_run(&run, &options);

    struct load_total *total = xcalloc(1, sizeof(*total));
    load_run_total(&run, total);
    json_t *report = load_report(&run, total);
    int code = load_report_exit_code(&options, total);
    load_report_say_why(&options, total);
    if (!report_write(report, options.json, false)) code = 1;
    json_decref(report);
    free(total);
    load_run_finish(&run);
    return code;
}
