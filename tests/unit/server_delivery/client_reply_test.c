/* client_reply_test.c - replies of a next hop, each cut at every byte. */
#include "server/delivery/client_reply.h"

#include "tests/support/test.h"

struct seen {
    enum client_reply_status status; /* of the end: DONE, BROKEN, or MORE when there was none */
    unsigned lines;
    size_t taken;
};

/* Feeds `in` in two parts, as often as the parser asks for more. */
static struct seen feed(struct client_reply *reply, struct slice in, size_t cut)
{
    struct seen seen = {CLIENT_REPLY_MORE, 0, 0};
    client_reply_reset(reply);
    size_t ends[] = {cut, in.len};
    for (size_t part = 0; part < ARRAY_LEN(ends); part++) {
        while (seen.taken < ends[part]) {
            size_t taken = 0;
            struct slice rest = slice_of(in.data + seen.taken, ends[part] - seen.taken);
            seen.status = client_reply_feed(reply, rest, &taken);
            seen.taken += taken;
            if (seen.status == CLIENT_REPLY_LINE) seen.lines++;
            if (seen.status == CLIENT_REPLY_DONE || seen.status == CLIENT_REPLY_BROKEN) return seen;
            CHECK(taken > 0);
        }
    }
    if (seen.status == CLIENT_REPLY_LINE) seen.status = CLIENT_REPLY_MORE;
    return seen;
}

TEST(replies_read_the_same_at_every_cut)
{
    static const struct {
        const char *name;
        struct slice in;
        enum client_reply_status status;
        unsigned code;
        const char *text;
        size_t taken;
    } cases[] = {
        {"plain", SLICE("250 ok\r\n"), CLIENT_REPLY_DONE, 250, "250 ok", 8},
        {"without words", SLICE("250\r\n"), CLIENT_REPLY_DONE, 250, "250", 5},
        {"with an empty text", SLICE("250 \r\n"), CLIENT_REPLY_DONE, 250, "250 ", 6},
        {"lines", SLICE("550-5.1.1 no\r\n550-such\r\n550 user\r\n"), CLIENT_REPLY_DONE, 550,
         "550 5.1.1 no such user", 34},
        {"last line without words", SLICE("250-a\r\n250\r\n"), CLIENT_REPLY_DONE, 250, "250 a", 12},
        {"the next reply is left alone", SLICE("250 a\r\n354 b\r\n"), CLIENT_REPLY_DONE, 250,
         "250 a", 7},
        {"8-bit and control bytes are kept raw", SLICE("550 \xff\x1b[2J\r\n"), CLIENT_REPLY_DONE,
         550, "550 \xff\x1b[2J", 11},
        {"unfinished", SLICE("250 ok\r"), CLIENT_REPLY_MORE, 250, "250 ok", 7},
        {"mixed codes", SLICE("250-a\r\n550 b\r\n"), CLIENT_REPLY_BROKEN, 250, NULL, 11},
        {"code 999", SLICE("999 a\r\n"), CLIENT_REPLY_BROKEN, 0, NULL, 1},
        {"code 199", SLICE("199 a\r\n"), CLIENT_REPLY_BROKEN, 0, NULL, 1},
        {"code 600", SLICE("600 a\r\n"), CLIENT_REPLY_BROKEN, 0, NULL, 1},
        {"two digits", SLICE("25 a\r\n"), CLIENT_REPLY_BROKEN, 0, NULL, 3},
        {"four digits", SLICE("2500 a\r\n"), CLIENT_REPLY_BROKEN, 250, NULL, 4},
        {"no code", SLICE("hello\r\n"), CLIENT_REPLY_BROKEN, 0, NULL, 1},
        {"empty line", SLICE("\r\n"), CLIENT_REPLY_BROKEN, 0, NULL, 1},
        {"bare LF", SLICE("250 a\n"), CLIENT_REPLY_BROKEN, 250, NULL, 6},
        {"bare LF after the code", SLICE("250\n"), CLIENT_REPLY_BROKEN, 250, NULL, 4},
        {"bare CR", SLICE("250 a\rb\r\n"), CLIENT_REPLY_BROKEN, 250, NULL, 7},
        {"NUL", SLICE("250 a\0b\r\n"), CLIENT_REPLY_BROKEN, 250, NULL, 6},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].in.len; cut++) {
            struct client_reply reply;
            struct seen seen = feed(&reply, cases[i].in, cut);
            CHECK_EQ(cases[i].name, seen.status, cases[i].status);
            CHECK_EQ(cases[i].name, seen.taken, cases[i].taken);
            CHECK_EQ(cases[i].name, reply.code, cases[i].code);
            if (cases[i].text != NULL)
                CHECK_SLICE(cases[i].name, client_reply_text(&reply), cases[i].text);
        }
    }
}

TEST(each_line_is_shown_for_the_list_of_ehlo)
{
    struct slice in = SLICE("250-mx.example greets\r\n250-PIPELINING\r\n250 SIZE 1000\r\n");
    static const char *const want[] = {"mx.example greets", "PIPELINING", "SIZE 1000"};
    struct client_reply reply;
    client_reply_reset(&reply);
    size_t at = 0;
    for (unsigned line = 0; line < ARRAY_LEN(want); line++) {
        size_t taken = 0;
        enum client_reply_status status = client_reply_feed(&reply, slice_from(in, at), &taken);
        at += taken;
        CHECK_EQ(want[line], status, line < 2 ? CLIENT_REPLY_LINE : CLIENT_REPLY_DONE);
        CHECK_SLICE(want[line], client_reply_line(&reply), want[line]);
        client_reply_forget_text(&reply);
    }
    CHECK_EQ("all", at, in.len);
}

TEST(a_reply_has_at_most_so_many_lines)
{
    for (unsigned count = CLIENT_REPLY_LINES_MAX - 1; count <= CLIENT_REPLY_LINES_MAX; count++) {
        char text[16 * (CLIENT_REPLY_LINES_MAX + 1)];
        struct buf in = {text, 0, sizeof(text), false};
        for (unsigned i = 0; i < count; i++)
            buf_append_cstr(&in, "250-more\r\n");
        buf_append_cstr(&in, "250 done\r\n");
        struct client_reply reply;
        struct seen seen = feed(&reply, buf_slice(&in), 0);
        CHECK_EQ("status", seen.status,
                 count < CLIENT_REPLY_LINES_MAX ? CLIENT_REPLY_DONE : CLIENT_REPLY_BROKEN);
        CHECK(client_reply_text(&reply).len <= MESSAGE_REPLY_BYTES_MAX);
    }
}

TEST(a_line_has_at_most_so_many_bytes_and_its_front_is_kept)
{
    for (size_t bytes = CLIENT_REPLY_LINE_BYTES_MAX; bytes <= CLIENT_REPLY_LINE_BYTES_MAX + 1;
         bytes++) {
        char text[CLIENT_REPLY_LINE_BYTES_MAX + 1];
        memset(text, 'x', sizeof(text));
        memcpy(text, "550 ", 4);
        memcpy(text + bytes - 2, "\r\n", 2);
        struct client_reply reply;
        struct seen seen = feed(&reply, slice_of(text, bytes), 17);
        CHECK_EQ("status", seen.status,
                 bytes <= CLIENT_REPLY_LINE_BYTES_MAX ? CLIENT_REPLY_DONE : CLIENT_REPLY_BROKEN);
        CHECK_EQ("kept", client_reply_text(&reply).len, MESSAGE_REPLY_BYTES_MAX);
    }
}
