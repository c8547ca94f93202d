#include "server/smtp/header.h"
#include "tests/support/test.h"

TEST(header_counts_received_fields_at_every_cut)
{
    static const struct {
        const char *name, *in;
        uint32_t received;
        bool is_over;
        const char *body; /* what follows the empty line */
    } cases[] = {
        {"none", "Subject: a\r\n\r\nb", 0, true, "b"},
        {"one", "Received: a\r\n\r\n", 1, true, ""},
        {"any case", "RECEIVED: a\r\nreceived:b\r\nrEcEiVeD: c\r\n\r\n", 3, true, ""},
        {"folded lines", "Received: a\r\n Received: b\r\n\tReceived: c\r\n\r\n", 1, true, ""},
        {"not only a prefix", "Received-SPF: a\r\nReceive: b\r\nXReceived: c\r\n\r\n", 0, true, ""},
        {"in the body", "A: b\r\n\r\nReceived: c\r\nReceived: d\r\n", 0, true,
         "Received: c\r\nReceived: d\r\n"},
        {"inside a line", "A: Received: b\r\n\r\n", 0, true, ""},
        {"without a header", "\r\nReceived: a\r\n", 0, true, "Received: a\r\n"},
        {"bare LFs end lines", "Received: a\nReceived: b\n\nReceived: c\n", 2, true,
         "Received: c\n"},
        {"bare CRs do not", "A: b\rReceived: c\r\r\rReceived: d\r\n\r\n", 0, true, ""},
        {"CR at the start of a line", "\rReceived: c\r\nReceived: d\r\n", 1, false, ""},
        {"cut short", "Received: a\r\nRecei\r\nved: b\r\n", 1, false, ""},
        {"empty", "", 0, false, ""},
        {"no colon yet", "Received", 0, false, ""},
        {"blanks before the colon", "Received : a\r\nReceived\t \t: b\r\n\r\n", 2, true, ""},
        {"blanks and no colon", "Received a: b\r\nReceived \r\n:\r\n\r\n", 0, true, ""},
        {"letters of others", "Daceived: a\r\nMeceived: b\r\n\r\n", 0, true, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_of_cstr(cases[i].in);
        for (size_t cut = 0; cut <= in.len; cut++) {
            struct header_scanner h;
            header_init(&h);
            header_scan(&h, slice_of(in.data, cut));
            header_scan(&h, slice_from(in, cut));
            CHECK_EQ(cases[i].name, h.received_count, cases[i].received);
            CHECK_EQ(cases[i].name, h.is_over, cases[i].is_over);
            CHECK_EQ(cases[i].name, h.bytes, in.len - strlen(cases[i].body));
        }
    }
}

TEST(header_counts_past_every_limit)
{
    struct header_scanner h;
    header_init(&h);
    for (uint32_t i = 0; i < 2 * HEADER_RECEIVED_MAX; i++) {
        header_scan(&h, SLICE("Received: from a by b; c\r\n\tfolded\r\n"));
    }
    CHECK_EQ("fields", h.received_count, 2 * HEADER_RECEIVED_MAX);
    for (size_t i = 0; i < HEADER_BYTES_MAX / 64 + 1; i++) {
        header_scan(&h,
                    SLICE("X-0123456789-0123456789-0123456789-0123456789-0123456789-01: a\r\n"));
    }
    CHECK(h.bytes > HEADER_BYTES_MAX);
    CHECK(!h.is_over);
    h.bytes = UINT32_MAX - 2;
    header_scan(&h, SLICE("A: does not wrap\r\n"));
    CHECK_EQ("bytes", h.bytes, UINT32_MAX);
}

TEST(header_knows_what_it_has_at_every_cut)
{
    static const struct {
        const char *in;
        bool has_date, has_message_id, has_8bit;
    } cases[] = {
        {"Date: a\r\n\r\n", true, false, false},
        {"dAtE : a\r\n\r\n", true, false, false},
        {"Message-ID:\r\n\r\n", false, true, false},
        {"X: y\r\nMESSAGE-id\t: <a@b>\r\nDATE:\r\n\r\n", true, true, false},
        {"Dates: a\r\nMessage-IDs: b\r\nMessage_ID: c\r\nDat: d\r\n\r\n", false, false, false},
        {"Resent-Date: a\r\nX-Message-ID: b\r\n Date: c\r\n\r\n", false, false, false},
        {"X: y\r\n\r\nDate: a\r\nMessage-ID: b\r\n\xff", false, false, false},
        {"Date: a", true, false, false},
        {"Date", false, false, false},
        {"X: 0123456789012345678901234567890123456789\xc3\xa4\r\n\r\n", false, false, true},
        {"X\xff: y\r\nDate: a\r\n\r\nbody", true, false, true},
        {"\r\n\xff\r\n\r\n", false, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_of_cstr(cases[i].in);
        for (size_t cut = 0; cut <= in.len; cut++) {
            struct header_scanner h;
            header_init(&h);
            header_scan(&h, slice_of(in.data, cut));
            header_scan(&h, slice_from(in, cut));
            CHECK_EQ(cases[i].in, h.has_date, cases[i].has_date);
            CHECK_EQ(cases[i].in, h.has_message_id, cases[i].has_message_id);
            CHECK_EQ(cases[i].in, h.has_8bit, cases[i].has_8bit);
        }
    }
}

TEST(header_finds_every_8bit_byte)
{
    char bytes[100];
    for (size_t len = 1; len <= sizeof(bytes); len++) {
        for (size_t at = 0; at < len; at++) {
            struct header_scanner h;
            memset(bytes, 'x', sizeof(bytes));
            bytes[at] = (char)(0x80 + at);
            header_init(&h);
            header_scan(&h, slice_of(bytes, at));
            CHECK(!h.has_8bit);
            header_scan(&h, slice_of(bytes + at, len - at));
            CHECK(h.has_8bit);
        }
    }
}

/* 31 bytes, and one more. */
#define LONG_NAME "X-234567890123456789012345678901"
#define LONG_WORD "0123456789012345678901234567890/"

static const struct {
    const char *in;
    bool is_stuffed;
    enum header_line kind; /* of the whole line; every shorter front is that or unknown */
} lines[] = {
    {"Subject: a", false, HEADER_LINE_INSIDE},
    {"Subject \t : a", false, HEADER_LINE_INSIDE},
    {"X:", false, HEADER_LINE_INSIDE},
    {" a", false, HEADER_LINE_INSIDE},
    {"\ta", false, HEADER_LINE_INSIDE},
    {"\r\n", false, HEADER_LINE_END},
    {"\n", false, HEADER_LINE_END},
    {"\ra", false, HEADER_LINE_INSIDE},
    {"\r\r\n", false, HEADER_LINE_INSIDE},
    {": a", false, HEADER_LINE_END},
    {"Hello you", false, HEADER_LINE_END},
    {"Hello\r\n", false, HEADER_LINE_END},
    {"From a@b Mon", false, HEADER_LINE_END},
    {"F\xf6o: a", false, HEADER_LINE_END},
    {"X\x7f: a", false, HEADER_LINE_END},
    {"X\x01: a", false, HEADER_LINE_END},
    {LONG_NAME, false, HEADER_LINE_INSIDE},
    {LONG_WORD, false, HEADER_LINE_INSIDE},
    {".X: a", false, HEADER_LINE_INSIDE},
    {".\r\n", false, HEADER_LINE_END},
    {".\r\n", true, HEADER_LINE_END},
    {".\n", true, HEADER_LINE_END},
    {".\ra", true, HEADER_LINE_INSIDE},
    {"..\r\n", true, HEADER_LINE_END},
    {". a", true, HEADER_LINE_INSIDE},
    {".X: a", true, HEADER_LINE_INSIDE},
    {"Subject", false, HEADER_LINE_UNKNOWN},
    {"Subject ", false, HEADER_LINE_UNKNOWN},
    {"\r", false, HEADER_LINE_UNKNOWN},
    {".", true, HEADER_LINE_UNKNOWN},
    {".\r", true, HEADER_LINE_UNKNOWN},
    {"", false, HEADER_LINE_UNKNOWN},
};

TEST(header_line_is_told_from_its_front)
{
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct slice in = slice_of_cstr(lines[i].in);
        bool is_decided = false;
        CHECK_EQ(lines[i].in, header_line_of(in, lines[i].is_stuffed), lines[i].kind);
        for (size_t len = 0; len < in.len; len++) {
            enum header_line kind = header_line_of(slice_of(in.data, len), lines[i].is_stuffed);
            if (kind != HEADER_LINE_UNKNOWN) is_decided = true;
            CHECK(kind == (is_decided ? lines[i].kind : HEADER_LINE_UNKNOWN));
        }
    }
    CHECK_EQ("31 bytes of a name", header_line_of(slice_of(LONG_NAME, 31), false),
             HEADER_LINE_UNKNOWN);
    CHECK_EQ("all that is looked at", strlen(LONG_NAME), HEADER_LOOK_BYTES_MAX);
}

/* Takes `in` in two pieces as a receiver does, which asks first and keeps back what is undecided.
 * Returns where the section ends, or SIZE_MAX when that is not known in the end. */
static size_t end_of(struct slice in, size_t cut, bool is_stuffed)
{
    struct header_scanner h;
    size_t at = 0;
    header_init(&h);
    for (size_t piece = 0; piece < 2; piece++) {
        size_t to = piece == 0 ? cut : in.len, inside = 1;
        bool is_end = false;
        while (at < to && inside > 0 && !is_end) {
            inside = header_inside(&h, slice_of(in.data + at, to - at), is_stuffed, &is_end);
            header_scan(&h, slice_of(in.data + at, inside));
            at += inside;
        }
        CHECK(to - at < HEADER_LOOK_BYTES_MAX || is_end);
        if (is_end) return at;
    }
    return SIZE_MAX;
}

TEST(header_inside_ends_in_front_of_the_end_at_every_cut)
{
    static const struct {
        const char *section, *rest;
        bool is_stuffed, is_end;
    } cases[] = {
        {"Subject: a\r\nX: b\r\n c\r\n", "\r\nbody: c\r\n\r\n", false, true},
        {"", "\r\nbody", false, true},
        {"", "Hello you\r\nDate: a\r\n\r\n", false, true},
        {"X: a\r\n", "no field\r\n\r\n", false, true},
        {"X: a\r\n", ".\r\n", true, true},
        {"", ".\r\n", true, true},
        {"X: a\r\n.Y: b\r\n", "..\r\n\r\n", true, true},
        {"X: a\n", "\nbody", false, true},
        {"X: a\r\n\rb\r\n", "\r\n", false, true},
        {" a\r\n" LONG_WORD "a\r\n", "\r\n", false, true},
        {"X: a\r\nY: 0123456789", "", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char bytes[256];
        struct buf in = {bytes, 0, sizeof(bytes), false};
        buf_append_cstr(&in, cases[i].section);
        buf_append_cstr(&in, cases[i].rest);
        size_t want = cases[i].is_end ? strlen(cases[i].section) : SIZE_MAX;
        for (size_t cut = 0; cut <= in.len; cut++)
            CHECK_EQ(cases[i].section, end_of(buf_slice(&in), cut, cases[i].is_stuffed), want);
    }
}
