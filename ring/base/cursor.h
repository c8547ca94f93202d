/* cursor.h - reads and writes binary records with one check at the end.
 *
 * A reader that runs past its end, and a writer past its capacity, turn bad and stay bad: a bad
 * reader returns zeros and empty slices, a bad writer writes nothing. Numbers are little-endian;
 * bytes are length-prefixed. */
#pragma once

#include "ring/base/slice.h"

struct reader {
    const uint8_t *at, *end;
    bool is_bad;
};

struct writer {
    uint8_t *start, *at, *end;
    bool is_bad;
};

struct reader reader_of(const void *data, size_t len);
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
/* A u16 length and that many bytes; the slice points into the record. */
struct slice read_bytes16(struct reader *r);
/* `len` raw bytes; the slice points into the record. */
struct slice read_raw(struct reader *r, size_t len);
static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

struct writer writer_of(void *data, size_t cap);
void write_u8(struct writer *w, uint8_t n);
void write_u16(struct writer *w, uint16_t n);
void write_u32(struct writer *w, uint32_t n);
void write_u64(struct writer *w, uint64_t n);
/* Turns bad when s.len does not fit in 16 bits. */
void write_bytes16(struct writer *w, struct slice s);
void write_raw(struct writer *w, struct slice s);
static inline size_t writer_len(const struct writer *w)
{
    return (size_t)(w->at - w->start);
}
