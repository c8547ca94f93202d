#include "server/smtp/command.h"
#include "tests/support/test.h"

#define BYTES(literal)                                                                             \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

/* Reads all lines of `in`, `cut` bytes of which come first; writes one letter a line to `out`,
 * then what is left over. Keeps what is not taken, as a session does. */
static void read_all(struct slice in, size_t cut, struct buf *out)
{
    static const char letters[] = {
        [LINE_OK] = 'o', [LINE_BAD] = 'b', [LINE_NUL] = 'n', [LINE_TOO_LONG] = 'l'};
    struct line_reader reader = {0};
    size_t at = 0, end = cut;
    for (;;) {
        struct slice line;
        size_t taken;
        enum line_status status =
            line_read(&reader, slice_of(in.data + at, end - at), &line, &taken);
        CHECK(taken <= end - at);
        at += taken;
        if (status == LINE_MORE || status == LINE_SKIPPED) {
            CHECK((taken == 0) == (status == LINE_MORE));
            if (end == in.len) break;
            end = in.len;
            continue;
        }
        buf_append_char(out, letters[status]);
        if (status == LINE_OK) {
            buf_append_char(out, '(');
            buf_append_slice(out, line);
            buf_append_char(out, ')');
        }
    }
    CHECK(reader.skipped > 0 || buf_append_slice(out, slice_from(in, at)));
}

TEST(line_read_ends_lines_only_at_crlf_at_every_cut)
{
    static const struct {
        const char *name;
        struct slice in;
        const char *want;
    } cases[] = {
        {"one line", BYTES("NOOP\r\n"), "o(NOOP)"},
        {"two lines", BYTES("RSET\r\nQUIT\r\n"), "o(RSET)o(QUIT)"},
        {"an empty line", BYTES("\r\n\r\n"), "o()o()"},
        {"not ended", BYTES("QUIT"), "QUIT"},
        {"not ended after CR", BYTES("QUIT\r"), "QUIT\r"},
        {"E25 a command behind a bare LF", BYTES("EHLO x\nMAIL FROM:<a@b>\r\nQUIT\r\n"),
         "bo(QUIT)"},
        {"E26 bare CR", BYTES("EHLO\rx\r\nQUIT\r\n"), "bo(QUIT)"},
        {"E26 CR CRLF", BYTES("QUIT\r\r\n"), "b"},
        {"E27 bare LF alone", BYTES("DATA\n"), "DATA\n"},
        {"E27 and what comes next", BYTES("DATA\nFrom: a\r\n.\r\n"), "bo(.)"},
        {"LF CRLF", BYTES("\n\r\n"), "b"},
        {"LF CR LF LF", BYTES("\n\r\n\n\r\n"), "bb"},
        {"C4 NUL", BYTES("MAIL FROM:<a\0@b>\r\nQUIT\r\n"), "no(QUIT)"},
        {"NUL before CRLF", BYTES("QUIT\0\r\n"), "n"},
        {"E16 NUL in front", BYTES("\0QUIT\r\n"), "b"},
        {"NUL and bare LF", BYTES("a\0\nb\r\n"), "b"},
        {"NUL between CR and LF", BYTES("a\r\0\nb\r\n"), "b"},
        {"8-bit bytes are let pass", BYTES("\xff\xfe\r\n"), "o(\xff\xfe)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].in.len; cut++) {
            char bytes[256];
            struct buf out = {bytes, 0, sizeof(bytes), false};
            read_all(cases[i].in, cut, &out);
            CHECK_BUF(cases[i].name, out, cases[i].want);
        }
    }
}

TEST(line_read_limits_the_line)
{
    static char in[COMMAND_LINE_BYTES_MAX + 16];
    for (size_t len = COMMAND_LINE_BYTES_MAX - 4; len <= COMMAND_LINE_BYTES_MAX + 4; len++) {
        memset(in, 'a', sizeof(in));
        memcpy(in + len - 2, "\r\n", 2);
        memcpy(in + len, "QUIT\r\n", 6);
        for (size_t cut = len - 12; cut <= len + 6; cut++) {
            static char bytes[COMMAND_LINE_BYTES_MAX + 64];
            struct buf out = {bytes, 0, sizeof(bytes), false};
            read_all(slice_of(in, len + 6), cut, &out);
            bool is_long = len > COMMAND_LINE_BYTES_MAX;
            CHECK_EQ("first", bytes[0], is_long ? 'l' : 'o');
            CHECK_EQ("length", out.len, is_long ? 1 + 7 : 3 + len - 2 + 7);
            CHECK_SLICE("next", slice_of(bytes + out.len - 7, 7), "o(QUIT)");
        }
    }
}

