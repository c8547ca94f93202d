/* header.c - the header section of a message, line by line.
 *
 * Only the first bytes of a line are looked at; memchr() finds its end. An LF ends a line here
 * whether or not a CR stands before it: where a bare LF is not refused it is made a line end. */
#include "server/smtp/header.h"

enum state {
    LINE_START, /* so far the line is the first `matched` bytes of "received:" */
    EMPTY_CR,   /* the line is a CR so far */
    LINE_REST,  /* nothing more of this line matters */
};

static const char wanted[] = "received:";
#define WANTED_BYTES (sizeof(wanted) - 1)

void header_init(struct header_scanner *h)
{
    *h = (struct header_scanner){.state = LINE_START};
}

static void start_line(struct header_scanner *h)
{
    h->state = LINE_START;
    h->matched = 0;
}

/* One byte near the start of a line. */
static void take_byte(struct header_scanner *h, char c)
{
    if (c == '\n') {
        if (h->state == EMPTY_CR || h->matched == 0) h->is_over = true;
        start_line(h);
    } else if (h->state == LINE_START && h->matched == 0 && c == '\r') {
        h->state = EMPTY_CR;
    } else if (h->state == LINE_START && ascii_lower(c) == wanted[h->matched]) {
        h->matched++;
        if (h->matched < WANTED_BYTES) return;
        h->received_count++;
        h->state = LINE_REST;
    } else {
        h->state = LINE_REST;
    }
}

void header_scan(struct header_scanner *h, struct slice in)
{
    size_t at = 0;
    while (!h->is_over && at < in.len) {
        if (h->state != LINE_REST) {
            take_byte(h, in.data[at++]);
            continue;
        }
        const char *lf = memchr(in.data + at, '\n', in.len - at);
        if (lf == NULL) {
            at = in.len;
        } else {
            at = (size_t)(lf - in.data) + 1;
            start_line(h);
        }
    }
    h->bytes = (uint32_t)MIN((uint64_t)h->bytes + at, UINT32_MAX);
}
