/* load_pace.c - see load_pace.h. The intended times belong to the loop's thread; the other thread
 * only sleeps and wakes, and shares nothing but the word that ends it. */
#include "bench/load_pace.h"

#include "bench/random.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

struct load_pace {
    struct loop *loop;
    double interval_ns;
    bool is_poisson;
    uint64_t random;
    uint64_t start_ns;
    double next_ns; /* after start_ns; a double keeps the fractions of a nanosecond */
    uint64_t wake_ns;
    pthread_t thread;
    bool is_ended;
};

static void *pace_run(void *arg)
{
    struct load_pace *pace = arg;
    prctl(PR_SET_TIMERSLACK, 1000ul); /* 1 us; the usual 50 us would show in the latency */
    uint64_t at = clock_monotonic_ns();
    while (!__atomic_load_n(&pace->is_ended, __ATOMIC_RELAXED)) {
        at += pace->wake_ns;
        struct timespec until = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        loop_wake(pace->loop);
        uint64_t now = clock_monotonic_ns();
        if (now > at + pace->wake_ns) at = now; /* no burst of wakes after a stall */
    }
    return NULL;
}

struct load_pace *load_pace_start(struct loop *loop, const struct load_pace_options *options)
{
    ASSERT(options->rate > 0);
    struct load_pace *pace = xcalloc(1, sizeof(*pace));
    pace->loop = loop;
    pace->interval_ns = 1e9 / options->rate;
    pace->is_poisson = options->is_poisson;
    pace->random = options->seed;
    pace->next_ns = options->share * pace->interval_ns;
    pace->start_ns = clock_monotonic_ns();
    double wake_ns = MIN(MAX(pace->interval_ns / 2, LOAD_PACE_NS_MIN), LOAD_PACE_NS_MAX);
    pace->wake_ns = (uint64_t)wake_ns;
    int err = pthread_create(&pace->thread, NULL, pace_run, pace);
    ASSERT(err == 0);
    return pace;
}

void load_pace_stop(struct load_pace *pace)
{
    if (pace == NULL) return;
    __atomic_store_n(&pace->is_ended, true, __ATOMIC_RELAXED);
    pthread_join(pace->thread, NULL);
    free(pace);
}

uint64_t load_pace_next_ns(const struct load_pace *pace)
{
    return pace->start_ns + (uint64_t)pace->next_ns;
}

void load_pace_advance(struct load_pace *pace)
{
    double share = pace->is_poisson ? -log(1 - random_fraction(&pace->random)) : 1;
    pace->next_ns += share * pace->interval_ns;
}