/* C2: a line of 8 KiB costs one 500 and no more; the session goes on behind its CRLF. */
TEST(line_read_drops_a_long_line_piece_by_piece)
{
    static const size_t pieces[] = {1, 2, 3, 7, 100, 1460, 4095, 4096, 5000, 8192, 9000};
    enum { LINE = 8192 };
    static char in[LINE + 6];
    memset(in, 'a', LINE);
    in[5000] = '\r'; /* bare ones do not end the dropping */
    in[6000] = '\n';
    memcpy(in + LINE - 2, "\r\n", 2);
    memcpy(in + LINE, "QUIT\r\n", 6);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct line_reader reader = {0};
        struct slice line;
        size_t at = 0, end = 0, taken, held_max = 0;
        enum line_status status;
        do {
            end = MIN(end + pieces[i], sizeof(in));
            status = line_read(&reader, slice_of(in + at, end - at), &line, &taken);
            at += taken;
            held_max = MAX(held_max, end - at);
        } while (status == LINE_MORE || status == LINE_SKIPPED);
        CHECK_EQ("status", status, LINE_TOO_LONG);
        CHECK_EQ("taken", at, LINE);
        CHECK_EQ("skipped", reader.skipped, 0);
        CHECK(held_max < COMMAND_LINE_BYTES_MAX || pieces[i] >= sizeof(in));
        status = line_read(&reader, slice_of(in + at, sizeof(in) - at), &line, &taken);
        CHECK_EQ("next", status, LINE_OK);
        CHECK_SLICE("next", line, "QUIT");
    }
}

/* C3: the session sees from `skipped` that a line never ends; memory stays as it is. */
TEST(line_read_counts_an_endless_line)
{
    static char in[COMMAND_LINE_BYTES_MAX];
    memset(in, 'a', sizeof(in));
    struct line_reader reader = {0};
    struct slice line;
    size_t taken;
    for (size_t sent = 0; sent < COMMAND_ENDLESS_BYTES_MAX; sent += sizeof(in)) {
        CHECK_EQ("status", line_read(&reader, slice_of(in, sizeof(in)), &line, &taken),
                 LINE_SKIPPED);
        CHECK_EQ("taken", taken, sizeof(in));
    }
    CHECK_EQ("skipped", reader.skipped, COMMAND_ENDLESS_BYTES_MAX);
    reader.skipped = UINT32_MAX - 5;
    line_read(&reader, slice_of(in, sizeof(in)), &line, &taken);
    CHECK_EQ("does not wrap", reader.skipped, UINT32_MAX);
}

