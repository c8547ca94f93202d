#include "server/smtp/address.h"
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

typedef enum parse_status path_parser(struct slice in, struct mailbox_address *out,
                                      struct slice *rest_out);

/* The input lies in memory of exactly its size, so that a read past it is caught. */
static void check_path(path_parser *parse, const struct path_case *c)
{
    size_t len = strlen(c->in);
    char *exact = malloc(len);
    memcpy(exact, c->in, len);
    struct mailbox_address got;
    struct slice rest;
    CHECK_EQ(c->in, parse(slice_of(exact, len), &got, &rest), c->status);
    if (c->status == PARSE_OK) {
        CHECK_SLICE(c->in, got.address, c->address);
        CHECK_SLICE(c->in, got.local, c->local);
        CHECK_SLICE(c->in, got.domain, c->domain);
        CHECK_SLICE(c->in, rest, c->rest);
        CHECK_EQ(c->in, got.is_literal, c->is_literal);
    } else {
        CHECK_EQ(c->in, got.address.len, 0);
    }
    free(exact);
}

TEST(path_parse_reads_or_refuses)
{
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        check_path(reverse_path_parse, &both[i]);
        check_path(forward_path_parse, &both[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(reverse_only); i++) {
        check_path(reverse_path_parse, &reverse_only[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(forward_only); i++) {
        check_path(forward_path_parse, &forward_only[i]);
    }
}

TEST(path_parse_refuses_nul)
{
    struct mailbox_address got;
    struct slice rest;
    CHECK_EQ("local", forward_path_parse(slice_of("<a\0b@c>", 7), &got, &rest), PARSE_BAD);
    CHECK_EQ("quoted", forward_path_parse(slice_of("<\"a\0\"@c>", 8), &got, &rest), PARSE_BAD);
    CHECK_EQ("pair", forward_path_parse(slice_of("<\"a\\\0\"@c>", 9), &got, &rest), PARSE_BAD);
    CHECK_EQ("domain", forward_path_parse(slice_of("<a@b\0c>", 7), &got, &rest), PARSE_BAD);
    CHECK_EQ("literal", forward_path_parse(slice_of("<a@[1.2.3.4\0]>", 14), &got, &rest),
             PARSE_BAD);
}

/* A path that is cut short is never a path; an 8-bit byte may be seen before the end is missed. */
TEST(path_parse_refuses_every_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        const char *close = strrchr(both[i].in, '>');
        if (both[i].status != PARSE_OK) continue;
        for (size_t cut = 0; cut < (size_t)(close - both[i].in); cut++) {
            char *exact = malloc(cut + 1);
            memcpy(exact, both[i].in, cut);
            struct mailbox_address got;
            struct slice rest;
            CHECK_EQ(both[i].in, forward_path_parse(slice_of(exact, cut), &got, &rest), PARSE_BAD);
            CHECK_EQ(both[i].in, reverse_path_parse(slice_of(exact, cut), &got, &rest), PARSE_BAD);
            free(exact);
        }
    }
}

TEST(mailbox_parse_takes_the_whole_input)
{
    static const struct {
        const char *in;
        enum parse_status want;
    } cases[] = {
        {"a@b", PARSE_OK},        {"\"a b\"@c.example", PARSE_OK},
        {"Postmaster", PARSE_OK}, {"u@[1.2.3.4]", PARSE_OK},
        {"", PARSE_BAD},          {"a", PARSE_BAD},
        {"a@b ", PARSE_BAD},      {" a@b", PARSE_BAD},
        {"<a@b>", PARSE_BAD},     {"a@b>", PARSE_BAD},
        {"a@b\r\n", PARSE_BAD},   {"a@b\xc3\xa4", PARSE_NOT_ASCII},
        {"*@b", PARSE_OK},        {"a@*", PARSE_BAD},
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
