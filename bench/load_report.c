/* load_report.c - numbers of a finished run, with what was asked for, and whether they are all that
 * was asked for. */
#include "bench/load_report.h"

#include "ring/base/clock.h"
#include "ring/base/err.h"

#include <inttypes.h>
#include <stdio.h>

#define WHY_BYTES_MAX 640
#define OVERDUE_SHARE 100 /* one message in so many may be overdue at the end of the duration */

static const char *const ends[] = {
    [LOAD_GOES_ON] = "goes on",
    [LOAD_COMPLETE] = "complete",
    [LOAD_STOPPED] = "stopped",
    [LOAD_TIMEOUT] = "timeout",
    [LOAD_NO_SESSIONS] = "every session was lost",
    [LOAD_UNABLE] = "the server cannot do what was asked",
};
static const char *const transfers[] = {"data", "bdat"};
static const char *const tls_modes[] = {"none", "starttls", "implicit"};
static const char *const handshakes[] = {"full", "resumed"};
static const char *const mechanisms[] = {"none", "plain", "login", "cram-md5"};
static const char *const proxies[] = {"none", "v1", "v2"};

/* --- is it all that was asked for? --- */

static bool is_overdue(const struct load_total *total)
{
    return total->counts.overdue > total->counts.taken / OVERDUE_SHARE;
}

static bool is_unanswered(const struct load_options *options, const struct load_total *total)
{
    return options->sessions > 0 && total->counts.accepted + total->counts.refused == 0;
}

/* Says into `text` what is missing; false when nothing is. */
static bool write_why(const struct load_options *options, const struct load_total *total,
                      struct buf *text)
{
    const struct load_counts *counts = &total->counts;
    if (total->end == LOAD_UNABLE) {
        buf_append_format(text, "%s: %s", ends[total->end], total->problem.text);
        return true;
    }
    uint64_t lost = options->may_reconnect ? 0 : counts->lost;
    if (total->end != LOAD_COMPLETE) buf_append_format(text, "%s; ", ends[total->end]);
    if (counts->sessions_lost > 0)
        buf_append_format(text, "%" PRIu64 " of %" PRIu32 " sessions were lost; ",
                          counts->sessions_lost, options->sessions);
    if (lost > 0) buf_append_format(text, "%" PRIu64 " messages got no answer; ", lost);
    if (is_unanswered(options, total)) buf_append_cstr(text, "no message was answered; ");
    if (is_overdue(total))
        buf_append_format(text,
                          "the rate was not kept: %" PRIu64 " messages were due and not begun; ",
                          counts->overdue);
    if (total->idle.held < total->idle.wanted)
        buf_append_format(text, "%" PRIu64 " of %" PRIu64 " idle connections were held; ",
                          total->idle.held, total->idle.wanted);
    if (text->len == 0) return false;
    if (total->problem.at_ns != 0) {
        buf_append_cstr(text, "first: ");
        buf_append_cstr(text, total->problem.text);
    } else if (is_unanswered(options, total) && total->refusal.at_ns != 0) {
        buf_append_cstr(text, total->refusal.text);
    } else {
        text->len -= 2;
    }
    return true;
}

void load_report_say_why(const struct load_options *options, const struct load_total *total)
{
    char bytes[WHY_BYTES_MAX];
    struct buf why = {.data = bytes, .cap = sizeof(bytes)};
    if (load_report_exit_code(options, total) == 0) return;
    if (write_why(options, total, &why))
        fprintf(stderr, "load: the result is partial: %.*s\n", (int)why.len, why.data);
}

int load_report_exit_code(const struct load_options *options, const struct load_total *total)
{
    char bytes[WHY_BYTES_MAX];
    struct buf why = {.data = bytes, .cap = sizeof(bytes)};
    if (total->end == LOAD_STOPPED && options->until_killed_ok) return 0;
    return write_why(options, total, &why) ? 1 : 0;
}

/* --- members --- */

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
    report_set_u64(object, "cores", options->cores);
    report_set_u64(object, "sessions", options->sessions);
    report_set_u64(object, "messages", options->messages);
    report_set_real(object, "duration_s", (double)options->duration_ns / 1e9);
    report_set(object, "sizes", report_sizes(&options->message));
    report_set(object, "bodies", json_string(options->message.is_plain ? "plain" : "varied"));
    report_set_u64(object, "messages_per_connection", options->messages_per_connection);
    report_set_u64(object, "recipients", options->recipients);
    report_set(object, "pipelining", json_boolean(options->pipelining == LOAD_PIPELINING_ON));
    report_set(object, "transfer", json_string(transfers[options->transfer]));
    report_set_u64(object, "chunk_bytes", options->chunk_bytes);
    report_set_real(object, "rate_per_s", options->rate);
    report_set(object, "poisson", json_boolean(options->is_poisson));
    report_set(object, "tls", json_string(tls_modes[options->tls]));
    report_set(object, "handshake", json_string(handshakes[options->handshake]));
    report_set(object, "auth", json_string(mechanisms[options->auth]));
    report_set(object, "proxy", json_string(proxies[options->proxy]));
    report_set_u64(object, "clients", options->clients);
    report_set_u64(object, "idle", options->idle);
    report_set_u64(object, "slow", options->slow);
    report_set_u64(object, "slow_bytes_per_s", options->slow_bytes_s);
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

static double share_of(const struct usage *usage, double seconds)
{
    return seconds > 0 ? (double)(usage->user_ns + usage->system_ns) / 1e9 / seconds : 0;
}

