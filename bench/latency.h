/* latency.h - how durations are spread: a log-linear histogram with an error below 1 %.
 *
 * Each power of two is cut into LATENCY_PARTS equal buckets; below LATENCY_PARTS nanoseconds each
 * value has its own. The bounds are always the same, so that histograms of several runs can be
 * added. Durations above the range go to the last bucket; the maximum is exact. */
#pragma once

#include "ring/base/base.h"

#define LATENCY_PART_BITS 7
#define LATENCY_PARTS (1u << LATENCY_PART_BITS)
#define LATENCY_BITS_MAX 42 /* 73 minutes */
#define LATENCY_BUCKETS ((LATENCY_BITS_MAX - LATENCY_PART_BITS + 1) * LATENCY_PARTS)

struct latency {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t count, sum_ns, max_ns;
};

void latency_init(struct latency *l);
void latency_add(struct latency *l, uint64_t duration_ns);
void latency_merge(struct latency *into, const struct latency *from);
/* The duration that `share` (0 to 1) of all do not exceed: the upper bound of its bucket, and never
 * above the maximum. 0 when there are none. */
uint64_t latency_at(const struct latency *l, double share);

/* The bucket of a duration, and the least duration of a bucket. */
size_t latency_bucket(uint64_t duration_ns);
uint64_t latency_bucket_ns(size_t bucket);
