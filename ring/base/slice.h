/* slice.h - bytes that somebody else owns: a pointer and a length, no terminator.
 *
 * All functions are pure. ASCII only: no function here looks at the locale. */
#pragma once

#include "ring/base/base.h"

#include <string.h>

struct slice {
    const char *data;
    size_t len;
};

#define SLICE(literal) ((struct slice){"" literal "", sizeof(literal) - 1})

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){(const char *)data, len};
}

static inline struct slice slice_of_cstr(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The bytes from `from` (at most a.len) to the end. */
static inline struct slice slice_from(struct slice a, size_t from)
{
    ASSERT(from <= a.len);
    return (struct slice){a.data + from, a.len - from};
}

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Equal when A-Z and a-z are taken as the same. */
bool slice_eq_nocase(struct slice a, struct slice b);
bool slice_starts_with_nocase(struct slice a, struct slice prefix);
/* Without leading and trailing spaces and tabs. */
struct slice slice_trim(struct slice a);
/* Decimal digits only, no sign, no blanks. False when empty, not digits, or above `max`. */
bool slice_to_u64(struct slice a, uint64_t max, uint64_t *out);
/* A terminated copy that the caller frees; ends the process when memory is out. */
char *slice_to_cstr(struct slice a);
