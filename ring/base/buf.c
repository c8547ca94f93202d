/* buf.c - appending to a bounded buffer. */
#include "ring/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define U64_DIGITS 20

bool buf_append(struct buf *b, const void *data, size_t len)
{
    ASSERT(b->len <= b->cap);
    if (len > buf_room(b)) {
        b->is_short = true;
        return false;
    }
    if (len > 0) memcpy(b->data + b->len, data, len);
    b->len += len;
    return true;
}

bool buf_append_slice(struct buf *b, struct slice s)
{
    return buf_append(b, s.data, s.len);
}

bool buf_append_cstr(struct buf *b, const char *text)
{
    return buf_append(b, text, strlen(text));
}

bool buf_append_char(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}

bool buf_append_u64(struct buf *b, uint64_t n)
{
    char digits[U64_DIGITS];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    return buf_append(b, digits + at, sizeof(digits) - at);
}

bool buf_append_padded(struct buf *b, uint64_t n, unsigned digits)
{
    char text[U64_DIGITS];
    ASSERT(digits <= sizeof(text));
    for (size_t at = digits; at > 0; at--) {
        text[at - 1] = (char)('0' + n % 10);
        n /= 10;
    }
    ASSERT(n == 0);
    return buf_append(b, text, digits);
}

bool buf_append_format(struct buf *b, const char *format, ...)
{
    va_list args;
    size_t room = buf_room(b);

    va_start(args, format);
    int len = vsnprintf(room > 0 ? b->data + b->len : NULL, room, format, args);
    va_end(args);
    if (len >= 0 && (size_t)len < room) {
        b->len += (size_t)len;
        return true;
    }
    if (len < 0 || (size_t)len != room) {
        b->is_short = true;
        return false;
    }
    if (len == 0) return true;

    /* It fits to the byte, but vsnprintf() wanted one more for its terminator. */
    char *text = NULL;
    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0) {
        b->is_short = true;
        return false;
    }
    bool is_appended = buf_append(b, text, (size_t)len);
    free(text);
    return is_appended;
}

void buf_consume(struct buf *b, size_t n)
{
    ASSERT(n <= b->len);
    if (n == 0) return;
    b->len -= n;
    memmove(b->data, b->data + n, b->len);
}
