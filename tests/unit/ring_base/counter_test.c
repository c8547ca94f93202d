/* counter_test.c - counters, and the buckets of histograms at their bounds. */
#include "ring/base/clock.h"
#include "ring/base/counter.h"
#include "tests/support/test.h"

TEST(counters_add_and_subtract)
{
    struct counter c = {0};
    counter_add(&c, 5);
    counter_sub(&c, 2);
    CHECK_EQ("value", counter_get(&c), 3);
    counter_set(&c, 9);
    CHECK_EQ("value", counter_get(&c), 9);
}

TEST(histogram_bounds_grow_from_100_us_to_60_s)
{
    CHECK_EQ("first", histogram_bounds_ns[0], 100 * 1000);
    CHECK_EQ("last", histogram_bounds_ns[HISTOGRAM_BUCKETS - 2], 60 * NS_PER_S);
    for (size_t i = 1; i < HISTOGRAM_BUCKETS - 1; i++) {
        CHECK(histogram_bounds_ns[i] >= 2 * histogram_bounds_ns[i - 1]);
        CHECK(histogram_bounds_ns[i] <= 3 * histogram_bounds_ns[i - 1]);
    }
}

TEST(a_duration_lands_in_the_bucket_of_its_bound)
{
    struct histogram h = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        histogram_add(&h, histogram_bounds_ns[i]);
        histogram_add(&h, histogram_bounds_ns[i] + 1);
        sum += 2 * histogram_bounds_ns[i] + 1;
    }
    histogram_add(&h, 0);
    CHECK_EQ("first: 0 and its bound", counter_get(&h.buckets[0]), 2);
    for (size_t i = 1; i < HISTOGRAM_BUCKETS - 1; i++) {
        CHECK_EQ("above the last bound, and its own", counter_get(&h.buckets[i]), 2);
    }
    CHECK_EQ("last", counter_get(&h.buckets[HISTOGRAM_BUCKETS - 1]), 1);
    CHECK_EQ("sum", counter_get(&h.sum_ns), sum);
}

TEST(the_clocks_run)
{
    uint64_t before = clock_monotonic_ns();
    CHECK(clock_monotonic_ns() >= before);
    CHECK(clock_wall_ms() > 1700000000000ull); /* milliseconds, after November 2023 */
    CHECK(clock_wall_ms() < 100000000000000ull);
}
