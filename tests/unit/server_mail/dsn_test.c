#include "server/mail/dsn.h"
#include "server/mail/dsn_words.h"
#include "tests/support/test.h"

#define CRLF "\r\n"
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

static struct dsn plain(void)
{
    return (struct dsn){
        .hostname = SLICE("mx.gw.test"),
        .id = SLICE("0000000000NEW"),
        .boundary = SLICE("=_b"),
        .sender = SLICE("joe@from.test"),
        .original_id = SLICE("0000000000OLD"),
        .now_ms = 1795449600000,     /* Mon, 23 Nov 2026 16:00:00 */
        .arrival_ms = 1795449540000, /* a minute before */
        .kinds = BIT(DSN_FAILED),
    };
}

static struct dsn_recipient failed(void)
{
    return (struct dsn_recipient){
        .kind = DSN_FAILED,
        .address = SLICE("bob@to.test"),
        .reply = SLICE("550 5.1.1 no such user"),
        .host = SLICE("mx.to.test[192.0.2.1]:25"),
        .attempted_ms = 1795449600000,
    };
}

static char text_bytes[DSN_PIECE_BYTES_MAX];

static struct buf fresh(void)
{
    return (struct buf){text_bytes, 0, sizeof(text_bytes), false};
}

TEST(a_whole_notification)
{
    struct dsn dsn = plain();
    struct dsn_recipient recipient = failed();
    struct buf out = fresh();
    dsn.envid = SLICE("QQ+20314159");
    recipient.orcpt = SLICE("rfc822;Bob+2Bx@to.test");
    dsn_write_head(&dsn, &out);
    dsn_write_text_section(&dsn, DSN_FAILED, &out);
    dsn_write_text_recipient(&dsn, &recipient, &out);
    dsn_write_status_head(&dsn, &out);
    dsn_write_status_recipient(&dsn, &recipient, &out);
    dsn_write_original_head(&dsn, &out);
    buf_append_cstr(&out, "Subject: x" CRLF);
    dsn_write_end(&dsn, &out);
    CHECK(!out.is_short);
    CHECK_BUF(
        "text", out,
        "From: \"Mail Delivery System\" <MAILER-DAEMON@mx.gw.test>" CRLF "To: <joe@from.test>" CRLF
        "Subject: Undelivered mail: your message could not be delivered" CRLF
        "Date: Mon, 23 Nov 2026 16:00:00 +0000" CRLF "Message-ID: <0000000000NEW@mx.gw.test>" CRLF
        "Auto-Submitted: auto-replied" CRLF "MIME-Version: 1.0" CRLF
        "Content-Type: multipart/report; report-type=delivery-status;" CRLF
        "\tboundary=\"=_b\"" CRLF "Content-Transfer-Encoding: 7bit" CRLF CRLF
        "This is a delivery status notification in MIME format." CRLF CRLF "--=_b" CRLF
        "Content-Type: text/plain; charset=us-ascii" CRLF
        "Content-Transfer-Encoding: 7bit" CRLF CRLF
        "The mail server mx.gw.test writes to you about the message" CRLF
        "that it took from you on Mon, 23 Nov 2026 15:59:00 +0000 (id 0000000000OLD)." CRLF CRLF
        "Your message could not be delivered to the recipients below, and it is not" CRLF
        "tried again. Please check the addresses and read the answers: they say what" CRLF
        "has to be changed before the message is sent again. If an answer does not" CRLF
        "help, ask those who run the server that gave it." CRLF CRLF "  <bob@to.test>" CRLF
        "      The server mx.to.test[192.0.2.1]:25 said:" CRLF
        "      550 5.1.1 no such user" CRLF CRLF "--=_b" CRLF
        "Content-Type: message/delivery-status" CRLF "Content-Transfer-Encoding: 7bit" CRLF CRLF
        "Original-Envelope-Id: QQ 314159" CRLF "Reporting-MTA: dns; mx.gw.test" CRLF
        "X-Postern-Queue-Id: 0000000000OLD" CRLF
        "Arrival-Date: Mon, 23 Nov 2026 15:59:00 +0000" CRLF CRLF
        "Original-Recipient: rfc822; Bob+x@to.test" CRLF "Final-Recipient: rfc822; bob@to.test" CRLF
        "Action: failed" CRLF "Status: 5.1.1" CRLF "Remote-MTA: dns; mx.to.test" CRLF
        "Diagnostic-Code: smtp; 550 5.1.1 no such user" CRLF
        "Last-Attempt-Date: Mon, 23 Nov 2026 16:00:00 +0000" CRLF CRLF "--=_b" CRLF
        "Content-Type: text/rfc822-headers" CRLF "Content-Transfer-Encoding: 7bit" CRLF CRLF
        "Subject: x" CRLF CRLF "--=_b--" CRLF);
}

