#include "server/smtp/utf8.h"
#include "tests/support/test.h"

TEST(utf8_char_bytes_follows_rfc_3629)
{
    static const struct {
        const char *in;
        size_t want;
    } cases[] = {
        {"a", 1},
        {"", 0},
        {"\x7f", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\xef\xbf\xbf", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xc3\xa4x", 2},
        /* Overlong. */
        {"\xc0\xaf", 0},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xf0\x8f\xbf\xbf", 0},
        /* Surrogates, and what lies behind the last character. */
        {"\xed\xa0\x80", 0},
        {"\xed\xbf\xbf", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
        /* A byte that only continues, and one that does not. */
        {"\x80", 0},
        {"\xc3x", 0},
        {"\xe2\x82x", 0},
        {"\xf0\x90\x80x", 0},
        {"\xc3\xc3", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(cases[i].in, utf8_char_bytes(slice_of_cstr(cases[i].in)), cases[i].want);
}

/* Against a decoder that is slow and plain: every sequence of up to three bytes, and the four-byte
 * ones at the edges. */
static size_t plain_char_bytes(const uint8_t *in, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (in[0] < 0x80) return 1;
    size_t bytes = in[0] >= 0xf0 ? 4 : in[0] >= 0xe0 ? 3 : in[0] >= 0xc0 ? 2 : 0;
    if (bytes == 0 || bytes > len || in[0] > 0xf7) return 0;
    uint32_t code = in[0] & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((in[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (in[i] & 0x3fu);
    }
    bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < smallest[bytes] || code > 0x10ffff || is_surrogate ? 0 : bytes;
}

TEST(utf8_char_bytes_is_as_a_plain_decoder_has_it)
{
    static const uint8_t fourth[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
    for (uint32_t n = 0; n < 1u << 24; n++) {
        const uint8_t in[4] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, fourth[n % 6]};
        size_t len = 1 + n % 4;
        if (utf8_char_bytes(slice_of(in, len)) == plain_char_bytes(in, len)) continue;
        CHECK_EQ("bytes", n, -1);
        return;
    }
}

TEST(utf8_text_is_judged_as_a_whole)
{
    CHECK(utf8_is_valid(SLICE("")) && utf8_is_valid(SLICE("a\xc3\xa4\xf0\x9f\x92\xa9 b")));
    CHECK(!utf8_is_valid(SLICE("a\xc3")) && !utf8_is_valid(SLICE("\xc3\xa4\xff")));
    CHECK(!utf8_is_needed(SLICE("")) && !utf8_is_needed(SLICE("a\x7f\x01")));
    CHECK(utf8_is_needed(SLICE("ab\xc3\xa4")) && utf8_is_needed(SLICE("\xff")));
    for (size_t len = 1; len < 40; len++) {
        for (size_t at = 0; at < len; at++) {
            char *exact = malloc(len);
            memset(exact, 0x7f, len);
            CHECK(!utf8_is_needed(slice_of(exact, len)));
            exact[at] = (char)0x80;
            CHECK(utf8_is_needed(slice_of(exact, len)));
            free(exact);
        }
    }
    CHECK(utf8_is_control(SLICE("\xc2\x85")) && utf8_is_control(SLICE("\xc2\x9fx")));
    CHECK(!utf8_is_control(SLICE("\xc2\xa0")) && !utf8_is_control(SLICE("\xc3\x85")));
    CHECK(!utf8_is_control(SLICE("\xc2")) && !utf8_is_control(SLICE("\r")));
}
