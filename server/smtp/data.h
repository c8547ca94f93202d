/* data.h - the end of the data, and what must not be in it (RFC 5321 4.1.1.4, 4.5.2, 2.3.8).
 *
 * The scanner looks at bytes where they are and changes none: a body is kept as it came, with its
 * dots stuffed. The one end of data is CRLF "." CRLF (or "." CRLF as the first line). A CR without
 * LF, an LF without CR and a NUL are remembered, never an end; the caller refuses the message
 * once the true end has come (CVE-2023-51764, -51765, -51766). Constant memory; any split. */
#pragma once

#include "ring/base/buf.h"

enum data_fault {
    DATA_BARE_CR = BIT(0),
    DATA_BARE_LF = BIT(1),
    DATA_NUL = BIT(2),
    DATA_LONG_LINE = BIT(3), /* more than DATA_LINE_BYTES_MAX; noted by raw_scan() only (raw.h) */
};

#define DATA_LINE_BYTES_MAX 998 /* RFC 5322 2.1.1: of a line, its CRLF not counted */

enum data_status { DATA_MORE, DATA_END };

struct data_scanner {
    uint8_t state;
    uint8_t faults; /* BITs of enum data_fault so far */
    bool has_8bit;  /* a byte above 127 so far */
    uint64_t bytes; /* taken so far, the end included */
    /* For raw.h: */
    uint32_t line_bytes;  /* of the line so far; stops counting past DATA_LINE_BYTES_MAX */
    uint64_t chunk_bytes; /* of the present chunk, as BDAT announced it: for its reply */
};

void data_init(struct data_scanner *s);
/* Takes all of `in`, or up to and with the end of data: *taken_out. */
enum data_status data_scan(struct data_scanner *s, struct slice in, size_t *taken_out);
/* After DATA_END: bytes of the content, which are those taken without the final ".CRLF". */
uint64_t data_content_bytes(const struct data_scanner *s);

/* The other policy, `bare_newline: normalize`: finds the same one end, and writes the content to
 * `out` with each bare LF as CRLF and each bare CR as a space, a line that thereby begins with a
 * dot stuffed. A stuffing dot alone in front of a bare LF is dropped: kept, it would become an end.
 * Takes only as much of `in` as surely fits (two bytes for each): *taken_out may be less than
 * in.len with DATA_MORE, and 0 when there is room for less than two. The final ".CRLF" is written
 * too, so the content is what was written without its last three bytes (s->bytes still counts what
 * was taken). The faults stay known: a NUL is not mended, and the caller refuses it. */
enum data_status data_normalize(struct data_scanner *s, struct slice in, struct buf *out,
                                size_t *taken_out);
