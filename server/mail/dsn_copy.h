/* dsn_copy.h - brings text into a notification that is stored as DATA carries it.
 *
 * The output has dots stuffed (RFC 5321 4.5.2), CRLF for every line end and never a CR or LF alone:
 * a bare LF becomes CRLF, a bare CR a blank, a NUL a question mark. Text that has none of these
 * comes out as it went in. Of an original either all is copied or its header section. Pure; the
 * input may be cut anywhere. */
#pragma once

#include "ring/base/buf.h"

/* Of a header section; a longer one is cut at the next end of a line. */
#define DSN_HEADER_BYTES_MAX 65536
/* A line that goes on for so long behind that is cut in the middle. */
#define DSN_HEADER_LINE_BYTES_MAX 4096
/* What dsn_copy() needs at least to go on; dsn_copy_end() needs no more. */
#define DSN_COPY_ROOM_BYTES 4

struct dsn_copier {
    uint32_t copied; /* bytes of a header */
    uint8_t state;
    bool is_stuffed; /* the input has dots stuffed */
    bool is_header;  /* no more than the header section is wanted */
    bool is_over;    /* it has ended: no more input is wanted */
};

void dsn_copier_init(struct dsn_copier *copier, bool is_stuffed, bool is_header);
/* Takes a prefix of `in`, as much as has room in `out`, and returns how much. */
size_t dsn_copy(struct dsn_copier *copier, struct slice in, struct buf *out);
/* The input is over: a CR that waits for its LF is a bare one. */
void dsn_copy_end(struct dsn_copier *copier, struct buf *out);