TEST(command_parse_finds_verb_and_arguments)
{
    static const struct {
        const char *line;
        enum verb verb;
        const char *args;
        bool has_keyword;
    } cases[] = {
        {"EHLO a.example", VERB_EHLO, "a.example", false},
        {"ehlo a.example  ", VERB_EHLO, "a.example", false},
        {"eHlO\ta", VERB_EHLO, "a", false},
        {"EHLO", VERB_EHLO, "", false},
        {"HELO a b", VERB_HELO, "a b", false},
        {"MAIL FROM:<a@b>", VERB_MAIL, "<a@b>", true},
        {"mail from:<a@b> SIZE=1 ", VERB_MAIL, "<a@b> SIZE=1", true},
        {"MAIL FROM: <a@b>", VERB_MAIL, "<a@b>", true},
        {"MAIL  FROM:<a@b>", VERB_MAIL, "<a@b>", true},
        {"MAIL FROM <a@b>", VERB_MAIL, "FROM <a@b>", false},
        {"MAIL FROM : <a@b>", VERB_MAIL, "FROM : <a@b>", false},
        {"MAIL TO:<a@b>", VERB_MAIL, "TO:<a@b>", false},
        {"MAIL <a@b>", VERB_MAIL, "<a@b>", false},
        {"MAIL FROM:", VERB_MAIL, "", true},
        {"MAIL", VERB_MAIL, "", false},
        {"RCPT TO:<a@b>", VERB_RCPT, "<a@b>", true},
        {"RCPT To: <a@b> NOTIFY=NEVER", VERB_RCPT, "<a@b> NOTIFY=NEVER", true},
        {"RCPT FROM:<a@b>", VERB_RCPT, "FROM:<a@b>", false},
        {"DATA", VERB_DATA, "", false},
        {"DATA x", VERB_DATA, "x", false},
        {"BDAT 12 LAST", VERB_BDAT, "12 LAST", false},
        {"RSET", VERB_RSET, "", false},
        {"NOOP anything", VERB_NOOP, "anything", false},
        {"VRFY a", VERB_VRFY, "a", false},
        {"EXPN a", VERB_EXPN, "a", false},
        {"HELP", VERB_HELP, "", false},
        {"QUIT ", VERB_QUIT, "", false},
        {"STARTTLS", VERB_STARTTLS, "", false},
        {"starttls x", VERB_STARTTLS, "x", false},
        {"AUTH PLAIN AAA=", VERB_AUTH, "PLAIN AAA=", false},
        {"", VERB_UNKNOWN, "", false},
        {" ", VERB_UNKNOWN, "", false},
        {" NOOP", VERB_UNKNOWN, "NOOP", false},
        {"\tNOOP", VERB_UNKNOWN, "NOOP", false},
        {" Subject: a", VERB_UNKNOWN, "Subject: a", false},
        {"NOO", VERB_UNKNOWN, "", false},
        {"NOOPS", VERB_UNKNOWN, "", false},
        {"MAILFROM:<a@b>", VERB_HEADER, "", false},
        {"XYZZY", VERB_UNKNOWN, "", false},
        {"xclient ADDR=192.0.2.1 PORT=25", VERB_XCLIENT, "ADDR=192.0.2.1 PORT=25", false},
        {"XFORWARD NAME=a ", VERB_XFORWARD, "NAME=a", false},
        {"XCLIENTS a", VERB_UNKNOWN, "a", false},
        {"\xc5MAIL FROM:<a@b>", VERB_UNKNOWN, "FROM:<a@b>", false},
        {"GET / HTTP/1.1", VERB_HTTP, "/ HTTP/1.1", false},
        {"GET /", VERB_HTTP, "/", false},
        {"get /", VERB_HTTP, "/", false},
        {"GET http://a/ HTTP/1.0", VERB_HTTP, "http://a/ HTTP/1.0", false},
        {"GET", VERB_UNKNOWN, "", false},
        {"GET well", VERB_UNKNOWN, "well", false},
        {"POST /x HTTP/1.1", VERB_HTTP, "/x HTTP/1.1", false},
        {"PUT / HTTP/1.1", VERB_HTTP, "/ HTTP/1.1", false},
        {"HEAD / HTTP/1.1", VERB_HTTP, "/ HTTP/1.1", false},
        {"DELETE /a", VERB_HTTP, "/a", false},
        {"PATCH /a", VERB_HTTP, "/a", false},
        {"TRACE / HTTP/1.1", VERB_HTTP, "/ HTTP/1.1", false},
        {"OPTIONS * HTTP/1.1", VERB_HTTP, "* HTTP/1.1", false},
        {"OPTIONS *", VERB_HTTP, "*", false},
        {"OPTIONS *x", VERB_UNKNOWN, "*x", false},
        {"PRI * HTTP/2.0", VERB_HTTP, "* HTTP/2.0", false},
        {"CONNECT a.example:25 HTTP/1.1", VERB_HTTP, "a.example:25 HTTP/1.1", false},
        {"Subject: hello", VERB_HEADER, "hello", false},
        {"Host:a", VERB_HEADER, "", false},
        {"X-Y:", VERB_HEADER, "", false},
        {"MAIL:<a@b>", VERB_HEADER, "", false},
        {": a", VERB_UNKNOWN, "a", false},
        {"Not a: header", VERB_UNKNOWN, "a: header", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct command got = command_parse(slice_of_cstr(cases[i].line));
        CHECK_EQ(cases[i].line, got.verb, cases[i].verb);
        CHECK_EQ(cases[i].line, got.has_keyword, cases[i].has_keyword);
        CHECK_SLICE(cases[i].line, got.args, cases[i].args);
    }
}

TEST(command_parse_survives_every_cut)
{
    const char *line = "MAIL FROM:<a@b> SIZE=1";
    for (size_t cut = 0; cut <= strlen(line); cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, line, cut);
        struct command got = command_parse(slice_of(exact, cut));
        CHECK_EQ(line, got.verb, cut >= 4 ? VERB_MAIL : VERB_UNKNOWN);
        CHECK_EQ(line, got.has_keyword, cut >= 10);
        free(exact);
    }
}

TEST(verb_names_are_those_that_parse)
{
    for (enum verb verb = VERB_EHLO; verb <= VERB_XFORWARD; verb++) {
        CHECK_EQ(verb_name(verb), command_parse(slice_of_cstr(verb_name(verb))).verb, verb);
    }
    CHECK_SLICE("unknown", slice_of_cstr(verb_name(VERB_UNKNOWN)), "UNKNOWN");
}
