/* load_run.c - the threads of a run, from the first loop to the sum of what they did. */
#include "bench/load_run.h"

#include "bench/control.h"
#include "bench/load_idle.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define DESCRIPTORS_SPARE 64

uint64_t load_run_share(uint64_t total, const struct load_core *core)
{
    uint64_t cores = core->options->cores;
    return total / cores + (core->index < total % cores);
}

/* --- start --- */

static void say_holding(const struct load_run *run)
{
    const struct load_options *options = run->options;
    if (options->idle == 0) return;
    /* Standard output is the report's, unless that has a file. */
    bool has_stdout = options->json != NULL && strcmp(options->json, "-") != 0;
    FILE *to = has_stdout ? stdout : stderr;
    fprintf(to, "holding %" PRIu64 " of %" PRIu32 "\n", run->idle_held, options->idle);
    fflush(to);
}

void load_run_on_core_ready(struct load_run *run, uint64_t idle_held)
{
    __atomic_add_fetch(&run->idle_held, idle_held, __ATOMIC_RELAXED);
    if (__atomic_sub_fetch(&run->cores_not_ready, 1, __ATOMIC_ACQ_REL) > 0) return;
    say_holding(run);
    run->start_usage = usage_now();
    run->start_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < run->options->cores; i++) {
        mailbox_post(mailbox_of(run->cores[i].loop), &run->cores[i].start_mail);
    }
}

void load_run_on_core_measured(struct load_run *run)
{
    if (__atomic_sub_fetch(&run->cores_measuring, 1, __ATOMIC_ACQ_REL) > 0) return;
    run->end_ns = clock_monotonic_ns();
    run->usage = usage_since(&run->start_usage);
}

void load_run_stop(struct load_run *run, enum load_end why)
{
    if (run->is_stopping) return;
    run->is_stopping = true;
    run->stop_why = why;
    for (uint32_t i = 0; i < run->options->cores; i++) {
        mailbox_post(mailbox_of(run->cores[i].loop), &run->cores[i].stop_mail);
    }
}

/* --- threads --- */

static void run_loop(struct load_core *core)
{
    load_core_start(core);
    int err = loop_run(core->loop);
    if (err == 0) return;
    fprintf(stderr, "load: the loop failed: %s\n", err_str(err));
    exit(1);
}

/* The loop is made and ended on its own thread. Between the last two barriers nobody posts to it
 * any more, so that it can go. */
static void *core_run(void *arg)
{
    struct load_core *core = arg;
    struct load_run *run = core->run;
    if (!load_core_open(core)) __atomic_store_n(&run->is_broken, true, __ATOMIC_RELEASE);
    pthread_barrier_wait(&run->barrier);
    if (__atomic_load_n(&run->is_broken, __ATOMIC_ACQUIRE)) return NULL;
    run_loop(core);
    pthread_barrier_wait(&run->barrier);
    load_core_close(core);
    return NULL;
}

static void on_command(void *owner, struct slice command)
{
    struct load_run *run = owner;
    if (slice_eq(command, SLICE("stop"))) load_run_stop(run, LOAD_STOPPED);
}

static void run_core_0(struct load_run *run)
{
    struct load_core *core = &run->cores[0];
    if (!load_core_open(core)) __atomic_store_n(&run->is_broken, true, __ATOMIC_RELEASE);
    pthread_barrier_wait(&run->barrier);
    if (__atomic_load_n(&run->is_broken, __ATOMIC_ACQUIRE)) exit(1); /* who broke it said why */
    struct control *control = control_start(core->loop, false, on_command, run);
    run_loop(core);
    if (isatty(STDERR_FILENO)) fputc('\n', stderr);
    control_stop(control);
    pthread_barrier_wait(&run->barrier);
    load_core_close(core);
}

/* Sockets that connect are descriptors of this process. */
static void raise_descriptor_limit(const struct load_options *options)
{
    rlim_t need = (rlim_t)options->sessions + options->idle + 16u * options->cores;
    need += DESCRIPTORS_SPARE;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need) return;
    limit.rlim_max = MAX(limit.rlim_max, need); /* more than it was only root may have */
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
    fprintf(stderr,
            "load: %" PRIu32 " sessions and %" PRIu32 " idle connections need a limit of %" PRIu64
            " open files: raise it (ulimit -n)\n",
            options->sessions, options->idle, (uint64_t)need);
    exit(1);
}

