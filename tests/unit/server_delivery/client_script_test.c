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
    struct handover handover;
    char text[512];
    struct buf why = {text, 0, sizeof(text), false};
    bool is_planned = handover_plan(message, &offer, &handover, &why);
    CHECK(is_planned);
    client_script_init(&script, message, chosen, ARRAY_LEN(chosen), &offer, &handover);
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
    struct message message = make_message(false);
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

TEST(a_chunk_waits_for_the_recipients)
{
    static const char all[] =
        "MAIL FROM:<s@y.test>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<d@x.test>\r\n";
    struct message message = make_message(false);
    message.envelope.form = BODY_RAW;
    for (unsigned is_accepted = 0; is_accepted < 2; is_accepted++) {
        struct client_script script = make_script(&message, OFFER_PIPELINING | OFFER_CHUNKING);
        CHECK_SLICE("no DATA", fill(&script, 512), all);
        script.accepted_count = is_accepted;
        for (script.answered = 1; script.answered < 3; script.answered++) {
            CHECK(!client_script_waits_for_chunk(&script));
            CHECK(!client_script_waits_for_data(&script));
        }
        CHECK_SLICE("nothing more", fill(&script, 512), "");
        CHECK(client_script_is_answered(&script));
        CHECK_EQ("chunk", client_script_waits_for_chunk(&script), is_accepted);
        CHECK(!client_script_waits_for_data(&script));
    }
}

TEST(what_the_message_needs_is_declared)
{
    static const struct recipient list[] = {
        {.address = {"\xc3\xa4@x.test", 9},
         .notify = DSN_NOTIFY_SUCCESS | DSN_NOTIFY_DELAY,
         .orcpt = {"rfc822;a+2Bb@x.test", 19}},
        {.address = {"b@b\xc3\xbc"
                     "cher.test",
                     14},
         .notify = DSN_NOTIFY_NEVER},
    };
    static const uint32_t both[] = {0, 1};
    static const struct {
        const char *name;
        uint32_t extensions, count;
        const char *want;
    } cases[] = {
        {"all is offered",
         OFFER_PIPELINING | OFFER_8BITMIME | OFFER_CHUNKING | OFFER_BINARYMIME | OFFER_SMTPUTF8 |
             OFFER_DSN | OFFER_SIZE,
         2,
         "MAIL FROM:<s@b\xc3\xbc"
         "cher.test> SIZE=1234 BODY=BINARYMIME SMTPUTF8 RET=HDRS ENVID=q+3D1\r\n"
         "RCPT TO:<\xc3\xa4@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@x.test\r\n"
         "RCPT TO:<b@b\xc3\xbc"
         "cher.test> NOTIFY=NEVER\r\n"},
        {"without SMTPUTF8 and DSN", OFFER_PIPELINING | OFFER_CHUNKING | OFFER_BINARYMIME, 1,
         "MAIL FROM:<s@xn--bcher-kva.test> BODY=BINARYMIME\r\n"
         "RCPT TO:<b@xn--bcher-kva.test>\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct message message = make_message(true);
        message.envelope.form = BODY_RAW;
        message.envelope.is_binary = message.envelope.is_utf8 = true;
        message.envelope.sender = SLICE("s@b\xc3\xbc"
                                        "cher.test");
        message.envelope.ret = DSN_RETURN_HEADERS;
        message.envelope.envid = SLICE("q+3D1");
        message.envelope.recipients = (struct recipient *)(uintptr_t)list;
        struct client_offer offer = {.extensions = cases[i].extensions};
        struct handover handover;
        struct client_script script;
        char text[512];
        struct buf why = {text, 0, sizeof(text), false};
        CHECK(handover_plan(&message, &offer, &handover, &why));
        client_script_init(&script, &message, both + 2 - cases[i].count, cases[i].count, &offer,
                           &handover);
        CHECK_SLICE(cases[i].name, fill(&script, 512), cases[i].want);
    }
}

TEST(addresses_that_would_break_a_command_are_found)
{
    static const struct {
        struct slice address;
        bool is_clean, is_clean_utf8;
    } cases[] = {
        {SLICE(""), true, true},
        {SLICE("a@b"), true, true},
        {SLICE("\"a> b\"@c"), true, true},
        {SLICE("a\r\nRSET\r\n@b"), false, false},
        {SLICE("a\n@b"), false, false},
        {SLICE("a\0@b"), false, false},
        {SLICE("\xc3\xa4@b"), false, true},
        {SLICE("\xc3@b"), false, false},
        {SLICE("\xc3\xa4\r\n@b"), false, false},
        {SLICE("a\x7f@b"), false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice address = cases[i].address;
        CHECK_EQ(address.data, client_address_is_clean(address, false), cases[i].is_clean);
        CHECK_EQ(address.data, client_address_is_clean(address, true), cases[i].is_clean_utf8);
    }
}
