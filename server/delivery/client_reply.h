/* client_reply.h - reads the replies of a next hop out of a stream (RFC 5321 4.2).
 *
 *     Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP [ textstring ] ] CRLF
 *
 * Strict, since what does not fit means that the two sides no longer talk about the same thing: a
 * bare CR or LF, a NUL, a code outside of 200-599 or one that changes between lines, a line or a
 * reply without end are all CLIENT_REPLY_BROKEN. Constant memory; any split of the input. */
#pragma once

#include "store/message.h"

#define CLIENT_REPLY_LINES_MAX 100
#define CLIENT_REPLY_LINE_BYTES_MAX 2048 /* RFC 5321 4.5.3.1.5 says 512; some servers send more */

enum client_reply_status {
    CLIENT_REPLY_MORE,   /* all input is taken, and the reply goes on */
    CLIENT_REPLY_LINE,   /* one line has ended, and others of the same reply follow */
    CLIENT_REPLY_DONE,   /* the last line has ended */
    CLIENT_REPLY_BROKEN, /* a protocol error: nothing that follows can be trusted */
};

struct client_reply {
    uint16_t code; /* valid when done */
    uint16_t text_len;
    uint16_t line_at;   /* where the words of the current line begin in `text` */
    uint16_t line_code; /* of the current line, as far as it is read */
    uint16_t line_bytes;
    uint8_t line_count; /* lines that have ended */
    uint8_t state;
    char text[MESSAGE_REPLY_BYTES_MAX];
};

void client_reply_reset(struct client_reply *reply);
/* Takes a prefix of `in`: *taken_out. After DONE or BROKEN: client_reply_reset() first. */
enum client_reply_status client_reply_feed(struct client_reply *reply, struct slice in,
                                           size_t *taken_out);
/* After LINE or DONE: the words of that line, without code and CRLF, as far as they were kept. */
struct slice client_reply_line(const struct client_reply *reply);
/* Forgets the text so far, so that the next line is kept whole: for the list of EHLO. */
void client_reply_forget_text(struct client_reply *reply);
/* Code and words on one line, joined with spaces; raw bytes, at most MESSAGE_REPLY_BYTES_MAX. */
struct slice client_reply_text(const struct client_reply *reply);