TEST(the_status)
{
    static const struct {
        enum dsn_kind kind;
        const char *reply, *want;
    } cases[] = {
        {DSN_FAILED, "550 5.1.1 no", "5.1.1"},
        {DSN_FAILED, "550-5.7.26 no", "5.7.26"},
        {DSN_FAILED, "550 5.1.1", "5.1.1"},
        {DSN_FAILED, "5.3.4 our own", "5.3.4"},
        {DSN_FAILED, "550 no", "5.0.0"},
        {DSN_FAILED, "550", "5.0.0"},
        {DSN_FAILED, "", "5.0.0"},
        {DSN_FAILED, "550 4.1.1 another class", "5.0.0"},
        {DSN_FAILED, "550 5.1234.1 no", "5.0.0"},
        {DSN_FAILED, "550 5.1. no", "5.0.0"},
        {DSN_FAILED, "550 5.1.1: no", "5.0.0"},
        {DSN_FAILED, "550 5..1 no", "5.0.0"},
        {DSN_FAILED, "5.999.999", "5.999.999"},
        {DSN_EXPIRED, "450 4.2.1 later", "4.4.7"},
        {DSN_EXPIRED, "", "4.4.7"},
        {DSN_DELAYED, "450 4.2.1 later", "4.2.1"},
        {DSN_DELAYED, "4.4.1 no connection", "4.4.1"},
        {DSN_DELAYED, "550 5.2.1 another class", "4.0.0"},
        {DSN_DELIVERED, "", "2.0.0"},
        {DSN_RELAYED, "250 2.6.0 taken", "2.6.0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dsn_recipient recipient = {.kind = cases[i].kind,
                                          .reply = slice_of_cstr(cases[i].reply)};
        char bytes[DSN_STATUS_BYTES_MAX];
        struct buf out = {bytes, 0, sizeof(bytes), false};
        dsn_write_status(&recipient, &out);
        CHECK_BUF(cases[i].reply, out, cases[i].want);
    }
}

/* The value of a field of the recipient's block, unfolded; NULL when it is not there. */
static const char *field(const struct dsn *dsn, const struct dsn_recipient *recipient,
                         const char *name)
{
    static char value[DSN_PIECE_BYTES_MAX];
    struct buf out = fresh();
    char start[64];
    dsn_write_status_recipient(dsn, recipient, &out);
    CHECK(!out.is_short);
    snprintf(start, sizeof(start), CRLF "%s: ", name);
    const char *at = memmem(out.data, out.len, start, strlen(start));
    size_t len = 0;
    if (at == NULL) return NULL;
    for (at += strlen(start); at < out.data + out.len; at++) {
        bool is_end = at[0] == '\r' && at[2] != ' ';
        if (is_end) break;
        if (at[0] != '\r' && at[0] != '\n') value[len++] = *at;
    }
    value[len] = '\0';
    return value;
}

#define CHECK_FIELD(name, dsn, recipient, field_name, want)                                        \
    do {                                                                                           \
        const char *value_ = field(dsn, recipient, field_name), *wanted_ = (want);                 \
        bool is_same_ =                                                                            \
            value_ == NULL || wanted_ == NULL ? value_ == wanted_ : strcmp(value_, wanted_) == 0;  \
        if (!is_same_) printf("%s: \"%s\", not \"%s\"\n", name, value_, wanted_);                  \
        CHECK(is_same_);                                                                           \
    } while (0)

