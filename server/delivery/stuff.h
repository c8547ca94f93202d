/* stuff.h - puts in the dots that DATA needs (RFC 5321 4.5.2), without copying.
 *
 * The wire form of a message that came by BDAT is told as a list of pieces of the message itself:
 * where a line begins with a dot, one piece ends behind it and the next begins with it, so that it
 * goes out twice. The input may be cut anywhere; memory is constant.
 *
 * No CR or LF that stands alone ever gets into a list, since such a message has no form that DATA
 * can carry: some servers would take it for an end of line, and read commands out of the message
 * (CVE-2023-51764, -51765, -51766). */
#pragma once

#include "ring/base/slice.h"

#include <sys/uio.h>

#define STUFFER_PIECES_MAX 128 /* in one list; a longer one is told in parts */

struct stuffer {
    uint8_t state;
    uint32_t count; /* pieces in the list */
    struct iovec pieces[STUFFER_PIECES_MAX];
};

void stuffer_init(struct stuffer *stuffer);
/* Makes a new list, of a prefix of *in, which moves on behind it. What is listed points into *in
 * and into constants. The list may be empty when *in ends: a CR waits for its LF. False: a CR or LF
 * stands alone; nothing of the list may be sent. */
MUST_USE bool stuff(struct stuffer *stuffer, struct slice *in);
/* Adds the end of the data to the list, and a CRLF before it when the message does not end with
 * one. False as above. */
MUST_USE bool stuff_end(struct stuffer *stuffer);
