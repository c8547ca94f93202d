/* load_report.c - numbers of a finished run, with what was asked for. */
#include "bench/load_report.h"

#include "ring/base/err.h"

#include <stdio.h>

static const char *const ends[] = {
    [LOAD_GOES_ON] = "goes on",
    [LOAD_COMPLETE] = "complete",
    [LOAD_TIMEOUT] = "timeout",
    [LOAD_STOPPED] = "stopped",
    [LOAD_NO_SESSIONS] = "every session was lost",
};

bool load_report_is_partial(const struct load_run *run)
{
    return run->end != LOAD_COMPLETE;
}

static json_t *report_sizes(const struct message_options *options)
{
    json_t *sizes = json_array();
    for (size_t i = 0; i < options->size_count; i++) {
        json_array_append_new(sizes,
                              json_pack("{s:I,s:i}", "bytes", (json_int_t)options->sizes[i].bytes,
                                        "weight", (int)options->sizes[i].weight));
    }
    return sizes;
}

static json_t *report_options(const struct load_options *options)
{
    json_t *object = json_object();
    report_set_u64(object, "sessions", options->sessions);
    report_set_u64(object, "messages", options->messages);
    report_set(object, "sizes", report_sizes(&options->message));
    report_set(object, "bodies", json_string(options->message.is_plain ? "plain" : "varied"));
    report_set_u64(object, "messages_per_connection", options->messages_per_connection);
    report_set_u64(object, "recipients", options->recipients);
    report_set(object, "pipelining", json_boolean(options->is_pipelining));
    report_set_real(object, "rate_per_s", options->rate);
    report_set(object, "poisson", json_boolean(options->is_poisson));
    report_set_u64(object, "seed", options->message.seed);
    return object;
}

static json_t *report_errors(const struct load_counts *counts)
{
    json_t *object = json_object();
    for (unsigned code = 0; code < LOAD_CODES_MAX; code++) {
        char name[16];
        if (counts->codes[code] == 0) continue;
        snprintf(name, sizeof(name), "%u", code);
        report_set_u64(object, name, counts->codes[code]);
    }
    return object;
}

json_t *load_report(const struct load_run *run)
{
    const struct load_counts *counts = &run->counts;
    double seconds = (double)(run->end_ns - run->start_ns) / 1e9;
    char run_id[MARK_HEX_BYTES];
    mark_write_hex(run->options->message.run, run_id);

    json_t *report = json_object();
    report_set(report, "tool", json_string("load"));
    report_set(report, "run", json_stringn(run_id, sizeof(run_id)));
    report_set(report, "partial", json_boolean(load_report_is_partial(run)));
    report_set(report, "end", json_string(ends[run->end]));
    report_set_u64(report, "messages", counts->accepted);
    report_set_u64(report, "begun", counts->taken);
    report_set_u64(report, "refused", counts->refused);
    report_set_u64(report, "lost", counts->lost);
    report_set_u64(report, "recipients_refused", counts->recipients_refused);
    report_set_u64(report, "bytes", counts->accepted_bytes);
    report_set_real(report, "seconds", seconds);
    report_set_real(report, "messages_per_s", (double)counts->accepted / seconds);
    report_set_real(report, "mib_per_s", (double)counts->accepted_bytes / seconds / (1 << 20));
    report_set(report, "reply_latency",
               report_latency(&run->reply_latency, run->options->with_buckets));
    report_set(report, "message_latency",
               report_latency(&run->message_latency, run->options->with_buckets));
    report_set(report, "errors", report_errors(counts));
    report_set_u64(report, "connections", counts->connections);
    report_set_u64(report, "connect_errors", counts->connect_errors);
    report_set(report, "connect_error",
               counts->connect_error == 0 ? json_null()
                                          : json_string(err_str(counts->connect_error)));
    report_set_u64(report, "connections_lost", counts->losses);
    report_set_u64(report, "bad_replies", counts->bad_replies);
    report_set(report, "cpu", report_usage(&run->usage, counts->accepted));
    report_set(report, "options", report_options(run->options));
    return report;
}
