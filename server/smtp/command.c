/* command.c - lines out of the stream, and the verb of a line. */
#include "server/smtp/command.h"

struct word {
    struct slice text;
    enum verb verb;
};

static const struct word verbs[] = {
    {{"MAIL", 4}, VERB_MAIL},         {{"RCPT", 4}, VERB_RCPT}, {{"DATA", 4}, VERB_DATA},
    {{"EHLO", 4}, VERB_EHLO},         {{"HELO", 4}, VERB_HELO}, {{"QUIT", 4}, VERB_QUIT},
    {{"RSET", 4}, VERB_RSET},         {{"NOOP", 4}, VERB_NOOP}, {{"BDAT", 4}, VERB_BDAT},
    {{"STARTTLS", 8}, VERB_STARTTLS}, {{"AUTH", 4}, VERB_AUTH}, {{"VRFY", 4}, VERB_VRFY},
    {{"EXPN", 4}, VERB_EXPN},         {{"HELP", 4}, VERB_HELP}, {{"XCLIENT", 7}, VERB_XCLIENT},
    {{"XFORWARD", 8}, VERB_XFORWARD},
};

/* PRI is the first word of an HTTP/2 connection. */
static const struct slice http_methods[] = {
    {"GET", 3},     {"POST", 4},   {"PUT", 3},   {"HEAD", 4}, {"OPTIONS", 7},
    {"CONNECT", 7}, {"DELETE", 6}, {"PATCH", 5}, {"PRI", 3},  {"TRACE", 5},
};

static const char *const verb_names[VERB_COUNT] = {
    [VERB_UNKNOWN] = "UNKNOWN",   [VERB_EHLO] = "EHLO",     [VERB_HELO] = "HELO",
    [VERB_MAIL] = "MAIL",         [VERB_RCPT] = "RCPT",     [VERB_DATA] = "DATA",
    [VERB_BDAT] = "BDAT",         [VERB_RSET] = "RSET",     [VERB_NOOP] = "NOOP",
    [VERB_VRFY] = "VRFY",         [VERB_EXPN] = "EXPN",     [VERB_HELP] = "HELP",
    [VERB_QUIT] = "QUIT",         [VERB_AUTH] = "AUTH",     [VERB_HTTP] = "HTTP",
    [VERB_STARTTLS] = "STARTTLS", [VERB_HEADER] = "HEADER", [VERB_XCLIENT] = "XCLIENT",
    [VERB_XFORWARD] = "XFORWARD",
};

/* The bytes up to and with the first CRLF; 0: there is none. */
static size_t line_bytes(struct slice in, bool *has_bare_lf_out)
{
    *has_bare_lf_out = false;
    size_t at = 0;
    while (at < in.len) {
        const char *lf = memchr(in.data + at, '\n', in.len - at);
        if (lf == NULL) return 0;
        at = (size_t)(lf - in.data) + 1;
        if (at >= 2 && lf[-1] == '\r') return at;
        *has_bare_lf_out = true;
    }
    return 0;
}

/* Drops a part of a line that is too long. A CR at its end stays: its LF may come next. */
static enum line_status line_skip(struct line_reader *reader, struct slice in, size_t *taken_out)
{
    size_t taken = in.len;
    if (taken > 0 && in.data[taken - 1] == '\r') taken--;
    *taken_out = taken;
    reader->skipped = (uint32_t)MIN((uint64_t)reader->skipped + taken, UINT32_MAX);
    return taken == 0 ? LINE_MORE : LINE_SKIPPED;
}

enum line_status line_read(struct line_reader *reader, struct slice in, struct slice *line_out,
                           size_t *taken_out)
{
    bool has_bare_lf;
    size_t bytes = line_bytes(in, &has_bare_lf);
    *line_out = slice_of(in.data, 0);
    *taken_out = bytes;
    if (bytes == 0) {
        if (reader->skipped == 0 && in.len < COMMAND_LINE_BYTES_MAX) return LINE_MORE;
        return line_skip(reader, in, taken_out);
    }
    if (reader->skipped > 0 || bytes > COMMAND_LINE_BYTES_MAX) {
        reader->skipped = 0;
        return LINE_TOO_LONG;
    }

    size_t len = bytes - 2;
    *line_out = slice_of(in.data, len);
    if (has_bare_lf || memchr(in.data, '\r', len) != NULL) return LINE_BAD;
    if (memchr(in.data, '\0', len) == NULL) return LINE_OK;
    /* A NUL in front is no argument gone wrong: it is what a misjudged end of data leaves over. */
    return in.data[0] == '\0' ? LINE_BAD : LINE_NUL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "Name:..." with the name of a header field (RFC 5322 3.6.8). */
static bool is_header(struct slice line)
{
    size_t at = 0;
    while (at < line.len && line.data[at] > ' ' && line.data[at] <= '~' && line.data[at] != ':') {
        at++;
    }
    return at > 0 && at < line.len && line.data[at] == ':';
}

static bool is_http_target(struct slice args)
{
    if (args.len == 0) return false;
    if (args.data[0] == '/') return true;
    if (args.data[0] == '*' && (args.len == 1 || is_blank(args.data[1]))) return true;
    return memmem(args.data, args.len, " HTTP/", 6) != NULL;
}

static enum verb word_verb(struct slice word, struct slice args)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (slice_eq_nocase(word, verbs[i].text)) return verbs[i].verb;
    }
    for (size_t i = 0; i < ARRAY_LEN(http_methods); i++) {
        if (slice_eq_nocase(word, http_methods[i]) && is_http_target(args)) return VERB_HTTP;
    }
    return VERB_UNKNOWN;
}

/* Takes "FROM:" or "TO:" off the arguments. */
static void take_keyword(struct command *command, struct slice keyword)
{
    if (!slice_starts_with_nocase(command->args, keyword)) return;
    command->has_keyword = true;
    command->args = slice_trim(slice_from(command->args, keyword.len));
}

struct command command_parse(struct slice line)
{
    size_t word_len = 0;
    while (word_len < line.len && !is_blank(line.data[word_len])) {
        word_len++;
    }
    struct command command = {.args = slice_trim(slice_from(line, word_len))};
    command.verb = word_verb(slice_of(line.data, word_len), command.args);
    if (command.verb == VERB_UNKNOWN && is_header(line)) command.verb = VERB_HEADER;
    if (command.verb == VERB_MAIL) take_keyword(&command, SLICE("FROM:"));
    if (command.verb == VERB_RCPT) take_keyword(&command, SLICE("TO:"));
    return command;
}

const char *verb_name(enum verb verb)
{
    ASSERT(verb < VERB_COUNT);
    ASSERT(verb_names[verb] != NULL);
    return verb_names[verb];
}
