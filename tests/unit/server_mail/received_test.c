#include "server/mail/received.h"
#include "tests/support/test.h"

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10
#define X63 X60 "xxx"
#define X255 X63 "." X63 "." X63 "." X63

static struct received plain(void)
{
    return (struct received){
        .helo = SLICE("client.example"),
        .client = SLICE("[192.0.2.1]"),
        .hostname = SLICE("mx.example"),
        .protocol = SLICE("ESMTP"),
        .id = SLICE("0ABCDEFGHJKMN"),
        .recipient = SLICE("u@example.test"),
        .date = SLICE("Mon, 23 Nov 2026 16:00:00 +0000"),
    };
}

TEST(received_write_folds_between_words)
{
    struct received r = plain();
    char bytes[RECEIVED_BYTES_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    CHECK(received_write(&r, &out));
    CHECK_BUF("one recipient", out,
              "Received: from client.example ([192.0.2.1]) by mx.example (Postern) with ESMTP\r\n"
              "\tid 0ABCDEFGHJKMN for <u@example.test>; Mon, 23 Nov 2026 16:00:00 +0000\r\n");

    r.recipient = SLICE("");
    r.protocol = SLICE("SMTP");
    r.client = SLICE("[IPv6:2001:db8::1]");
    buf_reset(&out);
    CHECK(received_write(&r, &out));
    CHECK_BUF("several recipients", out,
              "Received: from client.example ([IPv6:2001:db8::1]) by mx.example (Postern)\r\n"
              "\twith SMTP id 0ABCDEFGHJKMN; Mon, 23 Nov 2026 16:00:00 +0000\r\n");

    r.protocol = SLICE("UTF8SMTPSA");
    r.tls = SLICE("TLSv1.3 TLS_AES_256_GCM_SHA384");
    buf_reset(&out);
    CHECK(received_write(&r, &out));
    CHECK_BUF("under TLS", out,
              "Received: from client.example ([IPv6:2001:db8::1]) by mx.example (Postern)\r\n"
              "\twith UTF8SMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384) id 0ABCDEFGHJKMN;\r\n"
              "\tMon, 23 Nov 2026 16:00:00 +0000\r\n");
}

/* Every line but the first begins with a tab, ends with CRLF and is at most `max` long; nothing
 * but printable ASCII; exactly one ";" outside of `for`. */
static void check_field(const char *name, struct slice field, size_t max)
{
    size_t at = 0, lines = 0;
    CHECK(slice_starts_with_nocase(field, SLICE("Received: ")) ||
          slice_starts_with_nocase(field, SLICE("Received:\r\n")));
    while (at < field.len) {
        const char *lf = memchr(field.data + at, '\n', field.len - at);
        CHECK_EQ(name, lf != NULL && lf > field.data && lf[-1] == '\r', true);
        if (lf == NULL) return;
        size_t end = (size_t)(lf - field.data) - 1;
        CHECK_EQ(name, end - at <= max, true);
        CHECK_EQ(name, field.data[at], lines == 0 ? 'R' : '\t');
        CHECK_EQ(name, end - at > 1, true);
        for (size_t i = at + 1; i < end; i++) {
            CHECK_EQ(name, field.data[i] >= ' ' && field.data[i] <= '~', true);
        }
        at = end + 2;
        lines++;
    }
}

TEST(received_write_cleans_what_the_client_chose)
{
    static const struct {
        const char *name;
        struct slice helo;
        const char *want;
    } cases[] = {
        {"line break", {"a\r\nBcc: x", 9}, "from a??Bcc:?x ("},
        {"bare LF", {"a\nb", 3}, "from a?b ("},
        {"NUL", {"a\0b", 3}, "from a?b ("},
        {"comment", {"a (b) \\c", 8}, "from a??b???c ("},
        {"date", {"a;b", 3}, "from a?b ("},
        {"quotes and brackets", {"\"<a@b>,", 7}, "from ??a?b?? ("},
        {"8-bit", {"\xc3\xa4", 2}, "from ?? ("},
        {"format", {"%s%n", 4}, "from ?s?n ("},
        {"literal", {"[IPv6:::1]", 10}, "from [IPv6:::1] ("},
        {"underscore", {"MY_PC", 5}, "from MY_PC ("},
        {"none", {"", 0}, "from unknown ("},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char bytes[RECEIVED_BYTES_MAX];
        struct buf out = {bytes, 0, sizeof(bytes), false};
        struct received r = plain();
        r.helo = cases[i].helo;
        CHECK(received_write(&r, &out));
        CHECK_EQ(cases[i].name,
                 memmem(out.data, out.len, cases[i].want, strlen(cases[i].want)) != NULL, true);
        check_field(cases[i].name, buf_slice(&out), 78);
    }
}

TEST(received_write_names_only_a_good_recipient)
{
    static const struct {
        const char *recipient;
        bool is_named;
    } cases[] = {
        {"u@example.test", true},
        {"Postmaster", true},
        {"\"a b;(\"@example.test", true},
        {"", false},
        {"a\r\nb@c", false},
        {"a b@c", false},
        {"a@b>; x", false},
        {"a@b\xc3\xa4", false},
        {"a(b)@c", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char bytes[RECEIVED_BYTES_MAX], want[128];
        struct buf out = {bytes, 0, sizeof(bytes), false};
        struct received r = plain();
        r.recipient = slice_of_cstr(cases[i].recipient);
        CHECK(received_write(&r, &out));
        check_field(cases[i].recipient, buf_slice(&out), 78);
        int len = snprintf(want, sizeof(want), " for <%s>;", cases[i].recipient);
        bool is_named = memmem(out.data, out.len, want, (size_t)len) != NULL;
        CHECK_EQ(cases[i].recipient, is_named, cases[i].is_named);
        CHECK_EQ(cases[i].recipient, memmem(out.data, out.len, "for <", 5) != NULL, is_named);
    }
}

/* H13: the longest of everything stays below 998 a line, and fits in RECEIVED_BYTES_MAX. */
TEST(received_write_bounds_every_line)
{
    char bytes[RECEIVED_BYTES_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    struct received r = plain();
    r.helo = SLICE(X255 "." X255);
    r.hostname = SLICE(X255);
    r.client = SLICE("[IPv6:2001:db8:1111:2222:3333:4444:5555:6666]");
    r.protocol = SLICE("UTF8SMTPSA");
    r.recipient = SLICE(X60 "xxxx@" X255 ".");
    CHECK(received_write(&r, &out));
    CHECK(!out.is_short);
    check_field("longest", buf_slice(&out), 340);
}

TEST(received_write_says_when_it_does_not_fit)
{
    struct received r = plain();
    char bytes[RECEIVED_BYTES_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    CHECK(received_write(&r, &out));
    size_t len = out.len;
    for (size_t cap = 0; cap <= len; cap++) {
        char *exact = malloc(cap + 1);
        struct buf small = {exact, 0, cap, false};
        CHECK_EQ("cap", received_write(&r, &small), cap == len);
        CHECK_EQ("cap", small.is_short, cap != len);
        free(exact);
    }
}
