/* load_core.c - deals out the messages of one core, keeps its numbers, and ends it. */
#include "bench/load_core.h"

#include "bench/load_idle.h"
#include "bench/load_pace.h"
#include "bench/load_run.h"
#include "bench/load_session.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SUBMISSION_COUNT 4096
#define INPUT_COUNT_MIN 64
#define INPUT_COUNT_MAX 4096
#define ACCEPTED_MAX 16 /* a load accepts nothing */
#define LIVE_INTERVAL_MS 1000
#define QUIT_WAIT_MS 2000           /* for the answers to QUIT, once all messages are settled */
#define OVERDUE_COUNT_MAX 100000000 /* a rate that is never meant to be kept is not counted out */

/* --- problems --- */

const char *load_core_escape(struct slice line, char *text, size_t cap)
{
    ASSERT(cap >= 8);
    size_t room = cap - 4, len = MIN(line.len, room);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line.data[i];
        text[i] = c < ' ' || c >= 127 || c == '"' ? '?' : (char)c;
    }
    memcpy(text + len, line.len > room ? "..." : "", line.len > room ? 4 : 1);
    return text;
}

static void set_problem(struct load_problem *problem, const char *format, va_list args)
{
    problem->at_ns = clock_monotonic_ns();
    vsnprintf(problem->text, sizeof(problem->text), format, args);
}

void load_core_note(struct load_core *core, const char *format, ...)
{
    if (core->problem.at_ns != 0) return;
    va_list args;
    va_start(args, format);
    set_problem(&core->problem, format, args);
    va_end(args);
}

void load_core_give_up(struct load_core *core, const char *format, ...)
{
    if (core->end != LOAD_GOES_ON) return;
    va_list args;
    va_start(args, format);
    set_problem(&core->problem, format, args);
    va_end(args);
    core->end = LOAD_UNABLE;
    mailbox_post(mailbox_of(core->run->cores[0].loop), &core->unable_mail);
}

/* --- messages --- */

static uint64_t settled_count(const struct load_core *core)
{
    return core->counts.accepted + core->counts.refused + core->counts.lost;
}

bool load_core_is_late(const struct load_core *core)
{
    return core->end != LOAD_GOES_ON || core->is_time_up;
}

bool load_core_has_more(const struct load_core *core)
{
    return !load_core_is_late(core) && core->counts.taken < core->message_count;
}

bool load_core_take(struct load_core *core, bool may_be_8bit, struct message *message_out,
                    uint64_t *intended_ns_out)
{
    if (!load_core_has_more(core)) return false;
    uint64_t now = clock_monotonic_ns();
    if (now > core->last_begin_ns) return false; /* the timer for that is coarse */
    *intended_ns_out = now;
    if (core->pace != NULL) {
        *intended_ns_out = load_pace_next_ns(core->pace);
        if (*intended_ns_out > now) return false;
        load_pace_advance(core->pace);
    }
    uint64_t number = core->counts.taken++ * core->options->cores + core->index + 1;
    message_make(core->maker, number, may_be_8bit, message_out);
    return true;
}

/* Stops the clocks: what comes after is only the closing of connections. */
static void end_measuring(struct load_core *core)
{
    if (core->is_measured) return;
    core->is_measured = true;
    core->end_ns = clock_monotonic_ns();
    core->usage = usage_of_thread_since(&core->start_usage);
    load_run_on_core_measured(core->run);
    if (core->session_count_open > 0) timer_arm(core->loop, &core->close_timer, QUIT_WAIT_MS);
}

static bool is_all_settled(const struct load_core *core)
{
    uint64_t settled = settled_count(core);
    if (core->session_count == 0) return false;
    return settled == core->message_count || (core->is_time_up && settled == core->counts.taken);
}

static void count_accepted(struct load_core *core, const struct message *message,
                           const struct load_fate *fate)
{
    core->counts.accepted++;
    core->counts.accepted_bytes += message->bytes;
    if (fate->is_slow) {
        core->counts.accepted_slow++;
        return;
    }
    uint64_t now = clock_monotonic_ns();
    latency_add(&core->reply_latency, now - fate->end_of_data_ns);
    latency_add(&core->message_latency, now - fate->intended_ns);
}