static void prepare_core(struct load_run *run, uint32_t index)
{
    struct load_core *core = &run->cores[index];
    const struct load_options *options = run->options;
    core->run = run;
    core->options = options;
    core->maker = run->maker;
    core->index = index;
    core->session_count = (uint32_t)load_run_share(options->sessions, core);
    core->idle_count = (uint32_t)load_run_share(options->idle, core);
    core->message_count =
        options->messages == 0 ? UINT64_MAX : load_run_share(options->messages, core);
}

void load_run(struct load_run *run, const struct load_options *options)
{
    raise_descriptor_limit(options);
    run->options = options;
    run->maker = message_maker_create(&options->message);
    run->cores = xcalloc(options->cores, sizeof(run->cores[0]));
    run->cores_not_ready = run->cores_measuring = run->cores_open = options->cores;
    int err = pthread_barrier_init(&run->barrier, NULL, options->cores);
    ASSERT(err == 0);
    for (uint32_t i = 0; i < options->cores; i++) {
        prepare_core(run, i);
    }
    for (uint32_t i = 1; i < options->cores; i++) {
        err = pthread_create(&run->cores[i].thread, NULL, core_run, &run->cores[i]);
        ASSERT(err == 0);
    }
    run_core_0(run);
    for (uint32_t i = 1; i < options->cores; i++) {
        pthread_join(run->cores[i].thread, NULL);
    }
}

/* --- the sum --- */

static void add_counts(struct load_counts *sum, const struct load_counts *counts)
{
    sum->taken += counts->taken;
    sum->accepted += counts->accepted;
    sum->refused += counts->refused;
    sum->lost += counts->lost;
    sum->accepted_bytes += counts->accepted_bytes;
    sum->accepted_slow += counts->accepted_slow;
    sum->overdue += counts->overdue;
    sum->recipients_refused += counts->recipients_refused;
    sum->sessions_lost += counts->sessions_lost;
    sum->connections += counts->connections;
    sum->connect_errors += counts->connect_errors;
    sum->losses += counts->losses;
    sum->stalls += counts->stalls;
    sum->bad_replies += counts->bad_replies;
    sum->handshakes += counts->handshakes;
    sum->handshakes_resumed += counts->handshakes_resumed;
    sum->handshakes_failed += counts->handshakes_failed;
    if (counts->connect_error != 0) sum->connect_error = counts->connect_error;
    for (unsigned code = 0; code < LOAD_CODES_MAX; code++) {
        sum->codes[code] += counts->codes[code];
    }
}

/* Keeps the earlier one. */
static void take_first(struct load_problem *first, const struct load_problem *problem)
{
    if (problem->at_ns == 0) return;
    if (first->at_ns == 0 || problem->at_ns < first->at_ns) *first = *problem;
}

static void add_core(struct load_total *total, const struct load_core *core)
{
    add_counts(&total->counts, &core->counts);
    latency_merge(&total->reply_latency, &core->reply_latency);
    latency_merge(&total->message_latency, &core->message_latency);
    latency_merge(&total->handshake_latency, &core->handshake_latency);
    take_first(&total->refusal, &core->refusal);
    if (core->idle != NULL) {
        struct load_idle_counts idle = load_idle_counts(core->idle);
        total->idle.wanted += idle.wanted;
        total->idle.held += idle.held;
        total->idle.lost += idle.lost;
        total->idle.refused += idle.refused;
    }
}

void load_run_total(const struct load_run *run, struct load_total *total)
{
    memset(total, 0, sizeof(*total));
    for (uint32_t i = 0; i < run->options->cores; i++) {
        total->end = MAX(total->end, run->cores[i].end);
    }
    for (uint32_t i = 0; i < run->options->cores; i++) {
        const struct load_core *core = &run->cores[i];
        add_core(total, core);
        /* What ended the run tells more than what only came first. */
        if (total->end != LOAD_UNABLE || core->end == LOAD_UNABLE)
            take_first(&total->problem, &core->problem);
    }
}

void load_run_finish(struct load_run *run)
{
    for (uint32_t i = 0; i < run->options->cores; i++) {
        load_core_finish(&run->cores[i]);
    }
    free(run->cores);
    message_maker_destroy(run->maker);
    pthread_barrier_destroy(&run->barrier);
}
