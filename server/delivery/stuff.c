/* stuff.c - goes from line to line; the searches are what the C library does best. */
#include "server/delivery/stuff.h"

#define SPARE_PIECES                                                                               \
    2 /* for what follows the last line of a list: its bytes, the end of the data */

enum { AT_START, IN_LINE, AFTER_CR };

static void add(struct stuffer *s, const char *from, const char *to)
{
    if (from == to) return;
    ASSERT(s->count < STUFFER_PIECES_MAX);
    s->pieces[s->count++] = (struct iovec){(void *)(uintptr_t)from, (size_t)(to - from)};
}

static void add_text(struct stuffer *s, const char *text)
{
    add(s, text, text + strlen(text));
}

void stuffer_init(struct stuffer *s)
{
    s->state = AT_START;
    s->count = 0;
}

/* Where the line that goes on at `at` ends; NULL when a CR or LF stands alone in it. */
static const char *pass_line(struct stuffer *s, const char *at, const char *end)
{
    const char *lf = memchr(at, '\n', (size_t)(end - at));
    const char *stop = lf != NULL ? lf : end;
    const char *cr = memchr(at, '\r', (size_t)(stop - at));
    if (lf != NULL) {
        s->state = AT_START;
        return cr != NULL && cr == lf - 1 ? lf + 1 : NULL;
    }
    s->state = cr != NULL ? AFTER_CR : IN_LINE;
    return cr == NULL || cr == end - 1 ? end : NULL;
}

bool stuff(struct stuffer *s, struct slice *in)
{
    const char *at = in->data, *end = in->data + in->len, *from = at;
    s->count = 0;
    if (in->len == 0) return true;
    while (at < end && s->count < STUFFER_PIECES_MAX - SPARE_PIECES) {
        if (s->state == AFTER_CR) {
            if (*at != '\n') return false;
            add_text(s, "\r\n"); /* the CR was in the input before this one */
            s->state = AT_START;
            from = ++at;
        } else if (s->state == AT_START && *at == '.') {
            add(s, from, at + 1);
            from = at;
            s->state = IN_LINE;
        } else {
            at = pass_line(s, at, end);
            if (at == NULL) return false;
        }
    }
    add(s, from, s->state == AFTER_CR ? end - 1 : at);
    *in = slice_from(*in, (size_t)(at - in->data));
    return true;
}

bool stuff_end(struct stuffer *s)
{
    if (s->state == AFTER_CR) return false;
    add_text(s, s->state == AT_START ? ".\r\n" : "\r\n.\r\n");
    return true;
}