/* Of the process, and of each core's thread: one that is busy all the time is the limit. */
static json_t *report_cpu(const struct load_run *run, uint64_t messages, double seconds)
{
    json_t *object = report_usage(&run->usage, messages), *cores = json_array();
    report_set_real(object, "share", share_of(&run->usage, seconds) / run->options->cores);
    for (uint32_t i = 0; i < run->options->cores; i++) {
        const struct load_core *core = &run->cores[i];
        json_t *one = json_object();
        report_set_u64(one, "messages", core->counts.accepted);
        report_set_real(one, "user_s", (double)core->usage.user_ns / 1e9);
        report_set_real(one, "system_s", (double)core->usage.system_ns / 1e9);
        report_set_real(one, "share", share_of(&core->usage, seconds));
        json_array_append_new(cores, one);
    }
    report_set(object, "cores", cores);
    return object;
}

static json_t *report_tls(const struct load_options *options, const struct load_total *total)
{
    if (options->tls == LOAD_TLS_NONE) return json_null();
    json_t *object = json_object();
    report_set_u64(object, "handshakes", total->counts.handshakes);
    report_set_u64(object, "resumed", total->counts.handshakes_resumed);
    report_set_u64(object, "failed", total->counts.handshakes_failed);
    report_set(object, "handshake_latency",
               report_latency(&total->handshake_latency, options->with_buckets));
    return object;
}

static json_t *report_idle(const struct load_total *total)
{
    if (total->idle.wanted == 0) return json_null();
    json_t *object = json_object();
    report_set_u64(object, "wanted", total->idle.wanted);
    report_set_u64(object, "held", total->idle.held);
    report_set_u64(object, "lost", total->idle.lost);
    report_set_u64(object, "refused", total->idle.refused);
    return object;
}

static json_t *text_or_null(const struct load_problem *problem)
{
    return problem->at_ns == 0 ? json_null() : json_string(problem->text);
}

static void set_verdict(json_t *report, const struct load_options *options,
                        const struct load_total *total)
{
    char bytes[WHY_BYTES_MAX];
    struct buf why = {.data = bytes, .cap = sizeof(bytes)};
    bool is_partial = write_why(options, total, &why);
    report_set(report, "partial", json_boolean(is_partial));
    report_set(report, "end", json_string(ends[total->end]));
    report_set(report, "why", is_partial ? json_stringn(why.data, why.len) : json_null());
}

/* Seconds since 1970 of a time on the monotonic clock; 0 when there is none. */
static double wall_seconds(uint64_t at_ns)
{
    uint64_t ago_ms = (clock_monotonic_ns() - at_ns) / NS_PER_MS;
    return at_ns == 0 ? 0 : (double)(clock_wall_ms() - ago_ms) / 1e3;
}

static void set_messages(json_t *report, const struct load_counts *counts, double seconds)
{
    double per_s = seconds > 0 ? 1 / seconds : 0;
    report_set_u64(report, "messages", counts->accepted);
    report_set_u64(report, "begun", counts->taken);
    report_set_u64(report, "refused", counts->refused);
    report_set_u64(report, "lost", counts->lost);
    report_set_u64(report, "overdue", counts->overdue);
    report_set_u64(report, "slow", counts->accepted_slow);
    report_set_u64(report, "recipients_refused", counts->recipients_refused);
    report_set_u64(report, "bytes", counts->accepted_bytes);
    report_set_real(report, "seconds", seconds);
    report_set_real(report, "messages_per_s", (double)counts->accepted * per_s);
    report_set_real(report, "mib_per_s", (double)counts->accepted_bytes * per_s / (1 << 20));
}

static void set_connections(json_t *report, const struct load_counts *counts)
{
    report_set_u64(report, "connections", counts->connections);
    report_set_u64(report, "connect_errors", counts->connect_errors);
    report_set(report, "connect_error",
               counts->connect_error == 0 ? json_null()
                                          : json_string(err_str(counts->connect_error)));
    report_set_u64(report, "connections_lost", counts->losses);
    report_set_u64(report, "sessions_lost", counts->sessions_lost);
    report_set_u64(report, "stalls", counts->stalls);
    report_set_u64(report, "bad_replies", counts->bad_replies);
}

json_t *load_report(const struct load_run *run, const struct load_total *total)
{
    const struct load_options *options = run->options;
    double seconds = run->start_ns == 0 ? 0 : (double)(run->end_ns - run->start_ns) / 1e9;
    char run_id[MARK_HEX_BYTES];
    mark_write_hex(options->message.run, run_id);

    json_t *report = json_object();
    report_set(report, "tool", json_string("load"));
    report_set(report, "run", json_stringn(run_id, sizeof(run_id)));
    set_verdict(report, options, total);
    set_messages(report, &total->counts, seconds);
    report_set_real(report, "started_at", wall_seconds(run->start_ns));
    report_set(report, "reply_latency",
               report_latency(&total->reply_latency, options->with_buckets));
    report_set(report, "message_latency",
               report_latency(&total->message_latency, options->with_buckets));
    report_set(report, "errors", report_errors(&total->counts));
    report_set(report, "first_refusal", text_or_null(&total->refusal));
    report_set(report, "first_problem", text_or_null(&total->problem));
    set_connections(report, &total->counts);
    report_set(report, "tls", report_tls(options, total));
    report_set(report, "idle", report_idle(total));
    report_set(report, "cpu", report_cpu(run, total->counts.accepted, seconds));
    report_set(report, "options", report_options(options));
    return report;
}
