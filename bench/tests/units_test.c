#include "bench/units.h"

#include "bench/mark.h"
#include "tests/support/test.h"

TEST(units_size_reads_units_and_bounds)
{
    static const struct {
        const char *text;
        bool is_good;
        uint64_t want;
    } cases[] = {
        {"0", true, 0},
        {"17", true, 17},
        {"17B", true, 17},
        {"4KiB", true, 4096},
        {"50MiB", true, 52428800},
        {"1GiB", true, 1ull << 30},
        {"2GiB", false, 0},
        {"", false, 0},
        {"KiB", false, 0},
        {"4kb", false, 0},
        {"4 KiB", false, 0},
        {"-1", false, 0},
        {"1.5MiB", false, 0},
        {"99999999999999999999GiB", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t got = 0;
        bool is_good = units_size(slice_of_cstr(cases[i].text), 1ull << 30, &got);
        CHECK_EQ(cases[i].text, is_good, cases[i].is_good);
        if (is_good) CHECK_EQ(cases[i].text, got, cases[i].want);
    }
}

TEST(units_duration_reads_units)
{
    static const struct {
        const char *text;
        bool is_good;
        uint64_t want;
    } cases[] = {
        {"5ms", true, 5000000},
        {"300s", true, 300000000000},
        {"1.5s", true, 1500000000},
        {"200us", true, 200000},
        {"2m", true, 120000000000},
        {"0s", true, 0},
        {"5", false, 0},
        {"ms", false, 0},
        {"5 ms", false, 0},
        {"1..5s", false, 0},
        {"999999h", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t got = 0;
        bool is_good = units_duration(slice_of_cstr(cases[i].text), &got);
        CHECK_EQ(cases[i].text, is_good, cases[i].is_good);
        if (is_good) CHECK_EQ(cases[i].text, got, cases[i].want);
    }
}

TEST(units_share_and_rate)
{
    double n = 0;
    CHECK(units_share(SLICE("10%"), &n) && n > 0.0999 && n < 0.1001);
    CHECK(units_share(SLICE("0.5%"), &n) && n > 0.00499 && n < 0.00501);
    CHECK(units_share(SLICE("100%"), &n) && n >= 1 && n <= 1);
    CHECK(!units_share(SLICE("101%"), &n));
    CHECK(!units_share(SLICE("10"), &n));
    CHECK(units_rate(SLICE("2500/s"), &n) && n >= 2500 && n <= 2500);
    CHECK(units_rate(SLICE("0.5"), &n) && n >= 0.5 && n <= 0.5);
    CHECK(!units_rate(SLICE("0/s"), &n));
    CHECK(!units_rate(SLICE("5/m"), &n));
}

TEST(units_next_cuts_lists)
{
    struct slice rest = SLICE("a,,b"), part;
    CHECK(units_next(&rest, ',', &part));
    CHECK_SLICE("first", part, "a");
    CHECK(units_next(&rest, ',', &part));
    CHECK_SLICE("empty", part, "");
    CHECK(units_next(&rest, ',', &part));
    CHECK_SLICE("last", part, "b");
    CHECK(!units_next(&rest, ',', &part));
    rest = SLICE("x,");
    CHECK(units_next(&rest, ',', &part));
    CHECK(units_next(&rest, ',', &part));
    CHECK_SLICE("after the last separator", part, "");
    CHECK(!units_next(&rest, ',', &part));
}

TEST(mark_ids_are_read_as_written)
{
    struct message_id id = {0x0f1e2d3c4b5a6978u, 42}, got = {0, 0};
    char text[MARK_ID_BYTES];
    mark_write_id(&id, text);
    struct slice all = slice_of(text, sizeof(text));
    CHECK_SLICE("id", all, "0f1e2d3c4b5a6978-000000000042");
    CHECK(mark_parse_id(all, &got));
    CHECK(got.run == id.run && got.number == id.number);
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        CHECK(!mark_parse_id(slice_of(text, cut), &got));
        char kept = text[cut];
        text[cut] = 'x';
        CHECK(!mark_parse_id(all, &got));
        text[cut] = kept;
    }
}

TEST(mark_recipients_have_bits)
{
    static const struct {
        const char *address;
        uint64_t want;
    } cases[] = {
        {"user@bench.test", 1},
        {"user1@bench.test", 1},
        {"user2@bench.test", 2},
        {"user63@bench.test", 1ull << 62},
        {"user64@bench.test", MARK_RECIPIENT_OTHER},
        {"user1000@bench.test", MARK_RECIPIENT_OTHER},
        {"user99999999999999@bench.test", MARK_RECIPIENT_OTHER},
        {"7@bench.test", 1ull << 6},
        {"user0@bench.test", 1},
        {"", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].address, mark_recipient_bit(slice_of_cstr(cases[i].address)),
                 cases[i].want);
    }
}
