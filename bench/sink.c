/* sink.c - the receiving end of a load. See bench/README.md.
 *
 * One thread with one loop receives; a second waits for signals and lines on standard input. Exit:
 * 0 done, 1 failed or the comparison with a ledger is not good, 64 usage. */
#include "bench/address.h"
#include "bench/compare.h"
#include "bench/control.h"
#include "bench/sink_options.h"
#include "bench/sink_script.h"
#include "bench/sink_server.h"

#include "ring/base/clock.h"

#include <stdio.h>

#define SUBMISSION_COUNT 4096
#define INPUT_COUNT 1024

/* Seconds since 1970 of a time on the monotonic clock; 0 when there is none. */
static double wall_seconds(uint64_t at_ns)
{
    uint64_t ago_ms = (clock_monotonic_ns() - at_ns) / NS_PER_MS;
    return at_ns == 0 ? 0 : (double)(clock_wall_ms() - ago_ms) / 1e3;
}

static void report_counts(json_t *report, const struct sink_server *server)
{
    const struct sink_counts *counts = &server->counts;
    double seconds = (double)(server->last_ns - server->first_ns) / 1e9;
    struct usage usage = usage_since(&server->start_usage);
    report_set_u64(report, "messages", counts->messages);
    report_set_u64(report, "bytes", counts->bytes);
    report_set_real(report, "seconds", seconds);
    report_set_real(report, "first_received_at", wall_seconds(server->first_ns));
    report_set_real(report, "last_received_at", wall_seconds(server->last_ns));
    report_set_real(report, "messages_per_s", seconds > 0 ? (double)counts->messages / seconds : 0);
    report_set_u64(report, "rejected_4yz", counts->rejected_4yz);
    report_set_u64(report, "rejected_5yz", counts->rejected_5yz);
    report_set_u64(report, "dropped", counts->dropped);
    report_set_u64(report, "faults", counts->faults);
    report_set_u64(report, "bad_commands", counts->bad_commands);
    report_set_u64(report, "connections", counts->connections);
    report_set_u64(report, "connections_open", counts->connections_open);
    report_set_u64(report, "connections_refused", counts->refused_connections);
    report_set(report, "cpu", report_usage(&usage, counts->messages));
}

static json_t *sink_report(const struct sink_server *server)
{
    json_t *report = json_object();
    report_set(report, "tool", json_string("sink"));
    if (!server->is_counting_only) compare_report_tally(report, &server->tally);
    report_counts(report, server);
    return report;
}

static void sink_on_command(void *owner, struct slice command)
{
    struct sink_server *server = owner;
    struct slice name = command, value = slice_of("", 0);
    const char *space = memchr(command.data, ' ', command.len);
    if (space != NULL) {
        name = slice_of(command.data, (size_t)(space - command.data));
        value = slice_trim(slice_from(command, name.len));
    }
    if (slice_eq(command, SLICE("report"))) {
        json_t *report = sink_report(server);
        report_write(report, NULL, true);
        json_decref(report);
    } else if (slice_eq(command, SLICE("stop"))) {
        sink_server_stop(server);
    } else if (!sink_behaviour_set(&server->behaviour, name, value)) {
        fprintf(stderr, "sink: what is \"%.*s\"?\n", (int)command.len, command.data);
    }
}

/* Adds the comparison to `report`; false when it is not good, or cannot be made. */
static bool compare(json_t *report, struct tally *tally, const char *path, uint64_t bad_lines,
                    bool may_double)
{
    struct comparison comparison;
    int err = compare_ledger(tally, path, &comparison);
    if (err != 0) {
        fprintf(stderr, "sink: cannot read %s: %s\n", path, err_str(err));
        return false;
    }
    comparison.bad_lines += bad_lines;
    bool is_good = compare_is_good(&comparison, tally, may_double);
    compare_report(report, &comparison);
    report_set(report, "ok", json_boolean(is_good));
    return is_good;
}

static int compare_files(const struct sink_options *options)
{
    struct tally tally;
    uint64_t bad_lines = 0;
    tally_init(&tally, 0);
    json_t *report = json_object();
    int err = 0;
    for (int i = 0; i < options->received_count && err == 0; i++) {
        err = compare_read_received(&tally, options->received[i], &bad_lines);
        if (err != 0) {
            fprintf(stderr, "sink: cannot read %s: %s\n", options->received[i], err_str(err));
        }
    }
    report_set(report, "tool", json_string("compare"));
    compare_report_tally(report, &tally);
    bool is_good =
        err == 0 && compare(report, &tally, options->compare, bad_lines, options->may_double);
    if (err == 0 && !report_write(report, options->json, false)) is_good = false;
    json_decref(report);
    tally_finish(&tally);
    return is_good ? 0 : 1;
}

/* Runs until it is stopped, and lets what is still in flight end. */
static int run_loop(struct loop *loop)
{
    int err = loop_run(loop);
    while (err == 0 && loop_inflight(loop) > 0) {
        err = loop_turn(loop, true);
    }
    if (err != 0) fprintf(stderr, "sink: the loop failed: %s\n", err_str(err));
    return err;
}

static bool report_end(struct sink_server *server, const struct sink_options *options)
{
    json_t *report = sink_report(server);
    bool is_good = true;
    if (options->ledger != NULL) {
        is_good = compare(report, &server->tally, options->ledger, 0, options->may_double);
    }
    if (!report_write(report, options->json, options->json == NULL)) is_good = false;
    json_decref(report);
    return is_good;
}

static bool serve(const struct sink_options *options, struct loop *loop, struct ledger *record)
{
    struct sink_server server = {.sessions_max = options->sessions_max,
                                 .is_counting_only = options->is_counting_only};
    int err = sink_server_start(&server, loop, &options->listen, &options->behaviour, record);
    if (err != 0) {
        fprintf(stderr, "sink: cannot listen: %s\n", err_str(err));
        return false;
    }
    struct sink_script *script = NULL;
    bool is_good = true;
    if (options->script != NULL) {
        script = sink_script_start(options->script, loop, sink_on_command, &server);
        is_good = script != NULL;
    }
    struct control *control = control_start(loop, true, sink_on_command, &server);
    if (is_good) {
        address_say_ready(server.listener);
    } else {
        sink_server_stop(&server);
    }
    err = run_loop(loop);
    if (err != 0) return false;
    control_stop(control);
    sink_script_stop(script);
    if (is_good) is_good = report_end(&server, options);
    sink_server_finish(&server);
    return is_good;
}

int main(int argc, char **argv)
{
    control_block_signals();
    struct sink_options options;
    sink_options_read(&options, argc, argv);
    if (options.compare != NULL) return compare_files(&options);

    struct loop_options loop_options = {.submission_count = SUBMISSION_COUNT,
                                        .socket_count_max = 2 * options.sessions_max + 16,
                                        .input_count = INPUT_COUNT};
    struct loop *loop;
    char why[256];
    if (loop_create(&loop_options, &loop, why, sizeof(why)) != 0) {
        fprintf(stderr, "sink: %s\n", why);
        return 1;
    }
    struct ledger *record = NULL;
    int err = options.record == NULL ? 0 : ledger_open(options.record, &record);
    if (err != 0) {
        fprintf(stderr, "sink: cannot open %s: %s\n", options.record, err_str(err));
        return 1;
    }
    bool is_good = serve(&options, loop, record);
    ledger_close(record);
    if (loop_inflight(loop) == 0) loop_destroy(loop);
    return is_good ? 0 : 1;
}
