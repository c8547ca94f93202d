/* load_run.c - starts the sessions, deals out the messages, keeps the numbers, ends the run. */
#include "bench/load_run.h"

#include "bench/load_pace.h"
#include "bench/load_session.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LIVE_INTERVAL_MS 1000
#define QUIT_WAIT_MS 2000 /* for the answers to QUIT, once all messages are settled */

static uint64_t settled_count(const struct load_run *run)
{
    return run->counts.accepted + run->counts.refused + run->counts.lost;
}

bool load_run_has_more(const struct load_run *run)
{
    uint64_t messages = run->options->messages;
    return run->end == LOAD_GOES_ON && (messages == 0 || run->counts.taken < messages);
}

bool load_run_take(struct load_run *run, bool may_be_8bit, struct message *message_out,
                   uint64_t *intended_ns_out)
{
    if (!load_run_has_more(run)) return false;
    uint64_t now = clock_monotonic_ns();
    *intended_ns_out = now;
    if (run->pace != NULL) {
        *intended_ns_out = load_pace_next_ns(run->pace);
        if (*intended_ns_out > now) return false;
        load_pace_advance(run->pace);
    }
    message_make(run->maker, ++run->counts.taken, may_be_8bit, message_out);
    return true;
}

/* Stops the clocks: what comes after is only the closing of connections. */
static void end_measuring(struct load_run *run)
{
    if (run->end_ns != 0) return;
    run->end_ns = clock_monotonic_ns();
    run->usage = usage_since(&run->start_usage);
    timer_arm(run->loop, &run->close_timer, QUIT_WAIT_MS);
}

void load_run_settle(struct load_run *run, const struct message *message, unsigned status,
                     uint64_t recipients, uint64_t intended_ns, uint64_t end_of_data_ns)
{
    struct load_counts *counts = &run->counts;
    if (status == LEDGER_LOST) {
        counts->lost++;
    } else if (status < 300) {
        uint64_t now = clock_monotonic_ns();
        counts->accepted++;
        counts->accepted_bytes += message->bytes;
        latency_add(&run->reply_latency, now - end_of_data_ns);
        latency_add(&run->message_latency, now - intended_ns);
    } else {
        ASSERT(status < LOAD_CODES_MAX);
        counts->refused++;
        counts->codes[status]++;
    }
    if (run->ledger != NULL) {
        ledger_add_sent(run->ledger, &(struct ledger_sent){.id = message->id,
                                                           .digest = message->digest,
                                                           .body_bytes = message->body_bytes,
                                                           .recipients = recipients,
                                                           .status = status});
    }
    if (settled_count(run) == run->options->messages) end_measuring(run);
}

void load_run_on_session_over(struct load_run *run)
{
    ASSERT(run->session_count_open > 0);
    if (--run->session_count_open > 0) return;
    if (run->end == LOAD_GOES_ON) {
        bool is_complete = settled_count(run) == run->options->messages;
        run->end = is_complete ? LOAD_COMPLETE : LOAD_NO_SESSIONS;
    }
    end_measuring(run);
    timer_disarm(&run->timeout_timer);
    timer_disarm(&run->live_timer);
    timer_disarm(&run->close_timer);
    loop_stop(run->loop);
}

static void stop_sessions(struct load_run *run)
{
    for (uint32_t i = 0; i < run->options->sessions; i++) {
        load_session_stop(&run->sessions[i]);
    }
}

void load_run_stop(struct load_run *run, enum load_end why)
{
    if (run->end != LOAD_GOES_ON || run->session_count_open == 0) return;
    bool is_complete = run->options->messages > 0 && settled_count(run) == run->options->messages;
    run->end = is_complete ? LOAD_COMPLETE : why;
    end_measuring(run);
    stop_sessions(run);
}

static void run_on_timeout(struct timer *timer)
{
    load_run_stop(CONTAINER_OF(timer, struct load_run, timeout_timer), LOAD_TIMEOUT);
}

static void run_on_close_timer(struct timer *timer)
{
    stop_sessions(CONTAINER_OF(timer, struct load_run, close_timer));
}

static void run_on_live_timer(struct timer *timer)
{
    struct load_run *run = CONTAINER_OF(timer, struct load_run, live_timer);
    const struct load_counts *counts = &run->counts;
    double seconds = (double)(clock_monotonic_ns() - run->start_ns) / 1e9;
    fprintf(stderr, "\r%7.1f s  %10" PRIu64 " accepted  %7" PRIu64 "/s  p99 %8.2f ms", seconds,
            counts->accepted, counts->accepted - run->live_accepted,
            (double)latency_at(&run->reply_latency, 0.99) / 1e6);
    fprintf(stderr, "  %" PRIu64 " refused  %" PRIu64 " lost ", counts->refused, counts->lost);
    run->live_accepted = counts->accepted;
    timer_arm(run->loop, timer, LIVE_INTERVAL_MS);
}

/* Idle sessions get what has become due; and quit when nothing more will. */
static void run_on_turn(struct loop_hook *hook)
{
    struct load_run *run = CONTAINER_OF(hook, struct load_run, hook);
    while (!list_is_empty(&run->idle)) {
        bool is_due = run->pace == NULL || load_pace_next_ns(run->pace) <= clock_monotonic_ns();
        if (!is_due && load_run_has_more(run)) break;
        struct list *node = list_pop_front(&run->idle);
        load_session_poll(LIST_ENTRY(node, struct load_session, idle_node));
    }
    if (run->options->has_sync_ledger && run->ledger != NULL) ledger_flush(run->ledger);
}

static void start_timers(struct load_run *run)
{
    timer_init(&run->timeout_timer, run_on_timeout);
    timer_init(&run->live_timer, run_on_live_timer);
    timer_init(&run->close_timer, run_on_close_timer);
    timer_arm(run->loop, &run->timeout_timer, run->options->timeout_ns / NS_PER_MS);
    if (isatty(STDERR_FILENO)) timer_arm(run->loop, &run->live_timer, LIVE_INTERVAL_MS);
}

struct load_run *load_run_start(const struct load_options *options, struct loop *loop)
{
    struct load_run *run = xcalloc(1, sizeof(*run));
    run->options = options;
    run->loop = loop;
    list_init(&run->idle);
    if (options->ledger != NULL) {
        int err = ledger_open(options->ledger, &run->ledger);
        if (err != 0) {
            fprintf(stderr, "cannot open the ledger %s: %s\n", options->ledger, err_str(err));
            exit(1);
        }
    }
    conn_host_init(&run->host, loop, 2 * (size_t)options->sessions);
    run->maker = message_maker_create(&options->message);
    run->sessions = xcalloc(options->sessions, sizeof(run->sessions[0]));
    run->session_count_open = options->sessions;
    if (options->rate > 0) {
        run->pace =
            load_pace_start(loop, options->rate, options->is_poisson, options->message.seed);
    }
    run->hook.run = run_on_turn;
    loop_hook_add(loop, &run->hook);
    start_timers(run);
    run->start_usage = usage_now();
    run->start_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < options->sessions; i++) {
        load_session_start(&run->sessions[i], run);
    }
    return run;
}

void load_run_finish(struct load_run *run)
{
    load_pace_stop(run->pace);
    loop_hook_remove(&run->hook);
    for (uint32_t i = 0; i < run->options->sessions; i++) {
        load_session_finish(&run->sessions[i]);
    }
    free(run->sessions);
    message_maker_destroy(run->maker);
    conn_host_finish(&run->host);
    ledger_close(run->ledger);
    free(run);
}
