/* ledger.h - the books of both ends, as text files that are only appended to.
 *
 * The load's, a line a message, when its fate is known:
 *
 *     ID DIGEST SIZE STATUS RECIPIENTS
 *     0f1e2d3c4b5a6978-000000000042 89abcdef01234567 3587 250 0000000000000001
 *
 * STATUS is the code of the reply, or "lost" when none came. SIZE counts the body. RECIPIENTS is
 * the set of recipients that were answered with 250 (mark_recipient_bit). The sink's, a line a
 * copy:
 *
 *     ID DIGEST ok|altered RECIPIENTS
 *
 * Lines are whole or, at the very end of a file whose writer was killed, cut. */
#pragma once

#include "bench/mark.h"

#define LEDGER_LOST 0 /* status: no reply came */
#define LEDGER_BUFFER_BYTES 65536
#define LEDGER_LINE_BYTES_MAX 128

struct ledger_sent {
    struct message_id id;
    uint64_t digest, body_bytes, recipients;
    unsigned status; /* 200 to 599, or LEDGER_LOST */
};

struct ledger_received {
    struct message_id id;
    uint64_t digest, recipients;
    bool is_altered;
};

struct ledger;

/* Opens for appending; -ERR_*. */
MUST_USE int ledger_open(const char *path, struct ledger **ledger_out);
/* Writes what waits. NULL is allowed. */
void ledger_close(struct ledger *ledger);
void ledger_add_sent(struct ledger *ledger, const struct ledger_sent *line);
void ledger_add_received(struct ledger *ledger, const struct ledger_received *line);
/* Hands the lines to the kernel, so that they outlive this process. A book that cannot be written
 * proves nothing: then the process ends with one line. */
void ledger_flush(struct ledger *ledger);

/* The line without its newline. */
bool ledger_parse_sent(struct slice line, struct ledger_sent *out);
bool ledger_parse_received(struct slice line, struct ledger_received *out);
/* Shows each whole line of a file; a last line without its newline is passed over. -ERR_*. */
MUST_USE int ledger_read(const char *path, void (*on_line)(void *owner, struct slice line),
                         void *owner);
