/* random.h - numbers that are the same for the same seed: splitmix64. Not for secrets. */
#pragma once

#include "ring/base/base.h"

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t n = *state += 0x9e3779b97f4a7c15u;
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

/* 0 to bound - 1. The bias of the remainder does not matter for bounds as small as ours. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
    ASSERT(bound > 0);
    return random_next(state) % bound;
}

/* 0 or more, less than 1. */
static inline double random_fraction(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1.0p-53;
}

/* True with this probability. */
static inline bool random_chance(uint64_t *state, double probability)
{
    return probability > 0 && random_fraction(state) < probability;
}
