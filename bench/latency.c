/* latency.c - the log-linear histogram. Pure; a histogram belongs to one thread. */
#include "bench/latency.h"

#include <math.h>
#include <string.h>

void latency_init(struct latency *l)
{
    memset(l, 0, sizeof(*l));
}

size_t latency_bucket(uint64_t duration_ns)
{
    if (duration_ns < LATENCY_PARTS) return (size_t)duration_ns;
    unsigned top = 63 - (unsigned)__builtin_clzll(duration_ns);
    if (top >= LATENCY_BITS_MAX) return LATENCY_BUCKETS - 1;
    unsigned shift = top - LATENCY_PART_BITS;
    /* The part has its top bit set, so that the octaves follow each other without a gap. */
    uint64_t part = duration_ns >> shift;
    return (size_t)shift * LATENCY_PARTS + (size_t)part;
}

uint64_t latency_bucket_ns(size_t bucket)
{
    ASSERT(bucket < LATENCY_BUCKETS);
    if (bucket < 2 * LATENCY_PARTS) return bucket;
    size_t shift = bucket / LATENCY_PARTS - 1;
    uint64_t part = bucket % LATENCY_PARTS + LATENCY_PARTS;
    return part << shift;
}

void latency_add(struct latency *l, uint64_t duration_ns)
{
    l->counts[latency_bucket(duration_ns)]++;
    l->count++;
    l->sum_ns += duration_ns;
    if (duration_ns > l->max_ns) l->max_ns = duration_ns;
}

void latency_merge(struct latency *into, const struct latency *from)
{
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->max_ns = MAX(into->max_ns, from->max_ns);
}

uint64_t latency_at(const struct latency *l, double share)
{
    ASSERT(share >= 0 && share <= 1);
    if (l->count == 0) return 0;
    uint64_t rank = (uint64_t)ceil(share * (double)l->count);
    if (rank == 0) rank = 1;
    uint64_t passed = 0;
    for (size_t i = 0; i + 1 < LATENCY_BUCKETS; i++) {
        passed += l->counts[i];
        if (passed >= rank) return MIN(latency_bucket_ns(i + 1) - 1, l->max_ns);
    }
    return l->max_ns;
}
