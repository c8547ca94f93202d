/* counter.c - histograms of durations. */
#include "ring/base/counter.h"

#include "ring/base/clock.h"

#define US 1000ull

const uint64_t histogram_bounds_ns[HISTOGRAM_BUCKETS - 1] = {
    100 * US,        250 * US,        500 * US,       1 * NS_PER_MS,    2500 * US,
    5 * NS_PER_MS,   10 * NS_PER_MS,  25 * NS_PER_MS, 50 * NS_PER_MS,   100 * NS_PER_MS,
    250 * NS_PER_MS, 500 * NS_PER_MS, 1 * NS_PER_S,   2500 * NS_PER_MS, 5 * NS_PER_S,
    10 * NS_PER_S,   30 * NS_PER_S,   60 * NS_PER_S,
};

void histogram_add(struct histogram *h, uint64_t duration_ns)
{
    /* A bound belongs to its bucket, as in "less or equal". Most durations are short, so that the
     * search from the bottom ends soon. */
    size_t at = 0;
    while (at < HISTOGRAM_BUCKETS - 1 && duration_ns > histogram_bounds_ns[at]) {
        at++;
    }
    counter_add(&h->buckets[at], 1);
    counter_add(&h->sum_ns, duration_ns);
}
