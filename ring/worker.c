/* worker.c - the thread behind worker.h.
 *
 * `wanted` is changed without the lock, so that a wake costs one exchange while the thread is busy;
 * the lock is taken only when it may be asleep. A call has a number; the thread notes the highest
 * number it has seen before it begins to work. */
#include "ring/worker.h"

#include "ring/base/log.h"
#include "ring/base/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOG_SINK_BYTES 65536
#define NAME_BYTES 16 /* of a thread, as Linux has it */

struct worker {
    struct worker_options options;
    char name[NAME_BYTES];
    pthread_t thread;
    bool is_wanted; /* atomic */

    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t wake, call_over;
    uint64_t calls, calls_over;
    bool is_stopping;
};

/* Waits for a reason to work; *call_out is the last call that the work will have served. False when
 * there is none any more. */
static bool wait_for_work(struct worker *w, uint64_t *call_out)
{
    pthread_mutex_lock(&w->lock);
    bool is_wanted;
    while (!(is_wanted = __atomic_exchange_n(&w->is_wanted, false, __ATOMIC_SEQ_CST)) &&
           !w->is_stopping)
        pthread_cond_wait(&w->wake, &w->lock);
    *call_out = w->calls;
    pthread_mutex_unlock(&w->lock);
    return is_wanted;
}

static void *run(void *argument)
{
    struct worker *w = argument;
    uint64_t call;
    pthread_setname_np(pthread_self(), w->name);
    log_thread_start(LOG_SINK_BYTES);
    while (wait_for_work(w, &call)) {
        w->options.work(w->options.owner);
        if (call == w->calls_over) continue; /* this thread alone writes it */
        pthread_mutex_lock(&w->lock);
        w->calls_over = call;
        pthread_cond_broadcast(&w->call_over);
        pthread_mutex_unlock(&w->lock);
    }
    log_thread_stop();
    return NULL;
}

static void worker_free(struct worker *w)
{
    pthread_cond_destroy(&w->call_over);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

int worker_start(const struct worker_options *options, struct worker **worker_out)
{
    *worker_out = NULL;
    struct worker *w = xcalloc(1, sizeof(*w));
    w->options = *options;
    snprintf(w->name, sizeof(w->name), "%s", options->name);
    w->options.name = w->name;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    pthread_cond_init(&w->call_over, NULL);

    /* Signals are for the thread that expects them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        worker_free(w);
        return -rc;
    }
    *worker_out = w;
    return 0;
}

void worker_stop(struct worker *w)
{
    if (w == NULL) return;
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    worker_free(w);
}

void worker_wake(struct worker *w)
{
    if (__atomic_exchange_n(&w->is_wanted, true, __ATOMIC_SEQ_CST)) return;
    /* The lock, so that the thread is either before its look at `is_wanted` or asleep. */
    pthread_mutex_lock(&w->lock);
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->wake);
}

void worker_call(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    ASSERT(!w->is_stopping);
    uint64_t call = ++w->calls;
    __atomic_store_n(&w->is_wanted, true, __ATOMIC_SEQ_CST);
    pthread_cond_signal(&w->wake);
    while (w->calls_over < call)
        pthread_cond_wait(&w->call_over, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void worker_pause(struct worker *w, uint64_t ns)
{
    (void)w;
    ASSERT(ns < 1000000000);
    nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}
