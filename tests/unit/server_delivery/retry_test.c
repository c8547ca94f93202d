/* retry_test.c - delays grow by the factor, stay within the maximum and spread by the jitter. */
#include "server/delivery/retry.h"

#include "tests/support/test.h"

TEST(delays_grow_by_the_factor_up_to_the_maximum)
{
    static const struct {
        const char *name;
        struct retry_policy policy;
        uint32_t attempts;
        uint64_t want_ms;
    } cases[] = {
        {"first", {60000, 1800000, 200, 0}, 1, 60000},
        {"second", {60000, 1800000, 200, 0}, 2, 120000},
        {"fifth", {60000, 1800000, 200, 0}, 5, 960000},
        {"at the maximum", {60000, 1800000, 200, 0}, 6, 1800000},
        {"far past it", {60000, 1800000, 200, 0}, UINT32_MAX, 1800000},
        {"factor 1", {60000, 1800000, 100, 0}, UINT32_MAX, 60000},
        {"factor 1.5", {1000, 1800000, 150, 0}, 3, 2250},
        {"too small to grow", {1, 1800000, 150, 0}, UINT32_MAX, 1},
        {"first above the maximum", {5000, 1000, 200, 0}, 1, 1000},
        {"nothing wraps", {UINT64_MAX, UINT64_MAX, UINT32_MAX, 0}, 9, UINT64_MAX / 1000},
        {"zero", {0, 0, 200, 10}, 3, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].name,
                 retry_delay_ms(&cases[i].policy, cases[i].attempts, 0x123456789abcdef0),
                 cases[i].want_ms);
    }
}

/* A number of its own each time. */
static uint64_t draw(struct retry_jitter *jitter, uint64_t *now_ms)
{
    *now_ms += RETRY_JITTER_HOLD_MS;
    return retry_jitter_random(jitter, *now_ms);
}

TEST(jitter_is_held_for_a_while)
{
    struct retry_jitter jitter = {.state = 3};
    uint64_t start_ms = 1700000000000;
    uint64_t first = retry_jitter_random(&jitter, start_ms);
    CHECK(retry_jitter_random(&jitter, start_ms + RETRY_JITTER_HOLD_MS - 1) == first);
    uint64_t second = retry_jitter_random(&jitter, start_ms + RETRY_JITTER_HOLD_MS);
    CHECK(second != first);
    CHECK(retry_jitter_random(&jitter, start_ms) != second); /* the clock was set back */
}

TEST(jitter_reaches_both_ends_and_not_beyond)
{
    struct retry_policy policy = {1000, 60000, 200, 10};
    struct retry_jitter jitter = {.state = 1};
    uint64_t now_ms = 1, low = UINT64_MAX, high = 0;
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t delay_ms = retry_delay_ms(&policy, 1, draw(&jitter, &now_ms));
        low = MIN(low, delay_ms);
        high = MAX(high, delay_ms);
    }
    CHECK_EQ("low", low, 900);
    CHECK_EQ("high", high, 1100);
}

TEST(jitter_of_more_than_all_is_all)
{
    struct retry_policy policy = {1000, 60000, 200, 250};
    struct retry_jitter jitter = {.state = 7};
    uint64_t now_ms = 1;
    for (unsigned i = 0; i < 1000; i++)
        CHECK(retry_delay_ms(&policy, 1, draw(&jitter, &now_ms)) <= 2000);
}
