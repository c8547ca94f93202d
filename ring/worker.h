/* worker.h - a thread beside the loops, for what has to block: it sleeps until it is woken.
 *
 * The work is one function that does all there is to do, however often it was woken for it. This
 * header is a seam as loop.h is: where there is but one thread, a simulated worker runs the work at
 * a time of its own choosing. */
#pragma once

#include "ring/base/base.h"

struct worker;

struct worker_options {
    const char *name; /* of the thread, at most 15 bytes; copied */
    /* Runs on the worker's thread, once or more after each worker_wake(), never twice at a time. */
    void (*work)(void *owner);
    void *owner;
};

/* Starts the thread, which takes no signals and may write to the log. 0, or -ERR_* of
 * pthread_create(3). */
MUST_USE int worker_start(const struct worker_options *options, struct worker **worker_out);
/* Runs the work a last time when it was woken for it, ends the thread and frees the worker. NULL is
 * allowed. Not from the work. */
void worker_stop(struct worker *worker);

/* work() begins after this call, or begins anew. Any thread; cheap while the worker is awake. */
void worker_wake(struct worker *worker);
/* The same, and returns when a work() that began after this call has ended. Any thread but the
 * worker's. */
void worker_call(struct worker *worker);
/* Lets the worker rest for `ns`: from inside work() only. */
void worker_pause(struct worker *worker, uint64_t ns);
