/* client_offer_test.c - keywords of the answer to EHLO and what stands behind them. */
#include "server/delivery/client_offer.h"

#include "tests/support/test.h"

TEST(the_offer_is_read_from_the_lines_of_ehlo)
{
    static const struct {
        const char *line;
        uint32_t extensions;
        uint64_t size_max;
    } cases[] = {
        {"PIPELINING", OFFER_PIPELINING, 0},
        {"pipelining", OFFER_PIPELINING, 0},
        {"PIPELININGS", 0, 0},
        {"8BITMIME", OFFER_8BITMIME, 0},
        {"CHUNKING", OFFER_CHUNKING, 0},
        {"BinaryMime", OFFER_BINARYMIME, 0},
        {"SMTPUTF8", OFFER_SMTPUTF8, 0},
        {"SMTPUTF8 with a word", OFFER_SMTPUTF8, 0},
        {"DSN", OFFER_DSN, 0},
        {"SIZE", OFFER_SIZE, 0},
        {"SIZE 0", OFFER_SIZE, 0},
        {"SIZE 10485760", OFFER_SIZE, 10485760},
        {"SIZE  7 ", OFFER_SIZE, 7},
        {"SIZE 99999999999999999999999", OFFER_SIZE, 0},
        {"SIZE -1", OFFER_SIZE, 0},
        {"AUTH PLAIN", 0, 0},
        {"AUTH CHUNKING", 0, 0},
        {"", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct client_offer offer = {0};
        client_offer_read(&offer, slice_of_cstr(cases[i].line));
        CHECK_EQ(cases[i].line, offer.extensions, cases[i].extensions);
        CHECK_EQ(cases[i].line, offer.size_max, cases[i].size_max);
    }
}

TEST(limits_are_read_and_others_passed_over)
{
    static const struct {
        const char *line;
        uint32_t mail, rcpt, domains;
    } cases[] = {
        {"LIMITS RCPTMAX=20", 0, 20, 0},
        {"LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1", 5, 20, 1},
        {"limits rcptmax=20  mailmax=5\t", 5, 20, 0},
        {"LIMITS NEWMAX=1 MAILMAX=999999 -", 999999, 0, 0},
        {"LIMITS", 0, 0, 0},
        {"LIMITS ", 0, 0, 0},
        {"LIMITS RCPTMAX", 0, 0, 0},
        {"LIMITS RCPTMAX=", 0, 0, 0},
        {"LIMITS RCPTMAX=0", 0, 0, 0},
        {"LIMITS RCPTMAX=-1 MAILMAX=2x", 0, 0, 0},
        {"LIMITS RCPTMAX=1000000", 0, 0, 0},
        {"LIMITS RCPTMAX=4294967297", 0, 0, 0},
        {"LIMIT RCPTMAX=1", 0, 0, 0},
        {"RCPTMAX=1", 0, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct client_offer offer = {0};
        client_offer_read(&offer, slice_of_cstr(cases[i].line));
        CHECK_EQ(cases[i].line, offer.mail_max, cases[i].mail);
        CHECK_EQ(cases[i].line, offer.rcpt_max, cases[i].rcpt);
        CHECK_EQ(cases[i].line, offer.rcpt_domain_max, cases[i].domains);
    }
}
