#include "server/smtp/xclient.h"
#include "tests/support/test.h"

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X250 X50 X50 X50 X50 X50
#define X64 X50 X10 "xxxx"

static bool parse(bool is_forward, struct slice args, struct xclient *out)
{
    static char bytes[4096];
    struct buf memory = {bytes, 0, args.len, false}; /* as much as the header promises to need */
    return is_forward ? xforward_parse(args, &memory, out) : xclient_parse(args, &memory, out);
}

static void check_values(const char *name, const struct xclient *said, const char *const *want)
{
    for (unsigned i = 0; i < XCLIENT_ATTRIBUTE_COUNT; i++) {
        bool is_known = (said->given & ~said->unknown & BIT(i)) != 0;
        CHECK_EQ(name, is_known, want[i] != NULL);
        CHECK_SLICE(name, said->values[i], want[i] != NULL ? want[i] : "");
    }
}

TEST(xclient_reads_every_attribute)
{
    struct xclient said;
    struct slice args = SLICE("NAME=spike.example ADDR=192.0.2.1 PORT=25001 PROTO=ESMTP "
                              "HELO=[192.0.2.7] LOGIN=ann+40host DESTADDR=IPV6:2001:db8::9 "
                              "DESTPORT=25");
    CHECK(parse(false, args, &said));
    static const char *const want[XCLIENT_ATTRIBUTE_COUNT] = {
        [XCLIENT_NAME] = "spike.example",
        [XCLIENT_ADDR] = "192.0.2.1",
        [XCLIENT_PORT] = "25001",
        [XCLIENT_PROTO] = "ESMTP",
        [XCLIENT_HELO] = "[192.0.2.7]",
        [XCLIENT_LOGIN] = "ann@host",
        [XCLIENT_DESTADDR] = "IPV6:2001:db8::9",
        [XCLIENT_DESTPORT] = "25",
    };
    check_values("all", &said, want);
    CHECK_EQ("port", said.port, 25001);
    CHECK_EQ("port", said.destination_port, 25);
    char text[ENDPOINT_TEXT_MAX];
    struct buf address = {text, 0, sizeof(text), false};
    endpoint_write(&said.address, &address);
    CHECK_BUF("address", address, "192.0.2.1:0");
    buf_reset(&address);
    endpoint_write(&said.destination, &address);
    CHECK_BUF("destination", address, "[2001:db8::9]:0");
}

TEST(xforward_reads_every_attribute)
{
    struct xclient said;
    struct slice args = SLICE("name=not_a_host! Addr=local-socket PORT=25001 PROTO=LMTP HELO=x+20y "
                              "IDENT=4Rz+2B SOURCE=remote");
    CHECK(!parse(true, args, &said)); /* a blank in HELO */
    args = SLICE("name=not_a_host! Addr=local-socket PORT=25001 PROTO=LMTP HELO=x+2Dy "
                 "IDENT=4Rz+2B SOURCE=remote");
    CHECK(parse(true, args, &said));
    static const char *const want[XCLIENT_ATTRIBUTE_COUNT] = {
        [XCLIENT_NAME] = "not_a_host!", [XCLIENT_ADDR] = "local-socket", [XCLIENT_PORT] = "25001",
        [XCLIENT_PROTO] = "LMTP",       [XCLIENT_HELO] = "x-y",          [XCLIENT_IDENT] = "4Rz+",
        [XCLIENT_SOURCE] = "remote",
    };
    check_values("all", &said, want);
}

TEST(what_is_not_known_is_given_without_a_value)
{
    struct xclient said;
    struct slice args = SLICE("NAME=[tempunavail] ADDR=[Unavailable] PORT=[UNAVAILABLE] "
                              "LOGIN=[UNAVAILABLE] HELO=[UNAVAILABLE] PROTO=[UNAVAILABLE]");
    CHECK(parse(false, args, &said));
    CHECK_EQ("given", said.given, said.unknown);
    CHECK_EQ("given", said.given,
             BIT(XCLIENT_NAME) | BIT(XCLIENT_ADDR) | BIT(XCLIENT_PORT) | BIT(XCLIENT_LOGIN) |
                 BIT(XCLIENT_HELO) | BIT(XCLIENT_PROTO));
    CHECK_EQ("none", said.address.addr_len, 0);
    CHECK(parse(true, SLICE("SOURCE=[UNAVAILABLE] IDENT=[UNAVAILABLE]"), &said));
    CHECK_EQ("given", said.unknown, BIT(XCLIENT_SOURCE) | BIT(XCLIENT_IDENT));
    CHECK(!parse(false, SLICE("ADDR=[TEMPUNAVAIL]"), &said));
}

