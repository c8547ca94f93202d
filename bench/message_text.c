/* message_text.c - invents lines and stuffs their dots. Pure; runs once for each template. */
#include "bench/message_text.h"

#include "bench/message.h"
#include "bench/random.h"

#define LINE_BYTES_MIN 20
#define LINE_BYTES_USUAL_MAX 76

static void append_printable(uint64_t *random, size_t len, struct buf *out)
{
    static const char letters[] = "etaoinshrdlucmfwypvbgkqjxz ETAOIN 0123456789 ,;:-()/<>@=+\"'!? ";
    for (size_t i = 0; i < len; i++) {
        buf_append_char(out, letters[random_below(random, sizeof(letters) - 1)]);
    }
}

/* Two-byte characters of UTF-8, with a letter where one byte is left. */
static void append_utf8(uint64_t *random, size_t len, struct buf *out)
{
    size_t left = len;
    while (left > 0) {
        bool is_wide = left >= 2 && random_below(random, 4) == 0;
        if (is_wide) {
            buf_append_char(out, (char)0xc3);
            buf_append_char(out, (char)(0x80 + random_below(random, 64)));
            left -= 2;
        } else {
            append_printable(random, 1, out);
            left--;
        }
    }
}

static void append_binary(uint64_t *random, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        buf_append_char(out, (char)(0x80 + random_below(random, 128)));
    }
}

/* How long the next line should be, without its CRLF. */
static size_t wanted_len(enum text_kind kind, uint64_t *random)
{
    size_t usual = LINE_BYTES_MIN + random_below(random, LINE_BYTES_USUAL_MAX - LINE_BYTES_MIN + 1);
    switch (kind) {
    case TEXT_LONG_LINES:
        return random_below(random, 4) == 0 ? usual : MESSAGE_LINE_BYTES_MAX;
    case TEXT_EMPTY_LINES:
        return random_below(random, 2) == 0 ? 0 : usual;
    case TEXT_NEAR_ENDS:
        return random_below(random, 2) == 0 ? random_below(random, 3) : usual;
    default:
        return usual;
    }
}

/* How many dots a line of `len` bytes should begin with; a short line has fewer. */
static size_t wanted_dots(enum text_kind kind, uint64_t *random, size_t len, bool is_first)
{
    switch (kind) {
    case TEXT_DOTS:
        return random_below(random, 4) == 0 ? 1 + random_below(random, 4) : 0;
    case TEXT_DOT_FIRST:
        return is_first ? 1 : 0;
    case TEXT_LONG_LINES:
        return random_below(random, 8) == 0 ? 1 : 0;
    case TEXT_NEAR_ENDS:
        return len <= 2 ? 1 + random_below(random, 2) : 0;
    default:
        return 0;
    }
}

static void append_line(enum text_kind kind, uint64_t *random, size_t len, bool is_first,
                        struct buf *out)
{
    size_t dots = wanted_dots(kind, random, len, is_first);
    if (dots > len) dots = len;
    for (size_t i = 0; i < dots; i++) {
        buf_append_char(out, '.');
    }
    if (kind == TEXT_UTF8) {
        append_utf8(random, len - dots, out);
    } else if (kind == TEXT_BINARY) {
        append_binary(random, len - dots, out);
    } else {
        append_printable(random, len - dots, out);
    }
    buf_append(out, "\r\n", 2);
}

void text_write(enum text_kind kind, uint64_t *random, size_t bytes, struct buf *out)
{
    ASSERT(bytes != 1);
    ASSERT(buf_room(out) >= bytes);
    bool is_first = true;
    while (bytes > 0) {
        size_t len = wanted_len(kind, random);
        if (is_first && kind == TEXT_DOT_FIRST) len = 1;
        if (kind == TEXT_DOTS && random_below(random, 16) == 0) len = 1;
        /* A line takes the rest when it would leave less than a line. */
        if (len + 2 > bytes) len = bytes - 2;
        if (bytes - (len + 2) == 1) len = len == MESSAGE_LINE_BYTES_MAX ? len - 1 : len + 1;
        append_line(kind, random, len, is_first, out);
        bytes -= len + 2;
        is_first = false;
    }
}

void text_stuff(struct slice lines, struct buf *out)
{
    const char *at = lines.data, *end = lines.data + lines.len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline == NULL ? end : newline + 1) - at);
        if (*at == '.') buf_append_char(out, '.');
        buf_append(out, at, len);
        at += len;
    }
}
