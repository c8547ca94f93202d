/* buf.h - a bounded byte buffer over memory that the caller owns.
 *
 * An append that does not fit changes nothing and sets `is_short`; the flag stays until
 * buf_reset(), so that a writer may append several times and check once. */
#pragma once

#include "ring/base/slice.h"

struct buf {
    char *data;
    size_t len, cap;
    bool is_short;
};

static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}
static inline size_t buf_room(const struct buf *b)
{
    return b->cap - b->len;
}
static inline void buf_reset(struct buf *b)
{
    b->len = 0;
    b->is_short = false;
}

bool buf_append(struct buf *b, const void *data, size_t len);
bool buf_append_slice(struct buf *b, struct slice s);
bool buf_append_cstr(struct buf *b, const char *text);
bool buf_append_char(struct buf *b, char c);
bool buf_append_u64(struct buf *b, uint64_t n);
/* `digits` decimal digits with leading zeros; n must fit. */
bool buf_append_padded(struct buf *b, uint64_t n, unsigned digits);
bool buf_append_format(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
/* Removes `n` bytes at the front; the rest moves down. */
void buf_consume(struct buf *b, size_t n);
