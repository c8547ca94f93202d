#include "server/smtp/param.h"
#include "server/smtp/utf8.h"
#include "server/smtp/xtext.h"
#include "tests/support/test.h"

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X100 X50 X50
#define X400 X100 X100 X100 X100
#define PLUS_10 "+2B+2B+2B+2B+2B+2B+2B+2B+2B+2B"

static const struct param_offer offered = {
    .is_esmtp = true, .has_require_tls = true, .has_auth = true, .size_max = 1000};

static enum reply_id parse_mail(const char *rest, const struct param_offer *offer,
                                struct mail_params *out)
{
    size_t len = strlen(rest);
    char *exact = malloc(len + 1);
    memcpy(exact, rest, len);
    enum reply_id id = mail_params_parse(slice_of(exact, len), offer, out);
    if (id == REPLY_NONE && out->envid.len > 0) {
        const char *at = memmem(rest, len, out->envid.data, out->envid.len);
        CHECK(at != NULL);
        out->envid.data = at;
    }
    free(exact);
    return id;
}

TEST(mail_params_parse_answers_each_mistake)
{
    static const struct {
        const char *rest;
        enum reply_id want;
    } cases[] = {
        {"", REPLY_NONE},
        {"  \t", REPLY_NONE},
        {" SIZE=1001", REPLY_TOO_BIG},
        {" SIZE=18446744073709551615", REPLY_TOO_BIG},
        {" SIZE=18446744073709551616", REPLY_TOO_BIG},
        {" SIZE=100000000000000000000", REPLY_TOO_BIG},
        {" SIZE=184467440737095516160000000001", REPLY_TOO_BIG},
        {" SIZE=0000000000000000000000000000009", REPLY_NONE},
        {" SIZE=abc", REPLY_BAD_ARGUMENT},
        {" SIZE=1a", REPLY_BAD_ARGUMENT},
        {" SIZE=-1", REPLY_BAD_ARGUMENT},
        {" SIZE=+1", REPLY_BAD_ARGUMENT},
        {" SIZE=0x10", REPLY_BAD_ARGUMENT},
        {" SIZE=", REPLY_BAD_ARGUMENT},
        {" SIZE= 1", REPLY_BAD_ARGUMENT},
        {" SIZE", REPLY_BAD_ARGUMENT},
        {" SIZE=1 SIZE=1", REPLY_BAD_ARGUMENT},
        {" SIZE=9999 SIZE=1", REPLY_BAD_ARGUMENT},
        {" SIZE=9999 BODY=FOO", REPLY_BAD_ARGUMENT},
        {" SIZE=9999 FOO", REPLY_UNKNOWN_PARAMETER},
        {" BODY=FOO", REPLY_BAD_ARGUMENT},
        {" BODY=8BITMIMEX", REPLY_BAD_ARGUMENT},
        {" BODY=BINARYMIM", REPLY_BAD_ARGUMENT},
        {" BODY", REPLY_BAD_ARGUMENT},
        {" BODY=7BIT BODY=7BIT", REPLY_BAD_ARGUMENT},
        {" BODY=7BIT BODY=8BITMIME", REPLY_BAD_ARGUMENT},
        {" SMTPUTF8=", REPLY_BAD_ARGUMENT},
        {" SMTPUTF8=1", REPLY_BAD_ARGUMENT},
        {" SMTPUTF8 SMTPUTF8", REPLY_BAD_ARGUMENT},
        {" RET", REPLY_BAD_ARGUMENT},
        {" RET=", REPLY_BAD_ARGUMENT},
        {" RET=BOTH", REPLY_BAD_ARGUMENT},
        {" RET=FULL RET=FULL", REPLY_BAD_ARGUMENT},
        {" ENVID", REPLY_BAD_ARGUMENT},
        {" ENVID=", REPLY_BAD_ARGUMENT},
        {" ENVID=a+2", REPLY_BAD_ARGUMENT},
        {" ENVID=a+2b", REPLY_BAD_ARGUMENT},
        {" ENVID=a+zz", REPLY_BAD_ARGUMENT},
        {" ENVID=a=b", REPLY_BAD_ARGUMENT},
        {" ENVID=a+0D+0Ab", REPLY_BAD_ARGUMENT},
        {" ENVID=a+00", REPLY_BAD_ARGUMENT},
        {" ENVID=+C3+A4", REPLY_BAD_ARGUMENT},
        {" ENVID=\xc3\xa4", REPLY_BAD_ARGUMENT},
        {" ENVID=a ENVID=a", REPLY_BAD_ARGUMENT},
        {" ENVID=" X100, REPLY_NONE},
        {" ENVID=" X100 "x", REPLY_BAD_ARGUMENT},
        {" ENVID=" X50 X10 PLUS_10 X10, REPLY_NONE},
        {" ENVID=" X50 X10 PLUS_10 PLUS_10, REPLY_BAD_ARGUMENT},
        {" REQUIRETLS=", REPLY_BAD_ARGUMENT},
        {" REQUIRETLS=yes", REPLY_BAD_ARGUMENT},
        {" REQUIRETLS REQUIRETLS", REPLY_BAD_ARGUMENT},
        {" AUTH=<>", REPLY_NONE},
        {" AUTH=a+2Bb@c.example", REPLY_NONE},
        {" AUTH", REPLY_BAD_ARGUMENT},
        {" AUTH=", REPLY_BAD_ARGUMENT},
        {" AUTH=a+0Ab", REPLY_BAD_ARGUMENT},
        {" AUTH=+", REPLY_BAD_ARGUMENT},
        {" AUTH=<> AUTH=<>", REPLY_BAD_ARGUMENT},
        {" FOO", REPLY_UNKNOWN_PARAMETER},
        {" FOO=bar", REPLY_UNKNOWN_PARAMETER},
        {" SIZEX=1", REPLY_UNKNOWN_PARAMETER},
        {" NOTIFY=NEVER", REPLY_UNKNOWN_PARAMETER},
        {" ORCPT=rfc822;a", REPLY_UNKNOWN_PARAMETER},
        {" 8BIT", REPLY_UNKNOWN_PARAMETER},
        {" =1", REPLY_BAD_ARGUMENT},
        {" -X=1", REPLY_BAD_ARGUMENT},
        {" X=1=2", REPLY_BAD_ARGUMENT},
        {" X_Y=1", REPLY_BAD_ARGUMENT},
        {" X=\xc3\xa4", REPLY_BAD_ARGUMENT},
        {" X=a\x01", REPLY_BAD_ARGUMENT},
        {" <b@c>", REPLY_BAD_ARGUMENT},
        {" SIZE=1,BODY=7BIT", REPLY_BAD_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mail_params got;
        CHECK_EQ(cases[i].rest, parse_mail(cases[i].rest, &offered, &got), cases[i].want);
    }
}

TEST(mail_params_parse_keeps_what_was_said)
{
    static const struct {
        const char *rest;
        struct mail_params want;
    } cases[] = {
        {" SIZE=1000", {.size = 1000, .has_size = true}},
        {" size=7 body=8bitmime",
         {.size = 7, .has_size = true, .has_body = true, .body = BODY_TYPE_8BITMIME}},
        {" BODY=7BIT   SIZE=0  ", {.has_size = true, .has_body = true, .body = BODY_TYPE_7BIT}},
        {" body=BinaryMime", {.has_body = true, .body = BODY_TYPE_BINARYMIME}},
        {" SMTPUTF8", {.is_utf8 = true}},
        {" smtputf8 BODY=8BITMIME",
         {.is_utf8 = true, .has_body = true, .body = BODY_TYPE_8BITMIME}},
        {" RET=FULL", {.ret = 1}},
        {" ret=hdrs", {.ret = 2}},
        {" ENVID=QQ314159+20+3D", {.envid = SLICE("QQ314159+20+3D")}},
        {" REQUIRETLS", {.requires_tls = true}},
        {" AUTH=e+3Dmc2@example.com", {.size = 0}},
        {" ENVID=x REQUIRETLS RET=HDRS SMTPUTF8 SIZE=3 AUTH=<> BODY=BINARYMIME",
         {.size = 3,
          .has_size = true,
          .has_body = true,
          .body = BODY_TYPE_BINARYMIME,
          .is_utf8 = true,
          .requires_tls = true,
          .ret = 2,
          .envid = SLICE("x")}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct mail_params *want = &cases[i].want;
        struct mail_params got;
        CHECK_EQ(cases[i].rest, parse_mail(cases[i].rest, &offered, &got), REPLY_NONE);
        CHECK_EQ(cases[i].rest, got.size, want->size);
        CHECK_EQ(cases[i].rest, got.has_size, want->has_size);
        CHECK_EQ(cases[i].rest, got.has_body, want->has_body);
        CHECK_EQ(cases[i].rest, got.body, want->body);
        CHECK_EQ(cases[i].rest, got.is_utf8, want->is_utf8);
        CHECK_EQ(cases[i].rest, got.requires_tls, want->requires_tls);
        CHECK_EQ(cases[i].rest, got.ret, want->ret);
        CHECK(slice_eq(got.envid, want->envid));
    }
}

TEST(params_are_refused_when_they_were_not_offered)
{
    struct mail_params mail;
    struct rcpt_params rcpt;
    struct param_offer offer = {.size_max = 1000};
    static const char *const any[] = {" SIZE=1",  " BODY=7BIT", " SMTPUTF8",   " RET=FULL",
                                      " ENVID=a", " AUTH=<>",   " REQUIRETLS", " FOO"};
    for (size_t i = 0; i < ARRAY_LEN(any); i++)
        CHECK_EQ(any[i], parse_mail(any[i], &offer, &mail), REPLY_UNKNOWN_PARAMETER);
    CHECK_EQ("none", parse_mail(" ", &offer, &mail), REPLY_NONE);
    CHECK_EQ("malformed", parse_mail(" =", &offer, &mail), REPLY_BAD_ARGUMENT);
    CHECK_EQ("notify", rcpt_params_parse(SLICE(" NOTIFY=NEVER"), &offer, false, &rcpt),
             REPLY_UNKNOWN_PARAMETER);
    CHECK_EQ("none", rcpt_params_parse(SLICE(""), &offer, false, &rcpt), REPLY_NONE);

    offer.is_esmtp = true;
    CHECK_EQ("tls", parse_mail(" REQUIRETLS", &offer, &mail), REPLY_UNKNOWN_PARAMETER);
    CHECK_EQ("tls", parse_mail(" REQUIRETLS=1", &offer, &mail), REPLY_UNKNOWN_PARAMETER);
    CHECK_EQ("auth", parse_mail(" AUTH=<>", &offer, &mail), REPLY_UNKNOWN_PARAMETER);
    CHECK_EQ("auth", parse_mail(" AUTH", &offer, &mail), REPLY_UNKNOWN_PARAMETER);
    CHECK_EQ("ret", parse_mail(" RET=FULL", &offer, &mail), REPLY_NONE);
}

TEST(mail_params_parse_wraps_at_no_limit)
{
    struct mail_params got;
    const struct param_offer offer = {.is_esmtp = true, .size_max = UINT64_MAX};
    CHECK_EQ("at it", parse_mail(" SIZE=18446744073709551615", &offer, &got), REPLY_NONE);
    CHECK_EQ("above", parse_mail(" SIZE=18446744073709551616", &offer, &got), REPLY_TOO_BIG);
}

TEST(mail_params_ask_utf8_finds_the_word)
{
    static const struct {
        const char *args;
        bool want;
    } cases[] = {
        {"<a@b> SMTPUTF8", true},
        {"<a@b> SIZE=1 smtpUtf8 BODY=7BIT", true},
        {"<a@b>\tSMTPUTF8\tX", true},
        {"<\"a SMTPUTF8 b\"@c>", true}, /* as it says */
        {"", false},
        {"SMTPUTF8", false},
        {"<a@b> SMTPUTF8=1", false},
        {"<a@b> SMTPUTF", false},
        {"<a@b> XSMTPUTF8", false},
        {"<a@b> SMTPUTF88", false},
        {"<a@b>SMTPUTF8", false},
        {"<smtputf8@b>", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].args, mail_params_ask_utf8(slice_of_cstr(cases[i].args)), cases[i].want);
    }
}

TEST(rcpt_params_parse_reads_or_refuses)
{
    enum { NEVER = 1, SUCCESS = 2, FAILURE = 4, DELAY = 8 };
    static const struct {
        const char *rest;
        enum reply_id want;
        uint8_t notify;
        const char *orcpt;
    } cases[] = {
        {"", REPLY_NONE, 0, ""},
        {" \t ", REPLY_NONE, 0, ""},
        {" NOTIFY=NEVER", REPLY_NONE, NEVER, ""},
        {" notify=success", REPLY_NONE, SUCCESS, ""},
        {" NOTIFY=DELAY,Failure,SUCCESS", REPLY_NONE, SUCCESS | FAILURE | DELAY, ""},
        {" NOTIFY=NEVER,FAILURE", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=FAILURE,NEVER", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=NEVER,NEVER", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=DELAY,DELAY", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=DELAY,", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=,DELAY", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=DELAY,,FAILURE", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=DELAY, FAILURE", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=FOO", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=DELAYED", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY", REPLY_BAD_ARGUMENT, 0, ""},
        {" NOTIFY=DELAY NOTIFY=DELAY", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;a+2Bb@c.example NOTIFY=DELAY", REPLY_NONE, DELAY, "rfc822;a+2Bb@c.example"},
        {" ORCPT=RFC822;a@b", REPLY_NONE, 0, "RFC822;a@b"},
        {" ORCPT=x400;/C=US/", REPLY_BAD_ARGUMENT, 0, ""}, /* "=" is no xtext */
        {" ORCPT=x400;/C+3DUS/", REPLY_NONE, 0, "x400;/C+3DUS/"},
        {" ORCPT=rfc822;a;b", REPLY_NONE, 0, "rfc822;a;b"},
        {" ORCPT", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=a@b", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=;a@b", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc(822);a@b", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;a+", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;a+2b", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;a+0D+0AX", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;+C3+A4@b", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;\xc3\xa4@b", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;a ORCPT=rfc822;a", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=rfc822;" X400 X50 X10 X10 X10 X10 "xxx", REPLY_NONE, 0,
         "rfc822;" X400 X50 X10 X10 X10 X10 "xxx"},
        {" ORCPT=rfc822;" X400 X50 X10 X10 X10 X10 "xxxx", REPLY_BAD_ARGUMENT, 0, ""},
        /* RFC 6533 3: 7-bit, whatever was said in MAIL. */
        {" ORCPT=utf-8;\\x{E4}nn@b", REPLY_NONE, 0, "utf-8;\\x{E4}nn@b"},
        {" ORCPT=UTF-8;\\x{10FFFF}@b", REPLY_NONE, 0, "UTF-8;\\x{10FFFF}@b"},
        {" ORCPT=utf-8;\\x{2B}\\x{3D}\\x{5C}@b", REPLY_NONE, 0, "utf-8;\\x{2B}\\x{3D}\\x{5C}@b"},
        {" ORCPT=utf-8;a+2Bb@c", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{0A}", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{85}", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{D800}", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{110000}", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{1}", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{}", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{E4", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;\\x{0000E4}", REPLY_NONE, 0, "utf-8;\\x{0000E4}"},
        {" ORCPT=utf-8;\\x{00000E4}", REPLY_BAD_ARGUMENT, 0, ""},
        {" ORCPT=utf-8;a\\b", REPLY_BAD_ARGUMENT, 0, ""},
        {" FOO", REPLY_UNKNOWN_PARAMETER, 0, ""},
        {" FOO=bar", REPLY_UNKNOWN_PARAMETER, 0, ""},
        {" SIZE=1", REPLY_UNKNOWN_PARAMETER, 0, ""},
        {" RET=FULL", REPLY_UNKNOWN_PARAMETER, 0, ""},
        {" =", REPLY_BAD_ARGUMENT, 0, ""},
        {" <c@d>", REPLY_BAD_ARGUMENT, 0, ""},
        {" X=", REPLY_BAD_ARGUMENT, 0, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases) * 2; i++) {
        const char *rest = cases[i / 2].rest;
        struct rcpt_params got;
        struct slice in = slice_of_cstr(rest);
        CHECK_EQ(rest, rcpt_params_parse(in, &offered, i % 2 != 0, &got), cases[i / 2].want);
        if (cases[i / 2].want != REPLY_NONE) continue;
        CHECK_EQ(rest, got.notify, cases[i / 2].notify);
        CHECK_SLICE(rest, got.orcpt, cases[i / 2].orcpt);
    }
}

TEST(rcpt_params_parse_takes_utf8_when_mail_said_so)
{
    static const struct {
        const char *rest;
        enum reply_id with, without;
    } cases[] = {
        {" ORCPT=utf-8;\xc3\xa4nn@b\xc3\xbc.example", REPLY_NONE, REPLY_BAD_ARGUMENT},
        {" ORCPT=utf-8;\xf0\x9f\x92\xa9\\x{E4} NOTIFY=DELAY", REPLY_NONE, REPLY_BAD_ARGUMENT},
        {" ORCPT=utf-8;\xc3", REPLY_BAD_ARGUMENT, REPLY_BAD_ARGUMENT},
        {" ORCPT=utf-8;\xc0\xaf", REPLY_BAD_ARGUMENT, REPLY_BAD_ARGUMENT},
        {" ORCPT=utf-8;a\xc2\x85", REPLY_BAD_ARGUMENT, REPLY_BAD_ARGUMENT},
        {" ORCPT=rfc822;\xc3\xa4", REPLY_BAD_ARGUMENT, REPLY_BAD_ARGUMENT},
        {" NOTIFY=\xc3\xa4", REPLY_BAD_ARGUMENT, REPLY_BAD_ARGUMENT},
        {" \xc3\xa4=1", REPLY_BAD_ARGUMENT, REPLY_BAD_ARGUMENT},
        {" FOO=\xc3\xa4", REPLY_UNKNOWN_PARAMETER, REPLY_BAD_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rcpt_params got;
        struct slice in = slice_of_cstr(cases[i].rest);
        CHECK_EQ(cases[i].rest, rcpt_params_parse(in, &offered, true, &got), cases[i].with);
        CHECK_EQ(cases[i].rest, rcpt_params_parse(in, &offered, false, &got), cases[i].without);
    }
}

/* --- cuts and flips --- */

/* A cut line is whole when a parameter ends there; else it is one of the two refusals. */
TEST(mail_params_parse_survives_every_cut)
{
    static const char rest[] = " SIZE=12 BODY=8BITMIME RET=FULL ENVID=a+2Bb SMTPUTF8";
    static const struct {
        size_t from, to; /* both included */
    } whole[] = {{0, 1}, {7, 9}, {22, 23}, {31, 32}, {39, 39}, {42, 44}, {52, 52}};
    for (size_t cut = 0; cut <= strlen(rest); cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, rest, cut);
        struct mail_params got;
        enum reply_id id = mail_params_parse(slice_of(exact, cut), &offered, &got);
        bool is_whole = false;
        for (size_t i = 0; i < ARRAY_LEN(whole); i++)
            is_whole = is_whole || (cut >= whole[i].from && cut <= whole[i].to);
        char name[32];
        snprintf(name, sizeof(name), "cut at %zu", cut);
        CHECK_EQ(name, id == REPLY_NONE, is_whole);
        CHECK(is_whole || id == REPLY_BAD_ARGUMENT || id == REPLY_UNKNOWN_PARAMETER);
        free(exact);
    }
}

static uint32_t seed = 1;
static uint32_t next_random(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

/* What is kept may be written out again: nothing in it ends a parameter or a line. */
static void check_kept(struct slice kept, bool may_be_utf8)
{
    for (size_t i = 0; i < kept.len; i++) {
        uint8_t c = (uint8_t)kept.data[i];
        CHECK(c > ' ' && c != '=' && c != 0x7f && (c < 0x7f || may_be_utf8));
    }
    CHECK(utf8_is_valid(kept));
}

TEST(params_survive_flipped_bytes)
{
    static const char *const lines[] = {
        " SIZE=12 BODY=8BITMIME RET=FULL ENVID=a+2Bb SMTPUTF8 AUTH=<> REQUIRETLS",
        " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.example",
        " NOTIFY=NEVER ORCPT=utf-8;\xc3\xa4\\x{E4}@b\xc3\xbc.example",
    };
    unsigned good = 0;
    for (size_t round = 0; round < 30000; round++) {
        const char *line = lines[round % ARRAY_LEN(lines)];
        size_t len = next_random() % 4 == 0 ? next_random() % (strlen(line) + 1) : strlen(line);
        char *exact = malloc(len + 1);
        memcpy(exact, line, len);
        for (size_t flips = next_random() % 3; len > 0 && flips > 0; flips--)
            exact[next_random() % len] = (char)next_random();
        bool is_utf8 = next_random() % 2 == 0;
        struct mail_params mail;
        struct rcpt_params rcpt;
        struct slice in = slice_of(exact, len);
        enum reply_id mail_id = mail_params_parse(in, &offered, &mail);
        enum reply_id rcpt_id = rcpt_params_parse(in, &offered, is_utf8, &rcpt);
        CHECK(mail_id == REPLY_NONE || mail_id == REPLY_BAD_ARGUMENT ||
              mail_id == REPLY_UNKNOWN_PARAMETER || mail_id == REPLY_TOO_BIG);
        CHECK(rcpt_id == REPLY_NONE || rcpt_id == REPLY_BAD_ARGUMENT ||
              rcpt_id == REPLY_UNKNOWN_PARAMETER);
        if (mail_id == REPLY_NONE) check_kept(mail.envid, false);
        if (rcpt_id == REPLY_NONE) check_kept(rcpt.orcpt, is_utf8);
        good += mail_id == REPLY_NONE || rcpt_id == REPLY_NONE;
        free(exact);
    }
    CHECK(good > 1000);
}
