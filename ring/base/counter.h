/* counter.h - numbers that one thread writes and any thread may read.
 *
 * The writer owns the counter, so adding is a plain add with a relaxed store: no locked
 * instruction. Readers see a value that was true a moment ago. */
#pragma once

#include "ring/base/base.h"

struct counter {
    uint64_t value;
};

static inline void counter_add(struct counter *c, uint64_t n)
{
    __atomic_store_n(&c->value, c->value + n, __ATOMIC_RELAXED);
}
static inline void counter_sub(struct counter *c, uint64_t n)
{
    __atomic_store_n(&c->value, c->value - n, __ATOMIC_RELAXED);
}
static inline void counter_set(struct counter *c, uint64_t n)
{
    __atomic_store_n(&c->value, n, __ATOMIC_RELAXED);
}
static inline uint64_t counter_get(const struct counter *c)
{
    return __atomic_load_n(&c->value, __ATOMIC_RELAXED);
}

/* Durations from 100 us to 60 s; the last bucket is everything above. The bounds are the same for
 * every histogram, so that they can be added. */
#define HISTOGRAM_BUCKETS 19
extern const uint64_t histogram_bounds_ns[HISTOGRAM_BUCKETS - 1];

struct histogram {
    struct counter buckets[HISTOGRAM_BUCKETS];
    struct counter sum_ns;
};

void histogram_add(struct histogram *h, uint64_t duration_ns);
