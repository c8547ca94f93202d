/* raw.h - the octets of BDAT (RFC 3030): content with a length instead of an end, and no dots.
 *
 * Uses the struct of the data scanner, so that a message has one, whichever way it comes. Nothing
 * in the octets is an end, whatever they look like; a CR without LF, an LF without CR, a NUL and a
 * line that is too long for DATA are remembered. Constant memory; any split, chunks included. */
#pragma once

#include "server/smtp/data.h"

void raw_init(struct data_scanner *s);
void raw_scan(struct data_scanner *s, struct slice in);
/* The content is over: a CR that still waits for its LF is a bare one. Once, after raw_scan(). */
void raw_end(struct data_scanner *s);

/* `bare_newline: normalize`: appends the octets to `out` with each bare LF as CRLF and each bare CR
 * as a space; no dots are stuffed. Takes only as much of `in` as surely fits (two bytes for each),
 * which may be nothing, and returns how much. A CR is held back until what follows it is known,
 * over chunks too. The faults stay known, as in data_normalize(); long lines are not looked for. */
size_t raw_normalize(struct data_scanner *s, struct slice in, struct buf *out);
/* The content is over: writes the space of a CR that was held back: at most one byte. */
void raw_normalize_end(struct data_scanner *s, struct buf *out);
