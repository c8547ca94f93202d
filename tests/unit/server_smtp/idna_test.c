#include "server/smtp/address.h"
#include "server/smtp/idna.h"
#include "tests/support/test.h"

#define U_UMLAUT "\xc3\xbc"
#define X10 "xxxxxxxxxx"
#define X63 X10 X10 X10 X10 X10 X10 "xxx"

TEST(idna_to_ascii_makes_a_labels)
{
    static const struct {
        const char *in, *want; /* NULL: refused */
    } cases[] = {
        {"", ""},
        {"example.test", "example.test"},
        {"EXAMPLE.Test", "example.test"},
        {"[192.0.2.1]", "[192.0.2.1]"},
        {"b" U_UMLAUT "cher.test", "xn--bcher-kva.test"},
        {"B" U_UMLAUT "CHER.Test", "xn--bcher-kva.test"}, /* the case of ASCII letters */
        {"bu\xcc\x88"
         "cher.test",
         "xn--bcher-kva.test"}, /* NFD */
        {"XN--BCHER-KVA.test", "xn--bcher-kva.test"},
        {"xn--bcher-kva.b" U_UMLAUT "cher", "xn--bcher-kva.xn--bcher-kva"},
        {"stra\xc3\x9f"
         "e.test",
         "xn--strae-oqa.test"}, /* not "strasse": IDNA2008 */
        {"\xe4\xbe\x8b\xe3\x81\x88.test", "xn--r8jz45g.test"},
        {"\xd1\x80\xd1\x84", "xn--p1ai"},
        {"l\xc2\xb7l.test", "xn--ll-0ea.test"},
        /* Nothing is mapped: what looks like a dot, an at sign or a letter is none. */
        {"a\xe3\x80\x82"
         "b.test",
         NULL}, /* U+3002 */
        {"a\xef\xbc\x8e"
         "b.test",
         NULL}, /* U+FF0E */
        {"a\xef\xbc\xa0"
         "b.test",
         NULL},                       /* U+FF20 */
        {"\xef\xbd\x85x.test", NULL}, /* U+FF45 */
        {"bo\xc2\xadx.test", NULL},   /* U+00AD */
        {"B\xc3\x9c"
         "CHER.test",
         NULL}, /* U+00DC: no U-label */
        {"a\xe2\x80\xae"
         "b.test",
         NULL}, /* U+202E */
        {"\xcc\x88"
         "a.test",
         NULL}, /* begins with a combining mark */
        {"\xd7\x90"
         "1a.test",
         NULL}, /* left to right in right to left */
        {"a\xe2\x80\x8d"
         "b.test",
         NULL},                          /* U+200D without its context */
        {"ab--" U_UMLAUT ".test", NULL}, /* hyphens where a prefix stands */
        {"xn--a" U_UMLAUT ".test", NULL},
        {U_UMLAUT "..test", NULL},
        {U_UMLAUT "_.test", NULL},
        {U_UMLAUT ".a_b", NULL},
        {"\xf0\x9f\x92\xa9.la", NULL},
        {"\xff.test", NULL},
        {"b\xc3.test", NULL},
        /* An A-label must be Punycode; what its characters are is not ours to judge. */
        {"xn--ls8h.la", "xn--ls8h.la"},
        {"xn--zzzzzzzzz.test", NULL},
        {"xn--abc-.test", NULL},
        {"xn--.test", NULL},
        {"a.xn--0.pt", NULL},
        {"xn--ls8h.xn--zzzzzzzzz", NULL},
        {"axn--0.pt", "axn--0.pt"},
        {X63 ".test", X63 ".test"},
        {X63 U_UMLAUT ".test", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        struct buf out = {text, 0, sizeof(text), false};
        struct slice in = slice_of_cstr(cases[i].in);
        bool is_good = idna_to_ascii(in, &out);
        CHECK_EQ(cases[i].in, is_good, cases[i].want != NULL);
        CHECK_BUF(cases[i].in, out, is_good ? cases[i].want : "");
        CHECK_EQ(cases[i].in, idna_is_valid(in), is_good);
        if (!is_good) continue;
        struct buf tight = {text, 0, out.len > 0 ? out.len - 1 : 0, false};
        if (out.len > 0) CHECK(!idna_to_ascii(in, &tight));
        CHECK_EQ(cases[i].in, tight.len, 0);
        /* What came out is its own A-label. */
        char again_text[512];
        struct buf again = {again_text, 0, sizeof(again_text), false};
        CHECK(idna_to_ascii(slice_of_cstr(cases[i].want), &again));
        CHECK_BUF(cases[i].in, again, cases[i].want);
    }
}

TEST(idna_to_ascii_refuses_what_is_too_long)
{
    char in[DOMAIN_BYTES_MAX + 2], text[1024];
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = i % 10 == 9 ? '.' : 'a';
    in[0] = '\xc3';
    in[1] = '\xbc';
    struct buf out = {text, 0, sizeof(text), false};
    CHECK(idna_to_ascii(slice_of(in, 198), &out));
    CHECK(!idna_to_ascii(slice_of(in, DOMAIN_BYTES_MAX), &out)); /* above 255 as A-labels */
    CHECK(!idna_to_ascii(slice_of(in, DOMAIN_BYTES_MAX + 1), &out));
    CHECK(!idna_to_ascii(slice_of("\xc3\xbc\0.test", 8), &out));
}

TEST(idna_to_ascii_survives_every_cut_and_flip)
{
    static const char name[] = "b\xc3\xbc"
                               "cher.xn--bcher-kva.\xe4\xbe\x8b\xe3\x81\x88.test";
    uint32_t seed = 1;
    for (size_t round = 0; round < 4000; round++) {
        size_t len = round < sizeof(name) ? round : sizeof(name) - 1;
        char *exact = malloc(len + 1), text[DOMAIN_BYTES_MAX];
        memcpy(exact, name, len);
        if (round >= sizeof(name)) {
            seed = seed * 1664525 + 1013904223;
            exact[(seed >> 8) % len] = (char)(seed >> 24);
        }
        struct buf out = {text, 0, sizeof(text), false};
        if (idna_to_ascii(slice_of(exact, len), &out)) {
            for (size_t i = 0; i < out.len; i++)
                CHECK((uint8_t)text[i] < 128);
        } else {
            CHECK_EQ("nothing", out.len, 0);
        }
        free(exact);
    }
}
