/* dsn_copy.c - byte by byte: what is copied is bounded, and nothing waits for it. */
#include "server/mail/dsn_copy.h"

enum {
    AT_START,        /* of a line */
    AT_START_DOTTED, /* the same, behind a dot that was stuffed in */
    INSIDE,
    CR_AT_START, /* behind the CR of a line that is empty so far */
    CR_INSIDE,
};

void dsn_copier_init(struct dsn_copier *copier, bool is_stuffed, bool is_header)
{
    *copier = (struct dsn_copier){.is_stuffed = is_stuffed, .is_header = is_header};
}

static void end_line(struct dsn_copier *copier, bool is_empty, struct buf *out)
{
    if (copier->is_header && is_empty) {
        copier->is_over = true;
        return;
    }
    buf_append(out, "\r\n", 2);
    copier->state = AT_START;
    if (copier->is_header && copier->copied >= DSN_HEADER_BYTES_MAX) copier->is_over = true;
}

/* A byte that is neither CR nor LF. */
static void copy_byte(struct dsn_copier *copier, char c, struct buf *out)
{
    bool is_first = copier->state != INSIDE;
    if (c == '.' && copier->state == AT_START && copier->is_stuffed) {
        copier->state = AT_START_DOTTED;
        return;
    }
    if (c == '.' && is_first) buf_append_char(out, '.');
    buf_append_char(out, (char)(c == '\0' ? '?' : c));
    copier->state = INSIDE;
    uint32_t max = DSN_HEADER_BYTES_MAX + DSN_HEADER_LINE_BYTES_MAX;
    if (copier->is_header && copier->copied >= max) copier->is_over = true;
}

static void take_byte(struct dsn_copier *copier, char c, struct buf *out)
{
    bool is_behind_cr = copier->state == CR_AT_START || copier->state == CR_INSIDE;
    bool is_empty = copier->state != INSIDE && copier->state != CR_INSIDE;
    if (copier->is_header) copier->copied++;
    if (c == '\n') {
        end_line(copier, is_empty, out);
        return;
    }
    if (is_behind_cr) {
        buf_append_char(out, ' ');
        copier->state = INSIDE;
        is_empty = false;
    }
    if (c == '\r') {
        copier->state = is_empty ? CR_AT_START : CR_INSIDE;
    } else {
        copy_byte(copier, c, out);
    }
}

size_t dsn_copy(struct dsn_copier *copier, struct slice in, struct buf *out)
{
    size_t taken = 0;
    while (taken < in.len && !copier->is_over && buf_room(out) >= DSN_COPY_ROOM_BYTES) {
        take_byte(copier, in.data[taken], out);
        taken++;
    }
    ASSERT(!out->is_short);
    return taken;
}

void dsn_copy_end(struct dsn_copier *copier, struct buf *out)
{
    bool is_behind_cr = copier->state == CR_AT_START || copier->state == CR_INSIDE;
    if (is_behind_cr && !copier->is_over) buf_append_char(out, ' ');
    copier->state = INSIDE;
    copier->is_over = true;
}