TEST(addresses_and_their_types)
{
    static const struct {
        const char *address;
        const char *ascii, *utf8; /* Final-Recipient of either notification */
    } cases[] = {
        {"bob@to.test", "rfc822; bob@to.test", "rfc822; bob@to.test"},
        {"\"a  b\"@to.test", "rfc822; \"a  b\"@to.test", "rfc822; \"a  b\"@to.test"},
        {"bob@b\xc3\xbc"
         "cher.test",
         "rfc822; bob@xn--bcher-kva.test",
         "utf-8; bob@b\xc3\xbc"
         "cher.test"},
        {"j\xc3\xbcrg+x@to.test", "utf-8; j\\x{FC}rg\\x{2B}x@to.test",
         "utf-8; j\xc3\xbcrg+x@to.test"},
        {"\xe7\x94\xb2@\xe7\x94\xb2.test", "utf-8; \\x{7532}@\\x{7532}.test",
         "utf-8; \xe7\x94\xb2@\xe7\x94\xb2.test"},
        {"\xf0\x9f\x93\xa7@to.test", "utf-8; \\x{1F4E7}@to.test",
         "utf-8; \xf0\x9f\x93\xa7@to.test"},
        {"a\r\nStatus: 2.0.0@x", "utf-8; a\\x{0D}\\x{0A}Status:\\x{20}2.0.0@x",
         "utf-8; a\\x{0D}\\x{0A}Status:\\x{20}2.0.0@x"},
        {"a\xff@x", "utf-8; a\\x{FF}@x", "utf-8; a\\x{FF}@x"},
        {"a\xc2\x85@x", "utf-8; a\\x{85}@x", "utf-8; a\\x{85}@x"},
        {"", "rfc822; ", "rfc822; "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dsn dsn = plain();
        struct dsn_recipient recipient = failed();
        recipient.address = slice_of_cstr(cases[i].address);
        CHECK_FIELD(cases[i].address, &dsn, &recipient, "Final-Recipient", cases[i].ascii);
        dsn.is_utf8 = true;
        CHECK_FIELD(cases[i].address, &dsn, &recipient, "Final-Recipient", cases[i].utf8);
    }
}

TEST(original_recipients)
{
    static const struct {
        const char *orcpt;
        const char *ascii, *utf8;
    } cases[] = {
        {"", NULL, NULL},
        {"rfc822;a+2Bb@x", "rfc822; a+b@x", "rfc822; a+b@x"},
        {"X400;/C+3Dx", "X400; /C=x", "X400; /C=x"},
        {"utf-8;j\\x{FC}rg\\x{20}@x", "utf-8; j\\x{FC}rg\\x{20}@x", "utf-8; j\xc3\xbcrg @x"},
        {"utf-8;j\xc3\xbcrg@x", "utf-8; j\\x{FC}rg@x", "utf-8; j\xc3\xbcrg@x"},
        /* None of these came in by SMTP. */
        {"bob@x", NULL, NULL},
        {"rf c822;x", NULL, NULL},
        {";x", NULL, NULL},
        {"rfc822;a+0D+0AStatus:+202.0.0", NULL, NULL},
        {"rfc822;a\r\nb", NULL, NULL},
        {"rfc822;a+", NULL, NULL},
        {"utf-8;a\\x{0D}\\x{0A}b", NULL, NULL},
        {"utf-8;a\\x{D800}b", NULL, NULL},
        {"utf-8;a\\x{FFFFFF}b", NULL, NULL},
        {"utf-8;a\\x{}b", NULL, NULL},
        {"utf-8;a\\x{41", NULL, NULL},
        {"utf-8;a\\b", NULL, NULL},
        {"utf-8;a\xff", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dsn dsn = plain();
        struct dsn_recipient recipient = failed();
        recipient.orcpt = slice_of_cstr(cases[i].orcpt);
        CHECK_FIELD(cases[i].orcpt, &dsn, &recipient, "Original-Recipient", cases[i].ascii);
        dsn.is_utf8 = true;
        CHECK_FIELD(cases[i].orcpt, &dsn, &recipient, "Original-Recipient", cases[i].utf8);
    }
}

TEST(hosts)
{
    static const struct {
        const char *host, *want;
    } cases[] = {
        {"", NULL},
        {"mx.to.test[192.0.2.1]:25", "dns; mx.to.test"},
        {"mx.to.test[2001:db8::1]:25", "dns; mx.to.test"},
        {"192.0.2.1:25", "dns; [192.0.2.1]"},
        {"[2001:db8::1]:2525", "dns; [IPv6:2001:db8::1]"},
        {"unix:/run/lmtp", "x-local; unix:/run/lmtp"},
        {"a b[x\r\n", "x-local; a b[x"},
    };
    struct dsn dsn = plain();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dsn_recipient recipient = failed();
        recipient.host = slice_of_cstr(cases[i].host);
        CHECK_FIELD(cases[i].host, &dsn, &recipient, "Remote-MTA", cases[i].want);
    }
}

TEST(the_words_of_the_remote)
{
    static const struct {
        const char *reply, *want;
    } cases[] = {
        {"", NULL},
        {" \r\n", NULL},
        {"550 5.1.1 no", "smtp; 550 5.1.1 no"},
        {"550", "smtp; 550"},
        {"5.1.3 our own", "x-postern; 5.1.3 our own"},
        {"5500 no code", "x-postern; 5500 no code"},
        {"650 no code", "x-postern; 650 no code"},
        {"550 a\r\n\r\nb\tc\x01\x7f\x1b[31m\xff \xc3\xbc\xc2\x9b",
         "smtp; 550 a b c\\x{01}\\x{7F}\\x{1B}[31m\\x{FF} \\x{FC}\\x{9B}"},
    };
    struct dsn dsn = plain();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dsn_recipient recipient = failed();
        recipient.reply = slice_of_cstr(cases[i].reply);
        CHECK_FIELD(cases[i].reply, &dsn, &recipient, "Diagnostic-Code", cases[i].want);
        dsn.is_utf8 = !dsn.is_utf8;
    }
}

