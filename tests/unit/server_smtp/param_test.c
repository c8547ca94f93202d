#include "server/smtp/param.h"
#include "tests/support/test.h"

TEST(mail_params_parse_answers_each_mistake)
{
    static const struct {
        const char *rest;
        enum reply_id want;
        uint64_t size;
        bool has_size, is_8bit;
    } cases[] = {
        {"", REPLY_NONE, 0, false, false},
        {"  \t", REPLY_NONE, 0, false, false},
        {" SIZE=1000", REPLY_NONE, 1000, true, false},
        {" size=1000 body=8bitmime", REPLY_NONE, 1000, true, true},
        {" BODY=7BIT   SIZE=0  ", REPLY_NONE, 0, true, false},
        {" BODY=8BITMIME", REPLY_NONE, 0, false, true},
        {" SIZE=1001", REPLY_TOO_BIG, 0, false, false},
        {" SIZE=18446744073709551615", REPLY_TOO_BIG, 0, false, false},
        {" SIZE=18446744073709551616", REPLY_TOO_BIG, 0, false, false},
        {" SIZE=100000000000000000000", REPLY_TOO_BIG, 0, false, false},
        {" SIZE=184467440737095516160000000001", REPLY_TOO_BIG, 0, false, false},
        {" SIZE=0000000000000000000000000000009", REPLY_NONE, 9, true, false},
        {" SIZE=abc", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=1a", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=-1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=+1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=0x10", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE= 1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=1 SIZE=1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=9999 SIZE=1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" BODY=FOO", REPLY_BAD_ARGUMENT, 0, false, false},
        {" BODY=BINARYMIME", REPLY_BAD_ARGUMENT, 0, false, false},
        {" BODY=8BITMIMEX", REPLY_BAD_ARGUMENT, 0, false, false},
        {" BODY", REPLY_BAD_ARGUMENT, 0, false, false},
        {" BODY=7BIT BODY=7BIT", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SMTPUTF8", REPLY_UNKNOWN_PARAMETER, 0, false, false},
        {" AUTH=<>", REPLY_UNKNOWN_PARAMETER, 0, false, false},
        {" RET=HDRS", REPLY_UNKNOWN_PARAMETER, 0, false, false},
        {" SIZEX=1", REPLY_UNKNOWN_PARAMETER, 0, false, false},
        {" 8BIT", REPLY_UNKNOWN_PARAMETER, 0, false, false},
        {" =1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" -X=1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" X=1=2", REPLY_BAD_ARGUMENT, 0, false, false},
        {" X_Y=1", REPLY_BAD_ARGUMENT, 0, false, false},
        {" X=\xc3\xa4", REPLY_BAD_ARGUMENT, 0, false, false},
        {" X=a\x01", REPLY_BAD_ARGUMENT, 0, false, false},
        {" <b@c>", REPLY_BAD_ARGUMENT, 0, false, false},
        {" SIZE=1,BODY=7BIT", REPLY_BAD_ARGUMENT, 0, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mail_params got;
        struct slice rest = slice_of_cstr(cases[i].rest);
        CHECK_EQ(cases[i].rest, mail_params_parse(rest, true, 1000, &got), cases[i].want);
        if (cases[i].want != REPLY_NONE) continue;
        CHECK_EQ(cases[i].rest, got.size, cases[i].size);
        CHECK_EQ(cases[i].rest, got.has_size, cases[i].has_size);
        CHECK_EQ(cases[i].rest, got.is_8bit, cases[i].is_8bit);
    }
}

TEST(mail_params_parse_refuses_all_after_helo)
{
    struct mail_params got;
    CHECK_EQ("none", mail_params_parse(SLICE(" "), false, 1000, &got), REPLY_NONE);
    CHECK_EQ("size", mail_params_parse(SLICE(" SIZE=1"), false, 1000, &got),
             REPLY_UNKNOWN_PARAMETER);
    CHECK_EQ("malformed", mail_params_parse(SLICE(" ="), false, 1000, &got), REPLY_BAD_ARGUMENT);
}

TEST(mail_params_parse_wraps_at_no_limit)
{
    struct mail_params got;
    CHECK_EQ("at the limit",
             mail_params_parse(SLICE(" SIZE=18446744073709551615"), true, UINT64_MAX, &got),
             REPLY_NONE);
    CHECK_EQ("above",
             mail_params_parse(SLICE(" SIZE=18446744073709551616"), true, UINT64_MAX, &got),
             REPLY_TOO_BIG);
}

TEST(mail_params_parse_survives_every_cut)
{
    const char *rest = " SIZE=12 BODY=8BITMIME";
    for (size_t cut = 0; cut <= strlen(rest); cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, rest, cut);
        struct mail_params got;
        enum reply_id id = mail_params_parse(slice_of(exact, cut), true, 1000, &got);
        bool is_whole = cut <= 1 || (cut >= 7 && cut <= 9) || cut == strlen(rest);
        bool is_unknown = (cut > 1 && cut < 5) || (cut > 9 && cut < 13);
        CHECK_EQ(rest, id,
                 is_whole     ? REPLY_NONE
                 : is_unknown ? REPLY_UNKNOWN_PARAMETER
                              : REPLY_BAD_ARGUMENT);
        free(exact);
    }
}

TEST(rcpt_params_parse_knows_none)
{
    static const struct {
        const char *rest;
        enum reply_id want;
    } cases[] = {
        {"", REPLY_NONE},
        {" \t ", REPLY_NONE},
        {" NOTIFY=NEVER", REPLY_UNKNOWN_PARAMETER},
        {" ORCPT=rfc822;a@b", REPLY_UNKNOWN_PARAMETER},
        {" SIZE=1", REPLY_UNKNOWN_PARAMETER},
        {" =", REPLY_BAD_ARGUMENT},
        {" <c@d>", REPLY_BAD_ARGUMENT},
        {" X=", REPLY_BAD_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice rest = slice_of_cstr(cases[i].rest);
        CHECK_EQ(cases[i].rest, rcpt_params_parse(rest, true), cases[i].want);
        CHECK_EQ(cases[i].rest, rcpt_params_parse(rest, false), cases[i].want);
    }
}
