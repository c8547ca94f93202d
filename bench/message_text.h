/* message_text.h - lines of text for bodies: the shapes that a mail server could get wrong. Pure.
 */
#pragma once

#include "ring/base/buf.h"

enum text_kind {
    TEXT_PLAIN,       /* lines of 20 to 76 printable bytes */
    TEXT_DOTS,        /* every fourth line begins with one or more dots, some are only a dot */
    TEXT_DOT_FIRST,   /* the first line is "." */
    TEXT_LONG_LINES,  /* most lines have 998 bytes, some of those begin with a dot */
    TEXT_UTF8,        /* words with two-byte characters */
    TEXT_BINARY,      /* bytes 0x80 to 0xff of no character set */
    TEXT_EMPTY_LINES, /* every second line is empty */
    TEXT_NEAR_ENDS,   /* every second line is ".", "..", ".x" or empty: nearly an end of data */
    TEXT_KIND_COUNT,
};

static inline bool text_is_8bit(enum text_kind kind)
{
    return kind == TEXT_UTF8 || kind == TEXT_BINARY;
}

/* Appends exactly `bytes` (0, or 2 and more) of whole lines with CRLF, dots not stuffed. There must
 * be room. */
void text_write(enum text_kind kind, uint64_t *random, size_t bytes, struct buf *out);
/* Copies whole lines, with a dot before each that begins with one (RFC 5321 4.5.2). */
void text_stuff(struct slice lines, struct buf *out);