void load_core_settle(struct load_core *core, const struct message *message,
                      const struct load_fate *fate)
{
    if (fate->status == LEDGER_LOST) {
        core->counts.lost++;
    } else if (fate->status < 300) {
        count_accepted(core, message, fate);
    } else {
        ASSERT(fate->status < LOAD_CODES_MAX);
        core->counts.refused++;
        core->counts.codes[fate->status]++;
    }
    if (core->ledger != NULL) {
        ledger_add_sent(core->ledger, &(struct ledger_sent){.id = message->id,
                                                            .digest = message->digest,
                                                            .body_bytes = message->body_bytes,
                                                            .recipients = fate->recipients,
                                                            .status = fate->status});
    }
    if (is_all_settled(core)) end_measuring(core);
}

/* --- the end --- */

/* Core 0 goes on until the others are over: it is their way to a stop. */
static void look_for_end(struct load_core *core)
{
    struct load_run *run = core->run;
    if (!core->is_over) return;
    if (core->index == 0 && run->cores_open > 0) return;
    loop_stop(core->loop);
}

static void on_over_mail(struct mail *mail)
{
    struct load_core *core = CONTAINER_OF(mail, struct load_core, over_mail);
    core->run->cores_open--;
    look_for_end(&core->run->cores[0]);
}

static void become_over(struct load_core *core)
{
    if (core->is_over) return;
    core->is_over = true;
    end_measuring(core);
    timer_disarm(&core->timeout_timer);
    timer_disarm(&core->duration_timer);
    timer_disarm(&core->live_timer);
    timer_disarm(&core->close_timer);
    mailbox_post(mailbox_of(core->run->cores[0].loop), &core->over_mail);
    if (core->index > 0) look_for_end(core);
}

/* No session is left, or none ever was. */
static void sessions_are_over(struct load_core *core)
{
    end_measuring(core);
    if (core->idle != NULL) {
        load_idle_stop(core->idle);
    } else {
        become_over(core);
    }
}

void load_core_on_idle_over(struct load_core *core)
{
    become_over(core);
}

void load_core_on_session_over(struct load_core *core, bool is_early)
{
    ASSERT(core->session_count_open > 0);
    core->counts.sessions_lost += is_early;
    if (--core->session_count_open > 0) return;
    if (core->end == LOAD_GOES_ON)
        core->end = is_all_settled(core) ? LOAD_COMPLETE : LOAD_NO_SESSIONS;
    sessions_are_over(core);
}

static void stop_sessions(struct load_core *core)
{
    for (uint32_t i = 0; i < core->session_count; i++) {
        load_session_stop(&core->sessions[i]);
    }
}

void load_core_stop(struct load_core *core, enum load_end why)
{
    if (core->is_stopping || core->is_over) return;
    core->is_stopping = true;
    if (core->end == LOAD_GOES_ON) core->end = is_all_settled(core) ? LOAD_COMPLETE : why;
    end_measuring(core);
    if (core->session_count_open > 0) {
        stop_sessions(core);
    } else {
        sessions_are_over(core);
    }
}

void load_core_on_idle_lost(struct load_core *core)
{
    if (core->session_count == 0) load_core_stop(core, LOAD_NO_SESSIONS);
}

/* --- mails --- */

static void on_start_mail(struct mail *mail)
{
    load_core_go(CONTAINER_OF(mail, struct load_core, start_mail));
}

static void on_stop_mail(struct mail *mail)
{
    struct load_core *core = CONTAINER_OF(mail, struct load_core, stop_mail);
    load_core_stop(core, core->run->stop_why);
}

static void on_unable_mail(struct mail *mail)
{
    load_run_stop(CONTAINER_OF(mail, struct load_core, unable_mail)->run, LOAD_UNABLE);
}

/* --- timers --- */

static void core_on_timeout(struct timer *timer)
{
    load_core_stop(CONTAINER_OF(timer, struct load_core, timeout_timer), LOAD_TIMEOUT);
}

/* The times that were due and found no session: a rate that was not kept must show. */
static void count_overdue(struct load_core *core)
{
    while (core->pace != NULL && core->counts.overdue < OVERDUE_COUNT_MAX &&
           core->counts.taken + core->counts.overdue < core->message_count &&
           load_pace_next_ns(core->pace) <= core->last_begin_ns) {
        core->counts.overdue++;
        load_pace_advance(core->pace);
    }
}

