#include "bench/latency.h"

#include "tests/support/test.h"

static struct latency one, other;

TEST(latency_buckets_cover_all_without_gaps)
{
    CHECK_EQ("first", latency_bucket_ns(0), 0);
    for (size_t i = 0; i + 1 < LATENCY_BUCKETS; i++) {
        uint64_t from = latency_bucket_ns(i), end = latency_bucket_ns(i + 1);
        CHECK(from < end);
        CHECK_EQ("least", latency_bucket(from), i);
        CHECK_EQ("most", latency_bucket(end - 1), i);
        if (from >= LATENCY_PARTS) CHECK((end - from) * LATENCY_PARTS <= from);
    }
    CHECK_EQ("above all", latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
    CHECK_EQ("just above", latency_bucket(1ull << LATENCY_BITS_MAX), LATENCY_BUCKETS - 1);
}

TEST(latency_shares_are_within_one_percent)
{
    latency_init(&one);
    CHECK_EQ("of nothing", latency_at(&one, 0.5), 0);
    for (uint64_t us = 1; us <= 100000; us++) {
        latency_add(&one, us * 1000);
    }
    static const double shares[] = {0.0001, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
        double want = shares[i] * 100000 * 1000, got = (double)latency_at(&one, shares[i]);
        CHECK(got >= want);
        CHECK(got <= want * 1.01);
    }
    CHECK_EQ("max", latency_at(&one, 1), 100000000);
    CHECK_EQ("count", one.count, 100000);
}

TEST(latency_merge_adds_up)
{
    latency_init(&one);
    latency_init(&other);
    for (uint64_t i = 0; i < 90; i++) {
        latency_add(&one, 100);
    }
    for (uint64_t i = 0; i < 10; i++) {
        latency_add(&other, 1000000);
    }
    latency_merge(&one, &other);
    CHECK_EQ("count", one.count, 100);
    CHECK_EQ("sum", one.sum_ns, 90 * 100 + 10 * 1000000);
    CHECK_EQ("p90", latency_at(&one, 0.9), 100);
    CHECK(latency_at(&one, 0.91) > 990000);
    CHECK_EQ("max", one.max_ns, 1000000);
}

TEST(latency_beyond_the_range_is_kept)
{
    latency_init(&one);
    latency_add(&one, 1ull << 50);
    CHECK_EQ("p50", latency_at(&one, 0.5), 1ull << 50);
}