/* Lines end with CRLF, are no longer than `max`, and hold no control byte but the tab. */
static void check_lines(struct slice text, size_t max, bool is_ascii)
{
    size_t column = 0;
    bool is_good = text.len >= 2 && memcmp(text.data + text.len - 2, "\r\n", 2) == 0;
    for (size_t i = 0; i < text.len && is_good; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_crlf = c == '\r' && i + 1 < text.len && text.data[i + 1] == '\n';
        if (is_crlf) {
            column = 0;
            i++;
            continue;
        }
        is_good = (c >= ' ' || c == '\t') && c != 0x7f && ++column <= max;
        if (is_ascii) is_good = is_good && c < 0x80;
    }
    CHECK(is_good);
}

/* The worst that can be in a record: everything is as long as it can be, and every byte of it has
 * to be escaped. */
TEST(every_piece_fits_whatever_is_in_the_record)
{
    for (unsigned c = 0; c < 256; c++) {
        char bytes[2000];
        memset(bytes, (int)c, sizeof(bytes));
        for (unsigned spaced = 0; spaced < 2; spaced++) {
            for (size_t i = 1; spaced == 1 && i < sizeof(bytes); i += 2)
                bytes[i] = 'x';
            struct slice any = slice_of(bytes, sizeof(bytes));
            for (unsigned kind = 0; kind < DSN_KIND_COUNT; kind++) {
                struct dsn dsn = plain();
                struct dsn_recipient recipient = {.kind = kind,
                                                  .address = any,
                                                  .orcpt = any,
                                                  .reply = any,
                                                  .host = any,
                                                  .attempted_ms = 1,
                                                  .retried_until_ms = UINT64_MAX};
                dsn.envid = any;
                dsn.is_utf8 = kind % 2 == 0;
                struct buf out = fresh();
                dsn_write_text_recipient(&dsn, &recipient, &out);
                CHECK(!out.is_short);
                check_lines(buf_slice(&out), 998, true);
                out = fresh();
                dsn_write_status_head(&dsn, &out);
                CHECK(!out.is_short);
                check_lines(buf_slice(&out), 998, true);
                out = fresh();
                dsn_write_status_recipient(&dsn, &recipient, &out);
                CHECK(!out.is_short);
                check_lines(buf_slice(&out), 998, true);
            }
        }
    }
}