static void core_on_duration(struct timer *timer)
{
    struct load_core *core = CONTAINER_OF(timer, struct load_core, duration_timer);
    core->is_time_up = true;
    if (core->session_count == 0) {
        load_core_stop(core, LOAD_COMPLETE);
        return;
    }
    count_overdue(core);
    for (uint32_t i = 0; i < core->session_count; i++) {
        load_session_hurry(&core->sessions[i]);
    }
    if (is_all_settled(core)) end_measuring(core);
}

static void core_on_close_timer(struct timer *timer)
{
    stop_sessions(CONTAINER_OF(timer, struct load_core, close_timer));
}

static void set_live(uint64_t *at, uint64_t value)
{
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
}

static void print_live(struct load_core *first)
{
    struct load_run *run = first->run;
    struct load_live sum = {0};
    for (uint32_t i = 0; i < first->options->cores; i++) {
        const struct load_live *live = &run->cores[i].live;
        sum.accepted += __atomic_load_n(&live->accepted, __ATOMIC_RELAXED);
        sum.refused += __atomic_load_n(&live->refused, __ATOMIC_RELAXED);
        sum.lost += __atomic_load_n(&live->lost, __ATOMIC_RELAXED);
        sum.p99_ns = MAX(sum.p99_ns, __atomic_load_n(&live->p99_ns, __ATOMIC_RELAXED));
    }
    double seconds = (double)(clock_monotonic_ns() - run->start_ns) / 1e9;
    fprintf(stderr, "\r%7.1f s  %10" PRIu64 " accepted  %7" PRIu64 "/s  p99 %8.2f ms", seconds,
            sum.accepted, sum.accepted - first->live_accepted, (double)sum.p99_ns / 1e6);
    fprintf(stderr, "  %" PRIu64 " refused  %" PRIu64 " lost ", sum.refused, sum.lost);
    first->live_accepted = sum.accepted;
}

static void core_on_live_timer(struct timer *timer)
{
    struct load_core *core = CONTAINER_OF(timer, struct load_core, live_timer);
    set_live(&core->live.accepted, core->counts.accepted);
    set_live(&core->live.refused, core->counts.refused);
    set_live(&core->live.lost, core->counts.lost);
    set_live(&core->live.p99_ns, latency_at(&core->reply_latency, 0.99));
    if (core->index == 0) print_live(core);
    timer_arm(core->loop, timer, LIVE_INTERVAL_MS);
}

/* Waiting sessions get what has become due; and quit when nothing more will. */
static void core_on_turn(struct loop_hook *hook)
{
    struct load_core *core = CONTAINER_OF(hook, struct load_core, hook);
    while (!list_is_empty(&core->waiting)) {
        bool is_due = core->pace == NULL || load_pace_next_ns(core->pace) <= clock_monotonic_ns();
        bool is_late = clock_monotonic_ns() > core->last_begin_ns;
        if ((!is_due || is_late) && load_core_has_more(core)) break;
        struct list *node = list_pop_front(&core->waiting);
        load_session_poll(LIST_ENTRY(node, struct load_session, waiting_node));
    }
    if (core->options->has_sync_ledger && core->ledger != NULL) ledger_flush(core->ledger);
}

/* --- the beginning --- */

static bool make_loop(struct load_core *core)
{
    struct loop_options options = {
        .submission_count = SUBMISSION_COUNT,
        .socket_count_max = ACCEPTED_MAX,
        .input_count = INPUT_COUNT_MIN,
    };
    while (options.input_count < core->session_count && options.input_count < INPUT_COUNT_MAX) {
        options.input_count *= 2;
    }
    char why[256];
    if (loop_create(&options, &core->loop, why, sizeof(why)) == 0) return true;
    fprintf(stderr, "load: %s\n", why);
    return false;
}

