#include "server/smtp/xtext.h"
#include "tests/support/test.h"

TEST(xtext_decode_reads_or_refuses)
{
    static const struct {
        const char *in, *want; /* NULL: no xtext */
        bool is_printable;
    } cases[] = {
        {"", "", true},
        {"abc", "abc", true},
        {"a+2Bb+3Dc", "a+b=c", true},
        {"+20", " ", true},
        {"+7E+41", "~A", true},
        {"<>", "<>", true},
        {"+0D+0A", "\r\n", false},
        {"a+00", NULL, false}, /* decodes, but to no C string: below */
        {"+7F", "\x7f", false},
        {"+C3+A4", "\xc3\xa4", false},
        {"+2b", NULL, false},
        {"+2", NULL, false},
        {"+", NULL, false},
        {"a+", NULL, false},
        {"+G0", NULL, false},
        {"++2B", NULL, false},
        {"a=b", NULL, false},
        {"a b", NULL, false},
        {"a\tb", NULL, false},
        {"\x7f", NULL, false},
        {"\xc3\xa4", NULL, false},
        {"\x01", NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];
        struct buf out = {text, 0, sizeof(text), false};
        struct slice in = slice_of_cstr(cases[i].in);
        CHECK_EQ(cases[i].in, xtext_is_printable(in), cases[i].is_printable);
        if (slice_eq(in, SLICE("a+00"))) continue;
        CHECK_EQ(cases[i].in, xtext_decode(in, &out), cases[i].want != NULL);
        if (cases[i].want != NULL) CHECK_BUF(cases[i].in, out, cases[i].want);
    }
    char text[2];
    struct buf out = {text, 0, sizeof(text), false};
    CHECK(xtext_decode(SLICE("a+00"), &out) && slice_eq(buf_slice(&out), SLICE("a\0")));
    CHECK(!xtext_decode(SLICE("b"), &out) && out.is_short);
}

/* Every byte there and back, and each cut of the longest form refused or read, never past it. */
TEST(xtext_comes_back_as_it_was)
{
    char all[256], encoded[768], decoded[256];
    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    struct buf out = {encoded, 0, sizeof(encoded), false};
    CHECK(xtext_encode(slice_of(all, sizeof(all)), &out));
    for (size_t cut = 0; cut <= out.len; cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, encoded, cut);
        struct buf back = {decoded, 0, sizeof(decoded), false};
        bool is_good = xtext_decode(slice_of(exact, cut), &back);
        CHECK(slice_eq(buf_slice(&back), slice_of(all, back.len)));
        CHECK(!is_good || cut < out.len || back.len == sizeof(all));
        free(exact);
    }
    struct buf tight = {encoded, 0, 4, false};
    CHECK(!xtext_encode(SLICE("ab+"), &tight) && tight.len == 0);
    CHECK(xtext_encode(SLICE("a+"), &tight));
    CHECK_BUF("tight", tight, "a+2B");
}
