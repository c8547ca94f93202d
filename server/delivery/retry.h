/* retry.h - when a recipient is tried again.
 *
 * Pure. The delay grows by a factor with every attempt, up to a maximum, and is spread by a random
 * share so that what failed at different times does not come back at once. */
#pragma once

#include "ring/base/base.h"

struct retry_policy {
    uint64_t first_ms, max_ms;
    unsigned factor_percent; /* 200: doubled each time */
    unsigned jitter_percent; /* of the delay, to either side */
};

/* The delay after `attempts` (at least 1) have failed. `random` is any 64 random bits. */
uint64_t retry_delay_ms(const struct retry_policy *policy, uint32_t attempts, uint64_t random);

/* Where the random bits come from: a generator (splitmix64, not for secrets) that gives the same
 * number for RETRY_JITTER_HOLD_MS. Times of due are keys of the queue's index: spread one by one, a
 * hundred deferrals would touch a hundred pages of a long one, and held together they are
 * neighbours. They come back at the pace at which they were deferred, never at once. */
struct retry_jitter {
    uint64_t state; /* any start */
    uint64_t random;
    uint64_t drawn_ms; /* 0: nothing was drawn yet */
};
#define RETRY_JITTER_HOLD_MS 1000

/* `now_ms`: of any clock that does not start at 0. */
uint64_t retry_jitter_random(struct retry_jitter *jitter, uint64_t now_ms);