TEST(long_words_are_folded)
{
    struct dsn dsn = plain();
    struct dsn_recipient recipient = failed();
    recipient.reply =
        SLICE("550 5.7.1 " X100 " " X100 " the end of a long explanation that goes on "
              "for more than one line of a header field");
    CHECK_FIELD("value", &dsn, &recipient, "Diagnostic-Code",
                "smtp; 550 5.7.1 " X100 " " X100 " the end of a long explanation that goes on "
                "for more than one line of a header field");
    struct buf out = fresh();
    dsn_write_status_recipient(&dsn, &recipient, &out);
    check_lines(buf_slice(&out), 101, true);
    out = fresh();
    dsn_write_text_recipient(&dsn, &recipient, &out);
    check_lines(buf_slice(&out), 106, true);
}

TEST(kinds_and_forms)
{
    static const struct {
        unsigned kinds;
        const char *subject;
    } subjects[] = {
        {BIT(DSN_FAILED) | BIT(DSN_DELIVERED), "Undelivered mail"},
        {BIT(DSN_EXPIRED) | BIT(DSN_DELAYED), "Undelivered mail"},
        {BIT(DSN_DELAYED) | BIT(DSN_RELAYED), "Delayed mail"},
        {BIT(DSN_DELIVERED), "Delivery report"},
        {BIT(DSN_RELAYED), "Delivery report"},
    };
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        struct dsn dsn = plain();
        char want[64];
        dsn.kinds = subjects[i].kinds;
        struct buf out = fresh();
        dsn_write_head(&dsn, &out);
        snprintf(want, sizeof(want), "\r\nSubject: %s: ", subjects[i].subject);
        CHECK(memmem(out.data, out.len, want, strlen(want)) != NULL);
        check_lines(buf_slice(&out), 78, true);
    }
    static const char *const actions[] = {"failed", "failed", "delayed", "delivered", "relayed"};
    for (unsigned kind = 0; kind < DSN_KIND_COUNT; kind++) {
        struct dsn dsn = plain();
        struct dsn_recipient recipient = failed();
        recipient.kind = kind;
        recipient.retried_until_ms = 1795449600000;
        CHECK_FIELD("action", &dsn, &recipient, "Action", actions[kind]);
        CHECK_FIELD("until", &dsn, &recipient, "Will-Retry-Until",
                    kind == DSN_DELAYED ? "Mon, 23 Nov 2026 16:00:00 +0000" : NULL);
        struct buf out = fresh();
        dsn_write_text_section(&dsn, kind, &out);
        check_lines(buf_slice(&out), 78, true);
    }
}

TEST(the_types_of_the_original)
{
    static const struct {
        enum dsn_original original;
        bool is_utf8, is_8bit;
        const char *want;
    } cases[] = {
        {DSN_ORIGINAL_HEADER, false, false,
         "text/rfc822-headers" CRLF "Content-Transfer-Encoding: 7bit"},
        {DSN_ORIGINAL_HEADER, false, true,
         "text/rfc822-headers" CRLF "Content-Transfer-Encoding: 8bit"},
        {DSN_ORIGINAL_HEADER, true, true,
         "message/global-headers" CRLF "Content-Transfer-Encoding: 8bit"},
        {DSN_ORIGINAL_MESSAGE, false, false,
         "message/rfc822" CRLF "Content-Transfer-Encoding: 7bit"},
        {DSN_ORIGINAL_MESSAGE, true, false,
         "message/global" CRLF "Content-Transfer-Encoding: 7bit"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dsn dsn = plain();
        char want[256];
        dsn.original = cases[i].original;
        dsn.is_utf8 = cases[i].is_utf8;
        dsn.is_original_8bit = cases[i].is_8bit;
        struct buf out = fresh();
        dsn_write_original_head(&dsn, &out);
        snprintf(want, sizeof(want), CRLF "--=_b" CRLF "Content-Type: %s" CRLF CRLF, cases[i].want);
        CHECK_BUF("head", out, want);
        CHECK_EQ("8-bit", dsn_is_8bit(&dsn), cases[i].is_utf8 || cases[i].is_8bit);
    }
}
