/* xtext.h - text inside a parameter's value (RFC 3461 section 4): the printable ASCII characters
 * but
 * "+" and "=", and any byte as "+" and two hexadecimal digits in upper case. Pure. */
#pragma once

#include "ring/base/buf.h"

/* Appends the decoded bytes. False when `in` is no xtext, or when they do not fit (out->is_short);
 * what was decoded until then stays appended. */
bool xtext_decode(struct slice in, struct buf *out);
/* True when `in` is xtext and decodes to printable ASCII and blanks alone: what RFC 3461 allows in
 * ENVID, and what cannot end a line wherever it is written. Empty text is. */
bool xtext_is_printable(struct slice in);
/* Appends `in` encoded, for names that did not come as xtext. False, with nothing appended, when it
 * does not fit. */
bool xtext_encode(struct slice in, struct buf *out);
