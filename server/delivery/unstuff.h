/* unstuff.h - takes the dots out that DATA put in (RFC 5321 4.5.2).
 *
 * A body is stored as it came: every line that begins with a dot has one more. Only CRLF begins a
 * new line. Pure; the input may be cut anywhere. */
#pragma once

#include "ring/base/slice.h"

struct unstuffer {
    uint8_t state; /* 0: at the start of a line */
};

/* Writes at most in.len bytes to `out`, which must not overlap `in`; returns how many. */
size_t unstuff(struct unstuffer *unstuffer, struct slice in, char *out);
