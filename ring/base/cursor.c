/* cursor.c - the sticky reader and writer of binary records.
 *
 * Bytes are put together one by one: the records are packed, and so never aligned. The compiler
 * makes single loads and stores of it. */
#include "ring/base/cursor.h"

struct reader reader_of(const void *data, size_t len)
{
    static const uint8_t nothing[1];
    const uint8_t *at = len > 0 ? data : nothing;
    return (struct reader){at, at + len, false};
}

/* The next `len` bytes; NULL, and the reader bad, when there are not that many. */
static const uint8_t *reader_take(struct reader *r, size_t len)
{
    if (r->is_bad || len > reader_left(r)) {
        r->is_bad = true;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += len;
    return at;
}

uint8_t read_u8(struct reader *r)
{
    const uint8_t *at = reader_take(r, 1);
    return at == NULL ? 0 : at[0];
}

uint16_t read_u16(struct reader *r)
{
    const uint8_t *at = reader_take(r, 2);
    if (at == NULL) return 0;
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t load_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint32_t read_u32(struct reader *r)
{
    const uint8_t *at = reader_take(r, 4);
    return at == NULL ? 0 : load_u32(at);
}

uint64_t read_u64(struct reader *r)
{
    const uint8_t *at = reader_take(r, 8);
    return at == NULL ? 0 : (uint64_t)load_u32(at) | (uint64_t)load_u32(at + 4) << 32;
}

struct slice read_bytes16(struct reader *r)
{
    return read_raw(r, read_u16(r));
}

struct slice read_raw(struct reader *r, size_t len)
{
    const uint8_t *at = reader_take(r, len);
    return at == NULL ? SLICE("") : slice_of(at, len);
}

struct writer writer_of(void *data, size_t cap)
{
    static uint8_t nothing[1];
    uint8_t *at = cap > 0 ? data : nothing;
    return (struct writer){at, at, at + cap, false};
}

/* Room for `len` bytes; NULL, and the writer bad, when there is not that much. */
static uint8_t *writer_take(struct writer *w, size_t len)
{
    if (w->is_bad || len > (size_t)(w->end - w->at)) {
        w->is_bad = true;
        return NULL;
    }
    uint8_t *at = w->at;
    w->at += len;
    return at;
}

static void write_number(struct writer *w, uint64_t n, size_t bytes)
{
    uint8_t *at = writer_take(w, bytes);
    if (at == NULL) return;
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(n >> (8 * i));
    }
}

void write_u8(struct writer *w, uint8_t n)
{
    write_number(w, n, 1);
}

void write_u16(struct writer *w, uint16_t n)
{
    write_number(w, n, 2);
}

void write_u32(struct writer *w, uint32_t n)
{
    write_number(w, n, 4);
}

void write_u64(struct writer *w, uint64_t n)
{
    write_number(w, n, 8);
}

void write_bytes16(struct writer *w, struct slice s)
{
    if (s.len > UINT16_MAX) {
        w->is_bad = true;
        return;
    }
    write_u16(w, (uint16_t)s.len);
    write_raw(w, s);
}

void write_raw(struct writer *w, struct slice s)
{
    uint8_t *at = writer_take(w, s.len);
    if (at != NULL && s.len > 0) memcpy(at, s.data, s.len);
}
