/* load_run.h - one run of the load: its cores, when they start, and how it ended.
 *
 * Core 0 runs on the main thread, the others on threads of their own. Each brings up its idle
 * connections; when all have, the last one starts the clock and the sessions of all. Stops go
 * through core 0, which also runs until the others are over:
 *
 *     core k: idle up --> [all are] --> sessions run --> over --> its loop waits for the join
 *     core 0: the same, then waits for the others' "over"
 *
 * What cores share is written before a mail or a barrier and read after it; the counters of a
 * running core are its own. */
#pragma once

#include "bench/load_core.h"

#include <pthread.h>

struct load_run {
    const struct load_options *options;
    struct message_maker *maker; /* read by all */
    struct load_core *cores;
    pthread_barrier_t barrier; /* loops are made; loops may go */
    bool is_broken;            /* a core could not be made; before the first barrier */
    uint32_t cores_not_ready, cores_measuring; /* atomic */
    uint32_t cores_open;                       /* of core 0's thread, as is is_stopping */
    bool is_stopping;
    enum load_end stop_why; /* set before the mails that stop the cores */
    uint64_t idle_held;     /* atomic: when all were up */
    uint64_t start_ns, end_ns;
    struct usage start_usage, usage;
};

/* What the cores did together. */
struct load_total {
    enum load_end end;
    struct load_counts counts;
    struct load_idle_counts idle;
    struct load_problem problem; /* the first, or what ended the run */
    struct load_problem refusal; /* the first reply that refused a message */
    struct latency reply_latency, message_latency, handshake_latency;
};

/* Runs all of it. Ends the process with a line when it cannot begin, or a loop fails. `run` is zero
 * before; `options` is borrowed. */
void load_run(struct load_run *run, const struct load_options *options);
/* Adds the cores up; `total` is large. After load_run(). */
void load_run_total(const struct load_run *run, struct load_total *total);
void load_run_finish(struct load_run *run);

/* --- for cores --- */

/* The core's part of `total`: what does not divide goes to the first. */
uint64_t load_run_share(uint64_t total, const struct load_core *core);
/* Ends the run; on core 0's thread. */
void load_run_stop(struct load_run *run, enum load_end why);
/* The core's idle connections are up. The last one starts all. */
void load_run_on_core_ready(struct load_run *run, uint64_t idle_held);
/* All messages of the core are settled. */
void load_run_on_core_measured(struct load_run *run);
