/* retry.c - the arithmetic of retry times; every step saturates, so that no configuration and no
 * number of attempts can wrap a time around. */
#include "server/delivery/retry.h"

#define DELAY_MS_MAX (UINT64_MAX / 1000) /* leaves room for the factor and the jitter */

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint64_t spread(uint64_t delay_ms, unsigned jitter_percent, uint64_t random)
{
    uint64_t reach_ms = delay_ms / 100 * jitter_percent + delay_ms % 100 * jitter_percent / 100;
    if (reach_ms > delay_ms) reach_ms = delay_ms;
    return delay_ms - reach_ms + random % (2 * reach_ms + 1);
}

uint64_t retry_delay_ms(const struct retry_policy *policy, uint32_t attempts, uint64_t random)
{
    ASSERT(attempts >= 1);
    uint64_t max_ms = MIN(policy->max_ms, DELAY_MS_MAX);
    uint64_t delay_ms = MIN(policy->first_ms, max_ms);
    /* A factor of 100 % or less never grows; above it the maximum ends the loop early. */
    for (uint32_t i = 1; i < attempts && policy->factor_percent > 100 && delay_ms < max_ms; i++) {
        uint64_t grown = delay_ms;
        if (__builtin_mul_overflow(delay_ms, policy->factor_percent, &grown)) grown = UINT64_MAX;
        grown /= 100;
        if (grown <= delay_ms) break; /* too small to grow: 1 ms by 120 % stays 1 ms */
        delay_ms = MIN(grown, max_ms);
    }
    return spread(delay_ms, policy->jitter_percent, random);
}

uint64_t retry_jitter_random(struct retry_jitter *jitter, uint64_t now_ms)
{
    ASSERT(now_ms > 0);
    /* A clock that was set back draws too: the difference is then huge. */
    if (jitter->drawn_ms == 0 || now_ms - jitter->drawn_ms >= RETRY_JITTER_HOLD_MS) {
        jitter->random = next_random(&jitter->state);
        jitter->drawn_ms = now_ms;
    }
    return jitter->random;
}
