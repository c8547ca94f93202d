/* command.h - command lines: cutting them out of the input, and their verbs (RFC
 * 5321 4.1.1, 2.3.8).
 *
 * Only CRLF ends a line. A CR or LF that stands alone makes the whole line, up to the CRLF, bad:
 * what follows a bare LF is never read as a command of its own. */
#pragma once

#include "ring/base/slice.h"

#define COMMAND_LINE_BYTES_MAX 4096 /* RFC 5321 4.5.3.1.4 asks for 512 and more for extensions */
#define COMMAND_ENDLESS_BYTES_MAX 65536 /* this much without a CRLF ends the session */

enum line_status {
    LINE_MORE,     /* no CRLF yet; *taken_out is 0: keep the bytes and ask again with more */
    LINE_OK,       /* *line_out is the line without its CRLF */
    LINE_BAD,      /* it holds a bare CR or LF, or begins with a NUL: 500 5.5.2 */
    LINE_NUL,      /* it holds a NUL further on: 501 5.5.2 */
    LINE_TOO_LONG, /* it is longer than the limit and ends here: 500 5.5.2 */
    LINE_SKIPPED,  /* part of a line that is too long was taken; its end has not come */
};

/* Cuts lines out of a stream. `skipped` counts the bytes of the current line that were already
 * dropped because it is too long. Zero-initialised at the start of a stream. */
struct line_reader {
    uint32_t skipped;
};

/* Looks for the first line in `in`. Always sets *taken_out, the bytes of `in` that are used up
 * (CRLF included). `*line_out` points into `in`. */
enum line_status line_read(struct line_reader *reader, struct slice in, struct slice *line_out,
                           size_t *taken_out);

enum verb {
    VERB_UNKNOWN,
    VERB_EHLO,
    VERB_HELO,
    VERB_MAIL,
    VERB_RCPT,
    VERB_DATA,
    VERB_BDAT,
    VERB_RSET,
    VERB_NOOP,
    VERB_VRFY,
    VERB_EXPN,
    VERB_HELP,
    VERB_QUIT,
    VERB_STARTTLS,
    VERB_AUTH,
    VERB_XCLIENT,
    VERB_XFORWARD,
    VERB_HTTP,   /* GET, POST, CONNECT, ...: a browser or an attack (ALPACA) */
    VERB_HEADER, /* "Name: value" where a command should be: a body sent as commands */
    VERB_COUNT,
};

struct command {
    enum verb verb;
    /* After the verb, without the blanks around. For MAIL and RCPT: what follows "FROM:" / "TO:"
     * (has_keyword tells whether that was there). */
    struct slice args;
    bool has_keyword;
};

/* `line` is without CRLF. Verbs in any case; a leading blank makes it unknown; trailing blanks are
 * dropped. */
struct command command_parse(struct slice line);
/* "EHLO" ...; static. */
const char *verb_name(enum verb verb);
