/* buf_test.c - appending at every capacity: what does not fit changes nothing. */
#include "ring/base/buf.h"
#include "tests/support/test.h"

TEST(appends_fit_or_change_nothing_at_every_capacity)
{
    static const char want[] = "ab-18446744073709551615-007-x=5";
    for (size_t cap = 0; cap < sizeof(want) + 2; cap++) {
        char *bytes = malloc(cap + 1); /* exact, so that the sanitizer sees any byte too many */
        struct buf b = {bytes, 0, cap, false};
        size_t before = 0;
        bool fits = true;
#define STEP(call)                                                                                 \
    before = b.len;                                                                                \
    if (fits && !(call)) {                                                                         \
        fits = false;                                                                              \
        CHECK_EQ(#call, b.len, before);                                                            \
    }
        STEP(buf_append(&b, "a", 1));
        STEP(buf_append_char(&b, 'b'));
        STEP(buf_append_cstr(&b, "-"));
        STEP(buf_append_u64(&b, UINT64_MAX));
        STEP(buf_append_slice(&b, SLICE("-")));
        STEP(buf_append_padded(&b, 7, 3));
        STEP(buf_append_format(&b, "-%c=%d", 'x', 5));
#undef STEP
        CHECK_EQ("fits", fits, cap >= sizeof(want) - 1);
        CHECK_EQ("short", b.is_short, !fits);
        CHECK(b.len <= cap);
        CHECK(memcmp(bytes, want, b.len) == 0);
        if (fits) CHECK_BUF("all", b, want);
        free(bytes);
    }
}

TEST(numbers_are_written_in_full)
{
    char bytes[64];
    struct buf b = {bytes, 0, sizeof(bytes), false};
    CHECK(buf_append_u64(&b, 0));
    CHECK(buf_append_char(&b, ' '));
    CHECK(buf_append_u64(&b, 1234567890));
    CHECK(buf_append_char(&b, ' '));
    CHECK(buf_append_padded(&b, 0, 2));
    CHECK(buf_append_padded(&b, 99, 2));
    CHECK_BUF("numbers", b, "0 1234567890 0099");
}

TEST(short_stays_until_reset)
{
    char bytes[4];
    struct buf b = {bytes, 0, sizeof(bytes), false};
    CHECK(!buf_append_cstr(&b, "12345"));
    CHECK(b.is_short);
    CHECK(buf_append_cstr(&b, "1234"));
    CHECK(b.is_short);
    CHECK_EQ("room", buf_room(&b), 0);
    buf_reset(&b);
    CHECK(!b.is_short);
    CHECK_EQ("room", buf_room(&b), 4);
}

TEST(consume_moves_the_rest_down)
{
    char bytes[8];
    for (size_t n = 0; n <= 6; n++) {
        struct buf b = {bytes, 0, sizeof(bytes), false};
        buf_append_cstr(&b, "abcdef");
        buf_consume(&b, n);
        CHECK_BUF("rest", b, "abcdef" + n);
    }
}

TEST(an_empty_format_fits_in_nothing)
{
    struct buf b = {NULL, 0, 0, false};
    CHECK(buf_append_format(&b, "%s", ""));
    CHECK(buf_append(&b, NULL, 0));
    CHECK(!b.is_short);
    CHECK(!buf_append_format(&b, "%s", "x"));
    CHECK(b.is_short);
}
