#include "server/smtp/address.h"
#include "server/smtp/idna.h"
#include "server/smtp/utf8.h"
#include "tests/support/test.h"

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10
#define X63 X60 "xxx"
#define X64 X60 "xxxx"
#define X255 X63 "." X63 "." X63 "." X63 /* 255 = 4 * 63 + 3 */

struct path_case {
    const char *in;
    enum parse_status status;
    const char *address, *local, *domain, *rest;
    bool is_literal;
};

#define GOOD(in, address, local, domain, rest)                                                     \
    {                                                                                              \
        in, PARSE_OK, address, local, domain, rest, false                                          \
    }
#define BAD_UTF8(in)                                                                               \
    {                                                                                              \
        in, PARSE_BAD_UTF8, NULL, NULL, NULL, NULL, false                                          \
    }
#define BAD(in)                                                                                    \
    {                                                                                              \
        in, PARSE_BAD, NULL, NULL, NULL, NULL, false                                               \
    }

/* The same for both directions. */
static const struct path_case both[] = {
    GOOD("<a@b.example>", "a@b.example", "a", "b.example", ""),
    GOOD(" \t<a@b> SIZE=1", "a@b", "a", "b", " SIZE=1"),
    GOOD("<a@b>\tX", "a@b", "a", "b", "\tX"),
    GOOD("<A.b+c@D-e.EXAMPLE>", "A.b+c@D-e.EXAMPLE", "A.b+c", "D-e.EXAMPLE", ""),
    GOOD("<!#$%&'*+-/=?^_`{|}~@b>", "!#$%&'*+-/=?^_`{|}~@b", "!#$%&'*+-/=?^_`{|}~", "b", ""),
    /* A1: the route is dropped. */
    GOOD("<@a,@b:u@c>", "u@c", "u", "c", ""),
    GOOD("<@a.example:u@c> X=1", "u@c", "u", "c", " X=1"),
    GOOD("<@[192.0.2.1]:u@c>", "u@c", "u", "c", ""),
    BAD("<@a,b:u@c>"),
    BAD("<@a,@b>"),
    BAD("<@a:>"),
    BAD("<@:u@c>"),
    BAD("<@a,:u@c>"),
    BAD("<@a u@c>"),
    BAD("<a,@b:u@c>"),
    /* A4: kept byte for byte; what looks like another address is local part. */
    GOOD("<\"a b\"@us>", "\"a b\"@us", "\"a b\"", "us", ""),
    GOOD("<\"a@b\"@us>", "\"a@b\"@us", "\"a@b\"", "us", ""),
    GOOD("<\"a\\\"\\\\b\"@us>", "\"a\\\"\\\\b\"@us", "\"a\\\"\\\\b\"", "us", ""),
    GOOD("<\"x@other\"@us>", "\"x@other\"@us", "\"x@other\"", "us", ""),
    GOOD("<\"a>b\"@us>", "\"a>b\"@us", "\"a>b\"", "us", ""),
    /* A5, A6, A7 */
    BAD("<\"\"@us>"),
    BAD("<u(x)@us>"),
    BAD("<u@us(x)>"),
    BAD("<(x)u@us>"),
    BAD("<<a@b>>"),
    BAD("<a@b"),
    BAD("a@b>"),
    BAD("<a@b>x"),
    BAD("<a@b><c@d>"),
    BAD("<a@b>,<c@d>"),
    BAD("< a@b>"),
    BAD("<a@b >"),
    BAD("<a @b>"),
    BAD("<a@ b>"),
    BAD("<a"),
    BAD("<"),
    BAD(""),
    BAD("a@b"),
    /* A8 */
    BAD("<a..b@us>"),
    BAD("<.a@us>"),
    BAD("<a.@us>"),
    BAD("<a@us..>"),
    BAD("<a@.us>"),
    BAD("<a@us..example>"),
    BAD("<a@-x>"),
    BAD("<a@x->"),
    BAD("<a@x-.example>"),
    BAD("<a@x_y>"),
    BAD("<a@>"),
    BAD("<@b>"),
    BAD("<a@b@c>"),
    BAD("<a@b%c>"),
    BAD("<a@xn-->"),
    GOOD("<a@x--y>", "a@x--y", "a", "x--y", ""),
    GOOD("<a@us.>", "a@us.", "a", "us", ""),
    /* A9 and C1 */
    GOOD("<" X64 "@b>", X64 "@b", X64, "b", ""),
    BAD("<" X64 "x@b>"),
    BAD("<\"" X63 "\"@b>"),
    GOOD("<\"" X60 "xx\"@b>", "\"" X60 "xx\"@b", "\"" X60 "xx\"", "b", ""),
    GOOD("<a@" X63 ">", "a@" X63, "a", X63, ""),
    BAD("<a@" X64 ">"),
    GOOD("<a@" X255 ">", "a@" X255, "a", X255, ""),
    GOOD("<a@" X255 ".>", "a@" X255 ".", "a", X255, ""),
    BAD("<a@x." X255 ">"),
    BAD("<@" X255 ",@" X255 ":a@b>"),
    /* A10, C20 */
    {"<u@[127.0.0.1]>", PARSE_OK, "u@[127.0.0.1]", "u", "[127.0.0.1]", "", true},
    {"<u@[IPv6:::1]>", PARSE_OK, "u@[IPv6:::1]", "u", "[IPv6:::1]", "", true},
    {"<u@[ipv6:2001:db8::1]> X", PARSE_OK, "u@[ipv6:2001:db8::1]", "u", "[ipv6:2001:db8::1]", " X",
     true},
    {"<u@[IPv6:::ffff:192.0.2.1]>", PARSE_OK, "u@[IPv6:::ffff:192.0.2.1]", "u",
     "[IPv6:::ffff:192.0.2.1]", "", true},
    BAD("<u@[1.2.3.4]:25>"),
    BAD("<u@[1.2.3.4].>"),
    BAD("<u@[1.2.3.4]x>"),
    BAD("<u@[1.2.3]>"),
    BAD("<u@[1.2.3.256]>"),
    BAD("<u@[1.2.3.4>"),
    BAD("<u@[]>"),
    BAD("<u@[IPv6:]>"),
    BAD("<u@[IPv6:zz]>"),
    BAD("<u@[IPv6:fe80::1%eth0]>"),
    BAD("<u@[::1]>"),
    BAD("<u@[IPv6:1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9]>"),
    BAD("<u@[tag:x]>"),
    /* A12: neither raw nor behind a backslash. */
    BAD("<\"a\\\r\n\"@us>"),
    BAD("<\"a\r\n\"@us>"),
    BAD("<\"a\\\x01\"@us>"),
    BAD("<\"a\tb\"@us>"),
    BAD("<\"a\\\"@us>"),
    BAD("<\"a\\"),
    BAD("<\"a"),
    BAD("<\"a\"b@us>"),
    BAD("<a\"b\"@us>"),
    BAD("<a\x7f@us>"),
    /* R: no second address, no missing domain. */
    BAD("<nobody>"),
    BAD("<ext!s>"),
    BAD("<\"u@ext\">"),
    BAD("<u@ext@us>"),
    BAD("<u@us%ext>"),
    GOOD("<ext!u@us>", "ext!u@us", "ext!u", "us", ""),
    GOOD("<u%ext@us>", "u%ext@us", "u%ext", "us", ""),
    /* C5, A15 */
    {"<\xc3\xa4@b>", PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
    {"<a@\xc3\xa4.example>", PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
    {"<a@b\xc3\xa4.example>", PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
    {"<\"\xc3\xa4\"@b>", PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
    {"<\"\\\xc3\xa4\"@b>", PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
    {"<a\xef\xbc\xa0"
     "b@c>",
     PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
    {"<a@b.\xe3\x80\x82>", PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
    {"<@\xc3\xa4:a@b>", PARSE_NOT_ASCII, NULL, NULL, NULL, NULL, false},
};

static const struct path_case reverse_only[] = {
    GOOD("<>", "", "", "", ""), GOOD("<> SIZE=1", "", "", "", " SIZE=1"), BAD("<>x"), BAD("< >"),
    BAD("<postmaster>"),
};

static const struct path_case forward_only[] = {
    BAD("<>"), /* A3 */
    GOOD("<Postmaster>", "Postmaster", "Postmaster", "", ""),
    GOOD("<POSTMASTER> X", "POSTMASTER", "POSTMASTER", "", " X"),
    GOOD("<@a:postmaster>", "postmaster", "postmaster", "", ""),
    BAD("<postmaster.>"),
    BAD("<postmasters>"),
    BAD("<\"postmaster\">"),
    BAD("<postmaster@>"),
};

/* With SMTPUTF8 (RFC 6531 3.3). What is ASCII is as above. */
static const struct path_case utf8_only[] = {
    GOOD("<j\xc3\xbcrgen@b\xc3\xbc"
         "cher.example> X",
         "j\xc3\xbcrgen@b\xc3\xbc"
         "cher.example",
         "j\xc3\xbcrgen",
         "b\xc3\xbc"
         "cher.example",
         " X"),
    GOOD("<\xe4\xbe\x8b.\xf0\x9f\x92\xa9@b>", "\xe4\xbe\x8b.\xf0\x9f\x92\xa9@b",
         "\xe4\xbe\x8b.\xf0\x9f\x92\xa9", "b", ""),
    GOOD("<\"a \xc3\xa4 b\"@b>", "\"a \xc3\xa4 b\"@b", "\"a \xc3\xa4 b\"", "b", ""),
    GOOD("<@\xc3\xa4.example:a@b>", "a@b", "a", "b", ""),
    GOOD("<a@\xc3\xa4.>", "a@\xc3\xa4.", "a", "\xc3\xa4", ""),
    /* A14: A-labels stay what they are, and must be ones. */
    GOOD("<a@xn--4ca.example>", "a@xn--4ca.example", "a", "xn--4ca.example", ""),
    BAD("<a@xn-->"),
    BAD_UTF8("<a@xn--zzzzzzzzz.example>"),
    BAD_UTF8("<a@xn--0.pt>"),
    BAD_UTF8("<@xn--0.pt:a@b>"),
    BAD_UTF8("<a@\xc3\x9c"
             "b.example>"),
    BAD_UTF8("<a@ab--\xc3\xbc>"),
    /* A15: no second address, no second dot; NFC and NFD stay different local parts. */
    GOOD("<a\xef\xbc\xa0"
         "b@c>",
         "a\xef\xbc\xa0"
         "b@c",
         "a\xef\xbc\xa0"
         "b",
         "c", ""),
    BAD("<a\xef\xbc\xa0"
        "c>"),
    BAD_UTF8("<a@b\xef\xbc\xa0"
             "c>"),
    BAD_UTF8("<a@b\xe3\x80\x82"
             "c>"),
    BAD_UTF8("<a@b.\xe3\x80\x82>"),
    GOOD("<\xe2\x80\xae"
         "moc@c>",
         "\xe2\x80\xae"
         "moc@c",
         "\xe2\x80\xae"
         "moc",
         "c", ""),
    BAD_UTF8("<a@\xe2\x80\xae"
             "moc>"),
    GOOD("<u\xcc\x88@c>", "u\xcc\x88@c", "u\xcc\x88", "c", ""),
    GOOD("<a@u\xcc\x88>", "a@u\xcc\x88", "a", "u\xcc\x88", ""),
    /* C6: overlong, a surrogate, cut off, alone. */
    BAD_UTF8("<\xc0\xaf@b>"),
    BAD_UTF8("<a\xed\xa0\x80@b>"),
    BAD_UTF8("<\xe2\x82@b>"),
    BAD_UTF8("<\"\xe2\x82\"@b>"),
    BAD_UTF8("<\x80@b>"),
    BAD_UTF8("<a@\xff>"),
    BAD_UTF8("<a@b\xc3>"),
    BAD_UTF8("<\xf4\x90\x80\x80@b>"),
    /* Controls stay out, and pairs are of ASCII. */
    BAD("<a\xc2\x85@b>"),
    BAD("<\"a\xc2\x9f\"@b>"),
    BAD("<\"\\\xc3\xa4\"@b>"),
    BAD("<a@b>\xc3\xa4"),
    BAD("\xc3\xa4<a@b>"),
    /* Bytes are counted, not characters. */
    GOOD("<" X60 "\xc3\xa4"
         "xx@b>",
         X60 "\xc3\xa4"
             "xx@b",
         X60 "\xc3\xa4"
             "xx",
         "b", ""),
    BAD("<" X60 "\xc3\xa4"
        "xxx@b>"),
    BAD_UTF8("<a@" X63 "\xc3\xa4>"),
};

typedef enum parse_status path_parser(struct slice in, bool is_utf8, struct mailbox_address *out,
                                      struct slice *rest_out);

/* The input lies in memory of exactly its size, so that a read past it is caught. */
static void check_path(path_parser *parse, const struct path_case *c, bool is_utf8)
{
    size_t len = strlen(c->in);
    char *exact = malloc(len);
    memcpy(exact, c->in, len);
    struct mailbox_address got;
    struct slice rest;
    CHECK_EQ(c->in, parse(slice_of(exact, len), is_utf8, &got, &rest), c->status);
    if (c->status == PARSE_OK) {
        CHECK_SLICE(c->in, got.address, c->address);
        CHECK_SLICE(c->in, got.local, c->local);
        CHECK_SLICE(c->in, got.domain, c->domain);
        CHECK_SLICE(c->in, rest, c->rest);
        CHECK_EQ(c->in, got.is_literal, c->is_literal);
        CHECK_EQ(c->in, got.is_utf8, utf8_is_needed(slice_of_cstr(c->address)));
    } else {
        CHECK_EQ(c->in, got.address.len, 0);
    }
    free(exact);
}

static void check_paths(path_parser *parse, const struct path_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_path(parse, &cases[i], false);
        if (cases[i].status != PARSE_NOT_ASCII) check_path(parse, &cases[i], true);
    }
}

TEST(path_parse_reads_or_refuses)
{
    check_paths(reverse_path_parse, both, ARRAY_LEN(both));
    check_paths(forward_path_parse, both, ARRAY_LEN(both));
    check_paths(reverse_path_parse, reverse_only, ARRAY_LEN(reverse_only));
    check_paths(forward_path_parse, forward_only, ARRAY_LEN(forward_only));
}

TEST(path_parse_reads_utf8)
{
    for (size_t i = 0; i < ARRAY_LEN(utf8_only); i++) {
        check_path(reverse_path_parse, &utf8_only[i], true);
        check_path(forward_path_parse, &utf8_only[i], true);
    }
}

TEST(path_parse_refuses_nul)
{
    struct mailbox_address got;
    struct slice rest;
    CHECK_EQ("local", forward_path_parse(slice_of("<a\0b@c>", 7), true, &got, &rest), PARSE_BAD);
    CHECK_EQ("quoted", forward_path_parse(slice_of("<\"a\0\"@c>", 8), true, &got, &rest),
             PARSE_BAD);
    CHECK_EQ("pair", forward_path_parse(slice_of("<\"a\\\0\"@c>", 9), true, &got, &rest),
             PARSE_BAD);
    CHECK_EQ("domain", forward_path_parse(slice_of("<a@b\0c>", 7), true, &got, &rest), PARSE_BAD);
    CHECK_EQ("literal", forward_path_parse(slice_of("<a@[1.2.3.4\0]>", 14), true, &got, &rest),
             PARSE_BAD);
}

/* A path that is cut short is never a path. Cut inside a character it is no UTF-8; cut inside a
 * domain, what is left of that may be no name. */
static void check_cuts(const struct path_case *c, bool is_utf8)
{
    const char *close = strrchr(c->in, '>');
    if (c->status != PARSE_OK) return;
    for (size_t cut = 0; cut < (size_t)(close - c->in); cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, c->in, cut);
        struct mailbox_address got;
        struct slice rest;
        enum parse_status forward = forward_path_parse(slice_of(exact, cut), is_utf8, &got, &rest);
        enum parse_status reverse = reverse_path_parse(slice_of(exact, cut), is_utf8, &got, &rest);
        CHECK_EQ(c->in, forward, reverse);
        CHECK(forward == PARSE_BAD || (is_utf8 && forward == PARSE_BAD_UTF8));
        free(exact);
    }
}

TEST(path_parse_refuses_every_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        check_cuts(&both[i], false);
    for (size_t i = 0; i < ARRAY_LEN(utf8_only); i++)
        check_cuts(&utf8_only[i], true);
}

static bool is_inside(struct slice part, struct slice whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

/* What holds of everything that is let through. */
static void check_let_through(struct slice in, bool is_utf8, const struct mailbox_address *m)
{
    CHECK(is_inside(m->address, in) && is_inside(m->local, m->address));
    CHECK(m->local.len <= LOCAL_PART_BYTES_MAX && m->domain.len <= DOMAIN_BYTES_MAX);
    CHECK(utf8_is_valid(m->address) && (is_utf8 || !m->is_utf8));
    CHECK_EQ("utf8", m->is_utf8, utf8_is_needed(m->address));
    for (size_t i = 0; i < m->address.len; i++)
        CHECK((uint8_t)m->address.data[i] >= ' ' && m->address.data[i] != 0x7f);
    if (m->domain.len > 0 && !m->is_literal) CHECK(idna_is_valid(m->domain));
    struct mailbox_address again;
    CHECK_EQ("again", mailbox_parse(m->address, &again), PARSE_OK);
    CHECK(slice_eq(again.local, m->local) && slice_eq(again.domain, m->domain));
}

static uint32_t seed = 1;
static uint32_t next_random(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static unsigned let_through;

static void check_flips(const struct path_case *c)
{
    size_t len = strlen(c->in);
    for (size_t round = 0; round < 200 && len > 0; round++) {
        char *exact = malloc(len);
        memcpy(exact, c->in, len);
        for (size_t flips = 1 + next_random() % 3; flips > 0; flips--)
            exact[next_random() % len] = (char)next_random();
        bool is_utf8 = round % 2 == 0;
        struct mailbox_address got;
        struct slice rest, in = slice_of(exact, len);
        if (forward_path_parse(in, is_utf8, &got, &rest) == PARSE_OK) {
            check_let_through(in, is_utf8, &got);
            let_through++;
        }
        free(exact);
    }
}

TEST(path_parse_survives_flipped_bytes)
{
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        check_flips(&both[i]);
    for (size_t i = 0; i < ARRAY_LEN(utf8_only); i++)
        check_flips(&utf8_only[i]);
    CHECK(let_through > 100); /* flips in local parts and domains make others of them */
}

TEST(mailbox_parse_takes_the_whole_input)
{
    static const struct {
        const char *in;
        enum parse_status want;
    } cases[] = {
        {"a@b", PARSE_OK},
        {"\"a b\"@c.example", PARSE_OK},
        {"Postmaster", PARSE_OK},
        {"u@[1.2.3.4]", PARSE_OK},
        {"", PARSE_BAD},
        {"a", PARSE_BAD},
        {"a@b ", PARSE_BAD},
        {" a@b", PARSE_BAD},
        {"<a@b>", PARSE_BAD},
        {"a@b>", PARSE_BAD},
        {"a@b\r\n", PARSE_BAD},
        {"a@b\xc3\xa4", PARSE_OK},
        {"\xc3\xa4@b", PARSE_OK},
        {"\xc3@b", PARSE_BAD_UTF8},
        {"a@b\xe3\x80\x82", PARSE_BAD_UTF8},
        {"a@xn--0.pt", PARSE_BAD_UTF8},
        {"*@b", PARSE_OK},
        {"a@*", PARSE_BAD},
        {"@a:b@c", PARSE_BAD},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mailbox_address got;
        CHECK_EQ(cases[i].in, mailbox_parse(slice_of_cstr(cases[i].in), &got), cases[i].want);
    }
}

TEST(domain_is_valid_follows_the_host_rules)
{
    static const struct {
        const char *in;
        bool want;
    } cases[] = {
        {"a", true},          {"a.example", true}, {"1.2.3.4", true}, {"xn--4ca.example", true},
        {X255, true},         {"x." X255, false},  {"", false},       {".", false},
        {"a.", false},        {".a", false},       {"a..b", false},   {"-a", false},
        {"a-", false},        {"a_b", false},      {"a b", false},    {"*.a", false},
        {"[1.2.3.4]", false}, {X63, true},         {X64, false},      {"\xc3\xa4", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].in, domain_is_valid(slice_of_cstr(cases[i].in)), cases[i].want);
    }
}

TEST(domain_is_valid_utf8_takes_u_labels)
{
    static const struct {
        const char *in;
        bool want;
    } cases[] = {
        {"a.example", true},
        {"b\xc3\xbc"
         "cher.example",
         true},
        {"xn--4ca.example", true},
        {"a.", false},
        {"\xc3\xa4.", false},
        {"", false},
        {"*.\xc3\xa4", false},
        {"a\xe3\x80\x82"
         "b",
         false},
        {"\xff", false},
        {"xn--0.pt", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].in, domain_is_valid_utf8(slice_of_cstr(cases[i].in)), cases[i].want);
    }
}

TEST(helo_is_valid_lets_names_and_literals_pass)
{
    static const struct {
        const char *in;
        bool want;
    } cases[] = {
        {"a.example", true},    {"localhost", true},
        {"MY_PC", true},        {"_a._b.example", true},
        {"a.example.", true},   {"[1.2.3.4]", true},
        {"[IPv6:::1]", true},   {"[IPv6:2001:db8::25]", true},
        {X255, true},           {"", false},
        {".", false},           {"[IPv6:zz]", false},
        {"[999.1.1.1]", false}, {"[1.2.3.4", false},
        {"[1.2.3.4] x", false}, {"a b", false},
        {"%s%n", false},        {"a\rb", false},
        {"a\x1b[2J", false},    {"a;b", false},
        {"a(b)", false},        {"<a>", false},
        {"\xc3\xa4", false},    {X255 ".", false},
        {"x." X255, false},     {X255 "." X255 "." X255 "." X255, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].in, helo_is_valid(slice_of_cstr(cases[i].in)), cases[i].want);
    }
}
