/* dsn_params_test.c - what is sent on of a sender's wishes, and what never is. */
#include "server/delivery/dsn_params.h"

#include "server/smtp/param.h"
#include "tests/support/test.h"

static char text[2048];

TEST(parameters_of_mail)
{
    static const struct {
        enum dsn_return ret;
        const char *envid, *want;
    } cases[] = {
        {DSN_RETURN_UNSET, "", ""},
        {DSN_RETURN_FULL, "", " RET=FULL"},
        {DSN_RETURN_HEADERS, "QQ314159", " RET=HDRS ENVID=QQ314159"},
        {DSN_RETURN_UNSET, "a+2Bb+3Dc", " ENVID=a+2Bb+3Dc"},
        {DSN_RETURN_UNSET, "a b", ""},
        {DSN_RETURN_FULL, "a\r\nRSET", " RET=FULL"},
        {DSN_RETURN_UNSET, "a+0D+0ARSET", ""},
        {DSN_RETURN_UNSET, "a=b", ""},
        {DSN_RETURN_UNSET, "a+2", ""},
        {DSN_RETURN_UNSET, "\xc3\xa4", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct envelope envelope = {.ret = cases[i].ret, .envid = slice_of_cstr(cases[i].envid)};
        struct buf out = {text, 0, sizeof(text), false};
        dsn_params_write_mail(&envelope, &out);
        CHECK_BUF(cases[i].envid, out, cases[i].want);
    }
}

TEST(parameters_of_rcpt)
{
    static const struct {
        uint8_t notify;
        const char *orcpt;
        const char *want, *want_utf8; /* the same when NULL */
    } cases[] = {
        {0, "", "", NULL},
        {DSN_NOTIFY_NEVER, "", " NOTIFY=NEVER", NULL},
        {DSN_NOTIFY_NEVER | DSN_NOTIFY_DELAY, "", " NOTIFY=NEVER", NULL},
        {DSN_NOTIFY_DELAY | DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE, "",
         " NOTIFY=SUCCESS,FAILURE,DELAY", NULL},
        {DSN_NOTIFY_FAILURE, "rfc822;Bob@Old.test", " NOTIFY=FAILURE ORCPT=rfc822;Bob@Old.test",
         NULL},
        {0, "x400;a+2Bb+3Dc", " ORCPT=x400;a+2Bb+3Dc", NULL},
        {0, "utf-8;j\xc3\xb6rg@x.test", " ORCPT=utf-8;j\\x{F6}rg@x.test",
         " ORCPT=utf-8;j\xc3\xb6rg@x.test"},
        {0, "UTF-8;\xe2\x82\xac\xf0\x9f\x92\x8c@x.test", " ORCPT=utf-8;\\x{20AC}\\x{1F48C}@x.test",
         " ORCPT=utf-8;\xe2\x82\xac\xf0\x9f\x92\x8c@x.test"},
        {0, "utf-8;j\\x{F6}rg@x.test", " ORCPT=utf-8;j\\x{F6}rg@x.test", NULL},
        {0, "rfc822;j\xc3\xb6rg@x.test", "", NULL},
        {0, "utf-8;a b", "", NULL},
        {0, "utf-8;a\r\nDATA", "", NULL},
        {0, "utf-8;\xc2\x85", "", NULL},
        {0, "utf-8;\xc3", "", NULL},
        {0, "rfc822;a+0Ab", "", NULL},
        {0, "rfc822;a>b", " ORCPT=rfc822;a>b", NULL},
        {0, "rfc 822;a", "", NULL},
        {0, "rfc822", "", NULL},
        {0, ";a", "", NULL},
        {0, "rfc822;", "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipient recipient = {.notify = cases[i].notify,
                                      .orcpt = slice_of_cstr(cases[i].orcpt)};
        for (unsigned is_utf8 = 0; is_utf8 < 2; is_utf8++) {
            struct buf out = {text, 0, sizeof(text), false};
            dsn_params_write_rcpt(&recipient, is_utf8 == 1, &out);
            bool is_other = is_utf8 == 1 && cases[i].want_utf8 != NULL;
            CHECK_BUF(cases[i].orcpt, out, is_other ? cases[i].want_utf8 : cases[i].want);
        }
    }
}

TEST(what_would_become_too_long_is_left_out)
{
    char orcpt[DSN_ORCPT_BYTES_MAX + 2];
    for (size_t len = 200; len <= DSN_ORCPT_BYTES_MAX + 1; len++) {
        memcpy(orcpt, "utf-8;", 6);
        memset(orcpt + 6, 'a', len - 6);
        memcpy(orcpt + 6, "\xc3\xb6", 2); /* six bytes in ASCII */
        struct recipient recipient = {.orcpt = slice_of(orcpt, len)};
        struct buf out = {text, 0, sizeof(text), false};
        dsn_params_write_rcpt(&recipient, false, &out);
        size_t want = len + 4 <= DSN_ORCPT_BYTES_MAX ? strlen(" ORCPT=") + len + 4 : 0;
        CHECK_EQ("in ASCII", out.len, want);

        memcpy(orcpt, "rfc822;+2B", 10);
        buf_reset(&out);
        dsn_params_write_rcpt(&recipient, false, &out);
        want = len <= DSN_ORCPT_BYTES_MAX ? strlen(" ORCPT=") + len : 0;
        CHECK_EQ("xtext", out.len, want);
    }
}
