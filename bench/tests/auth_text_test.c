#include "bench/auth_text.h"

#include "tests/support/test.h"

TEST(auth_base64_pads)
{
    static const struct {
        const char *text, *want;
    } cases[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"tim", "dGlt"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char bytes[64];
        struct buf out = {.data = bytes, .cap = sizeof(bytes)};
        auth_write_base64(slice_of_cstr(cases[i].text), &out);
        CHECK_SLICE(cases[i].text, buf_slice(&out), cases[i].want);
    }
}

TEST(auth_base64_that_does_not_fit_changes_nothing)
{
    char bytes[8];
    struct buf out = {.data = bytes, .cap = sizeof(bytes)};
    auth_write_base64(SLICE("123456"), &out); /* eight bytes and OpenSSL's terminator */
    CHECK(out.is_short);
    CHECK_EQ("length", out.len, 0);
}

/* The example of RFC 4616 section 4, without an authorization identity. */
TEST(auth_plain_has_three_parts)
{
    char bytes[AUTH_TEXT_BYTES_MAX];
    struct buf out = {.data = bytes, .cap = sizeof(bytes)};
    auth_write_plain("tim", "tanstaaftanstaaf", &out);
    CHECK_SLICE("text", buf_slice(&out), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
}

/* The example of RFC 2195 section 2. */
TEST(auth_cram_md5_answers_the_challenge)
{
    char bytes[AUTH_TEXT_BYTES_MAX];
    struct buf out = {.data = bytes, .cap = sizeof(bytes)};
    CHECK(auth_write_cram_md5("tim", "tanstaaftanstaaf",
                              SLICE("PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"),
                              &out));
    CHECK_SLICE("text", buf_slice(&out), "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw");
}

TEST(auth_cram_md5_refuses_what_is_no_challenge)
{
    static char large[2000];
    memset(large, 'A', sizeof(large));
    struct slice cases[] = {SLICE(""), SLICE("abc"), SLICE("!!!!"), slice_of(large, sizeof(large))};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char bytes[AUTH_TEXT_BYTES_MAX];
        struct buf out = {.data = bytes, .cap = sizeof(bytes)};
        CHECK(!auth_write_cram_md5("u", "p", cases[i], &out));
    }
}

/* The longest that the command line allows must fit. */
TEST(auth_texts_hold_the_longest_secrets)
{
    char secret[257];
    memset(secret, 'x', 256);
    secret[256] = '\0';
    char bytes[AUTH_TEXT_BYTES_MAX];
    struct buf out = {.data = bytes, .cap = sizeof(bytes)};
    auth_write_plain(secret, secret, &out);
    CHECK(!out.is_short);
    CHECK_EQ("length", out.len, (2 + 512 + 2) / 3 * 4);
}