static bool make_tls(struct load_core *core)
{
    const struct load_options *options = core->options;
    if (options->tls == LOAD_TLS_NONE) return true;
    struct tls_client_options tls = {
        .verifies = options->tls_verify_file != NULL,
        .ca_file = options->tls_verify_file,
        .resumes = options->handshake == LOAD_HANDSHAKE_RESUMED,
    };
    char why[256];
    if (tls_client_context_create(&tls, &core->tls, why, sizeof(why)) == 0) return true;
    fprintf(stderr, "load: %s\n", why);
    return false;
}

static bool open_ledger(struct load_core *core)
{
    const char *path = core->options->ledger;
    int err = path == NULL ? 0 : ledger_open(path, &core->ledger);
    if (err == 0) return true;
    fprintf(stderr, "load: cannot open the ledger %s: %s\n", path, err_str(err));
    return false;
}

static void prepare(struct load_core *core)
{
    list_init(&core->waiting);
    core->last_begin_ns = UINT64_MAX;
    core->start_mail.deliver = on_start_mail;
    core->stop_mail.deliver = on_stop_mail;
    core->unable_mail.deliver = on_unable_mail;
    core->over_mail.deliver = on_over_mail;
    timer_init(&core->timeout_timer, core_on_timeout);
    timer_init(&core->duration_timer, core_on_duration);
    timer_init(&core->live_timer, core_on_live_timer);
    timer_init(&core->close_timer, core_on_close_timer);
    core->hook.run = core_on_turn;
}

bool load_core_open(struct load_core *core)
{
    prepare(core);
    if (!make_loop(core) || !make_tls(core) || !open_ledger(core)) return false;
    size_t outputs = 2 * ((size_t)core->session_count + LOAD_IDLE_OPENING_MAX);
    conn_host_init(&core->host, core->loop, outputs);
    loop_hook_add(core->loop, &core->hook);
    core->sessions = xcalloc(MAX(core->session_count, 1u), sizeof(core->sessions[0]));
    return true;
}

void load_core_start(struct load_core *core)
{
    timer_arm(core->loop, &core->timeout_timer, core->options->timeout_ns / NS_PER_MS);
    if (core->idle_count > 0) {
        core->idle = load_idle_start(core, core->idle_count);
    } else {
        load_run_on_core_ready(core->run, 0);
    }
}

void load_core_on_idle_ready(struct load_core *core)
{
    load_run_on_core_ready(core->run, load_idle_counts(core->idle).held);
}

static void start_clocks(struct load_core *core)
{
    const struct load_options *options = core->options;
    if (options->duration_ns > 0) {
        core->last_begin_ns = core->run->start_ns + options->duration_ns;
        timer_arm(core->loop, &core->duration_timer, options->duration_ns / NS_PER_MS + 1);
    }
    if (isatty(STDERR_FILENO)) timer_arm(core->loop, &core->live_timer, LIVE_INTERVAL_MS);
    if (options->rate > 0 && core->session_count > 0) {
        struct load_pace_options pace = {.rate = options->rate / options->cores,
                                         .is_poisson = options->is_poisson,
                                         .seed = options->message.seed + core->index,
                                         .share = (double)core->index / options->cores};
        core->pace = load_pace_start(core->loop, &pace);
    }
    core->start_usage = usage_of_thread();
}

void load_core_go(struct load_core *core)
{
    if (core->is_stopping || core->is_over) return;
    core->is_started = true;
    start_clocks(core);
    core->session_count_open = core->session_count;
    /* The slow ones are spread over the cores as the sessions are. */
    uint64_t slow = load_run_share(core->options->slow, core);
    for (uint32_t i = 0; i < core->session_count; i++) {
        load_session_start(&core->sessions[i], core, i < slow);
    }
    if (core->session_count == 0 && core->idle != NULL && load_idle_counts(core->idle).held == 0)
        load_core_on_idle_lost(core);
}

void load_core_close(struct load_core *core)
{
    load_pace_stop(core->pace);
    if (core->loop == NULL) return;
    loop_hook_remove(&core->hook);
    ledger_close(core->ledger);
    conn_host_finish(&core->host);
    tls_context_destroy(core->tls);
    loop_destroy(core->loop);
}

void load_core_finish(struct load_core *core)
{
    for (uint32_t i = 0; i < core->session_count && core->is_started; i++) {
        load_session_finish(&core->sessions[i]);
    }
    load_idle_finish(core->idle);
    free(core->sessions);
}