TEST(addresses_are_addresses)
{
    static const struct {
        const char *value, *want; /* NULL: bad */
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"IPV6:::1", "::1"},
        {"ipv6:2001:DB8::1", "2001:db8::1"},
        {"IPV6:::ffff:192.0.2.1", "192.0.2.1"},
        {"IPV6+3A2001:db8::1", "2001:db8::1"},
        {"2001:db8::1", NULL},
        {"::1", NULL},
        {"[::1]", NULL},
        {"[192.0.2.1]", NULL},
        {"IPV6:[::1]", NULL},
        {"IPV6:192.0.2.1", NULL},
        {"IPV6:", NULL},
        {"192.0.2.1:25", NULL},
        {"192.0.2.256", NULL},
        {"192.0.2", NULL},
        {"host.example", NULL},
        {"192.0.2.1+00", NULL},
        {X250, NULL},
        {"IPV6:" X250, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char line[300];
        struct buf args = {line, 0, sizeof(line), false};
        buf_append_cstr(&args, "ADDR=");
        buf_append_cstr(&args, cases[i].value);
        struct xclient said;
        CHECK_EQ(cases[i].value, parse(false, buf_slice(&args), &said), cases[i].want != NULL);
        if (cases[i].want == NULL) continue;
        char text[ENDPOINT_TEXT_MAX];
        struct buf address = {text, 0, sizeof(text), false};
        endpoint_write_address(&said.address, &address);
        CHECK_BUF(cases[i].value, address, cases[i].want);
    }
}

TEST(malformed_arguments_are_refused)
{
    static const char *const both[] = {
        "",
        " ",
        "NAME",
        "=x",
        "NAME=",
        "NAME=a.example ADDR",
        "NAME=a.example =",
        "NAME= ADDR=192.0.2.1",
        "NAME =a.example",
        "NAME=a.example NAME=a.example",
        "NAME=a.example name=[UNAVAILABLE]",
        "TTL=5",
        "NAMES=a",
        "NAME=a+",
        "NAME=a+4",
        "NAME=a+4g",
        "NAME=a+2d",
        "NAME=a=b",
        "NAME=a+00b",
        "NAME=a+0D+0Ab",
        "NAME=a+20b",
        "NAME=a\tADDR=b",
        "NAME=\xc3\xa9",
        "NAME=+C3+A9",
        "HELO=a+7Fb",
        "HELO=" X250 "xxxxxx",
        "PORT=65536",
        "PORT=-1",
        "PORT=025",
        "PORT=smtp",
        "PORT=25,PROTO=SMTP",
    };
    struct xclient said;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        CHECK_EQ(both[i], parse(false, slice_of_cstr(both[i]), &said), false);
        CHECK_EQ(both[i], parse(true, slice_of_cstr(both[i]), &said), false);
    }
    static const char *const xclient[] = {
        "IDENT=x", "SOURCE=LOCAL", "PROTO=LMTP", "PROTO=SMTPS", "NAME=[192.0.2.1]", "NAME=a..b",
        "NAME=-a", "LOGIN=+0A",    "DESTPORT=x", "DESTADDR=x",  "LOGIN=a+20b",
    };
    for (size_t i = 0; i < ARRAY_LEN(xclient); i++)
        CHECK_EQ(xclient[i], parse(false, slice_of_cstr(xclient[i]), &said), false);
    static const char *const xforward[] = {
        "LOGIN=x", "DESTADDR=192.0.2.1", "DESTPORT=25", "SOURCE=NEAR", "PROTO=" X64 "x", "IDENT=",
    };
    for (size_t i = 0; i < ARRAY_LEN(xforward); i++)
        CHECK_EQ(xforward[i], parse(true, slice_of_cstr(xforward[i]), &said), false);
}

TEST(limits_and_edges_are_taken)
{
    static const char *const both[] = {
        "HELO=" X250 "xxxxx", "PORT=0", "PORT=65535", " NAME=a.example  PORT=1 ", "proto=esmtp",
    };
    struct xclient said;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        CHECK_EQ(both[i], parse(false, slice_of_cstr(both[i]), &said), true);
        CHECK_EQ(both[i], parse(true, slice_of_cstr(both[i]), &said), true);
    }
    CHECK(parse(true, SLICE("PROTO=" X64), &said));
    CHECK(parse(false, SLICE("LOGIN=j+C3+B6rg"), &said));
    CHECK_SLICE("UTF-8", said.values[XCLIENT_LOGIN], "j\xc3\xb6rg");
}

TEST(every_part_of_a_line_is_taken_or_refused_whole)
{
    struct slice args = SLICE("NAME=spike.example ADDR=IPV6:2001:db8::1 PORT=25001 LOGIN=a+2Bb");
    for (size_t cut = 0; cut <= args.len; cut++) {
        struct xclient said;
        /* From a copy of that length, so that a sanitizer sees a byte read too many. */
        char *copy = malloc(cut + 1);
        memcpy(copy, args.data, cut);
        bool is_good = parse(false, slice_of(copy, cut), &said);
        if (is_good) CHECK(said.given != 0);
        free(copy);
    }
}

TEST(the_offers_name_what_is_taken)
{
    char bytes[128];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    xclient_write_names(&out);
    CHECK_BUF("XCLIENT", out, "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
    buf_reset(&out);
    xforward_write_names(&out);
    CHECK_BUF("XFORWARD", out, "NAME ADDR PORT PROTO HELO IDENT SOURCE");
}
