/* client_script_test.c - what is written when, with and without PIPELINING. */
#include "server/delivery/client_script.h"

#include "tests/support/test.h"

static struct recipient recipients[] = {
    {.address = {"a@x.test", 8}},
    {.address = {"\"b c\"@x.test", 12}},
    {.address = {"d@x.test", 8}},
};

static const uint32_t chosen[] = {0, 2};

static struct message make_message(bool is_8bit)
{
    struct message message = {.body_bytes = 1234};
    message.envelope.sender = SLICE("s@y.test");
    message.envelope.is_8bit = is_8bit;
    message.envelope.recipients = recipients;
    message.envelope.recipient_count = ARRAY_LEN(recipients);
    return message;
}

static struct client_script make_script(const struct message *message, uint32_t extensions)
{
    struct client_offer offer = {.extensions = extensions};
    struct client_script script;
    client_script_init(&script, message, chosen, ARRAY_LEN(chosen), &offer);
    return script;
}

static struct slice fill(struct client_script *script, size_t cap)
{
    static char bytes[512];
    struct buf out = {bytes, 0, MIN(cap, sizeof(bytes)), false};
    client_script_fill(script, &out);
    CHECK(!out.is_short);
    return buf_slice(&out);
}

TEST(pipelining_writes_the_whole_group_at_once)
{
    struct message message = make_message(true);
    struct client_script script =
        make_script(&message, OFFER_PIPELINING | OFFER_SIZE | OFFER_8BITMIME);
    CHECK_SLICE("group", fill(&script, 512),
                "MAIL FROM:<s@y.test> SIZE=1234 BODY=8BITMIME\r\n"
                "RCPT TO:<a@x.test>\r\nRCPT TO:<d@x.test>\r\nDATA\r\n");
    CHECK_SLICE("once", fill(&script, 512), "");
    CHECK(!client_script_is_answered(&script));
    script.answered = 3;
    CHECK(client_script_waits_for_data(&script));
    script.answered = 4;
    CHECK(client_script_is_answered(&script));
}

TEST(without_pipelining_one_command_waits_for_its_answer)
{
    static const char *const want[] = {"MAIL FROM:<s@y.test>\r\n", "RCPT TO:<a@x.test>\r\n",
                                       "RCPT TO:<d@x.test>\r\n", "DATA\r\n"};
    struct message message = make_message(true);
    struct client_script script = make_script(&message, 0);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        CHECK_SLICE("next", fill(&script, 512), want[i]);
        CHECK_SLICE("waits", fill(&script, 512), "");
        script.answered++;
        script.accepted_count = 1;
    }
    CHECK(client_script_is_answered(&script));
}

TEST(data_is_not_asked_for_when_every_recipient_is_refused)
{
    struct message message = make_message(false);
    struct client_script script = make_script(&message, 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(fill(&script, 512).len > 0);
        script.answered++;
    }
    CHECK_SLICE("no DATA", fill(&script, 512), "");
    CHECK(client_script_is_answered(&script));
    script.accepted_count = 1;
    CHECK_SLICE("DATA", fill(&script, 512), "DATA\r\n");
}

TEST(commands_are_written_whole_at_every_size_of_the_room)
{
    static const char all[] =
        "MAIL FROM:<s@y.test>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<d@x.test>\r\nDATA\r\n";
    struct message message = make_message(false);
    for (size_t cap = strlen("MAIL FROM:<s@y.test>\r\n"); cap <= sizeof(all); cap++) {
        struct client_script script = make_script(&message, OFFER_PIPELINING);
        char bytes[sizeof(all)];
        struct buf got = {bytes, 0, sizeof(bytes), false};
        for (unsigned turn = 0; turn < 4; turn++) {
            struct slice part = fill(&script, cap);
            CHECK(part.len == 0 || part.data[part.len - 1] == '\n');
            buf_append_slice(&got, part);
        }
        CHECK_BUF("all", got, all);
    }
}

TEST(the_command_at_each_place)
{
    struct message message = make_message(false);
    struct client_script script = make_script(&message, 0);
    uint32_t recipient = 9;
    CHECK_EQ("0", client_script_command(&script, 0, &recipient), SCRIPT_MAIL);
    CHECK_EQ("1", client_script_command(&script, 1, &recipient), SCRIPT_RCPT);
    CHECK_EQ("1", recipient, 0);
    CHECK_EQ("2", client_script_command(&script, 2, &recipient), SCRIPT_RCPT);
    CHECK_EQ("2", recipient, 1);
    CHECK_EQ("3", client_script_command(&script, 3, &recipient), SCRIPT_DATA);
}

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
        {"SIZE", OFFER_SIZE, 0},
        {"SIZE 0", OFFER_SIZE, 0},
        {"SIZE 10485760", OFFER_SIZE, 10485760},
        {"SIZE  7 ", OFFER_SIZE, 7},
        {"SIZE 99999999999999999999999", OFFER_SIZE, 0},
        {"SIZE -1", OFFER_SIZE, 0},
        {"AUTH PLAIN", 0, 0},
        {"", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct client_offer offer = {0};
        client_offer_read(&offer, slice_of_cstr(cases[i].line));
        CHECK_EQ(cases[i].line, offer.extensions, cases[i].extensions);
        CHECK_EQ(cases[i].line, offer.size_max, cases[i].size_max);
    }
}

TEST(addresses_that_would_break_a_command_are_found)
{
    static const struct {
        struct slice address;
        bool is_clean;
    } cases[] = {
        {SLICE(""), true},
        {SLICE("a@b"), true},
        {SLICE("\"a> b\"@c"), true},
        {SLICE("a\r\nRSET\r\n@b"), false},
        {SLICE("a\n@b"), false},
        {SLICE("a\0@b"), false},
        {SLICE("\xc3\xa4@b"), false},
        {SLICE("a\x7f@b"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(cases[i].address.data, client_address_is_clean(cases[i].address),
                 cases[i].is_clean);
}
