/* retry.h - when a recipient is tried again.
 *
 * Pure. The delay grows by a factor with every attempt, up to a maximum, and is spread by a random
 * share so that what failed together does not come back together. */
#pragma once

#include "ring/base/base.h"

struct retry_policy {
    uint64_t first_ms, max_ms;
    unsigned factor_percent; /* 200: doubled each time */
    unsigned jitter_percent; /* of the delay, to either side */
};

/* The delay after `attempts` (at least 1) have failed. `random` is any 64 random bits. */
uint64_t retry_delay_ms(const struct retry_policy *policy, uint32_t attempts, uint64_t random);

/* The next number of a generator for jitter (splitmix64): not for secrets. */
uint64_t retry_random(uint64_t *state);
