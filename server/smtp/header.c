/* header.c - the header section of a message, line by line.
 *
 * Only the first bytes of a line are looked at; memchr() finds its end. An LF ends a line here
 * whether or not a CR stands before it: where a bare LF is not refused it is made a line end. */
#include "server/smtp/header.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum state {
    LINE_START, /* so far the line is the first `matched` bytes of a wanted name */
    BLANKS,     /* the name is whole: blanks may follow, then the colon */
    EMPTY_CR,   /* the line is a CR so far */
    LINE_REST,  /* nothing more of this line matters */
};

enum name { NO_NAME, RECEIVED, DATE, MESSAGE_ID, NAME_COUNT };

/* Their first letters differ, so that the first byte of a line tells which one it can be. */
static const struct slice names[NAME_COUNT] = {
    [RECEIVED] = {"received", 8},
    [DATE] = {"date", 4},
    [MESSAGE_ID] = {"message-id", 10},
};

void header_init(struct header_scanner *h)
{
    *h = (struct header_scanner){.state = LINE_START};
}

bool header_is_at_line_start(const struct header_scanner *h)
{
    return h->state == LINE_START && h->matched == 0;
}

static void start_line(struct header_scanner *h)
{
    h->state = LINE_START;
    h->matched = 0;
}

/* The name that a line may begin with, by its first byte; 0: none. Most lines begin with none. */
static const uint8_t firsts[256] = {
    ['r'] = RECEIVED, ['R'] = RECEIVED,   ['d'] = DATE,
    ['D'] = DATE,     ['m'] = MESSAGE_ID, ['M'] = MESSAGE_ID,
};

static void take_first_byte(struct header_scanner *h, char c)
{
    h->matched = 1;
    h->name = firsts[(uint8_t)c];
    if (h->name == NO_NAME) h->state = c == '\r' ? EMPTY_CR : LINE_REST;
}

static void note_field(struct header_scanner *h)
{
    if (h->name == RECEIVED) h->received_count++;
    if (h->name == DATE) h->has_date = true;
    if (h->name == MESSAGE_ID) h->has_message_id = true;
}

/* One byte near the start of a line. */
static void take_byte(struct header_scanner *h, char c)
{
    if (c == '\n') {
        if (h->state == EMPTY_CR || h->matched == 0) h->is_over = true;
        start_line(h);
    } else if (h->matched == 0) {
        take_first_byte(h, c);
    } else if (h->state == LINE_START && ascii_lower(c) == names[h->name].data[h->matched]) {
        h->matched++;
        if (h->matched == names[h->name].len) h->state = BLANKS;
    } else if (h->state == BLANKS && (c == ' ' || c == '\t')) {
        return;
    } else {
        if (h->state == BLANKS && c == ':') note_field(h);
        h->state = LINE_REST;
    }
}

/* The bytes in front of the last ones, wide: *at_out is where those begin. */
static bool has_8bit_wide(struct slice in, size_t *at_out)
{
    size_t at = 0;
    bool is_found = false;
#if defined(__x86_64__)
    __m128i any = _mm_setzero_si128();
    for (; at + 64 <= in.len; at += 64) {
        const __m128i *from = (const __m128i *)(const void *)(in.data + at);
        __m128i low = _mm_or_si128(_mm_loadu_si128(from), _mm_loadu_si128(from + 1));
        __m128i high = _mm_or_si128(_mm_loadu_si128(from + 2), _mm_loadu_si128(from + 3));
        any = _mm_or_si128(any, _mm_or_si128(low, high));
    }
    is_found = _mm_movemask_epi8(any) != 0;
#endif
    *at_out = at;
    return is_found;
}

static bool has_8bit(struct slice in)
{
    size_t at;
    bool is_found = has_8bit_wide(in, &at);
    uint64_t any = 0, word;
    for (; at + sizeof(word) <= in.len; at += sizeof(word)) {
        memcpy(&word, in.data + at, sizeof(word));
        any |= word;
    }
    for (; at < in.len; at++)
        any |= (uint8_t)in.data[at];
    return is_found || (any & 0x8080808080808080u) != 0;
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
    if (!h->has_8bit) h->has_8bit = has_8bit(slice_of(in.data, at));
    h->bytes = (uint32_t)MIN((uint64_t)h->bytes + at, UINT32_MAX);
}

/* --- completing it --- */

/* The name of a field, the blanks behind it and the colon (RFC 5322 2.2 and 4.5). */
static enum header_line name_kind(struct slice line)
{
    size_t at = 0, len = MIN(line.len, HEADER_LOOK_BYTES_MAX);
    while (at < len && line.data[at] > ' ' && line.data[at] < 127 && line.data[at] != ':')
        at++;
    size_t name_len = at;
    while (at < len && (line.data[at] == ' ' || line.data[at] == '\t'))
        at++;
    if (at < len)
        return name_len > 0 && line.data[at] == ':' ? HEADER_LINE_INSIDE : HEADER_LINE_END;
    return len == HEADER_LOOK_BYTES_MAX ? HEADER_LINE_INSIDE : HEADER_LINE_UNKNOWN;
}

enum header_line header_line_of(struct slice line, bool is_stuffed)
{
    bool has_dot = is_stuffed && line.len > 0 && line.data[0] == '.';
    struct slice rest = has_dot ? slice_from(line, 1) : line;
    if (rest.len == 0) return HEADER_LINE_UNKNOWN;
    switch (rest.data[0]) {
    case '\n':
        return HEADER_LINE_END;
    case '\r':
        if (rest.len == 1) return HEADER_LINE_UNKNOWN;
        /* A bare CR stands for a blank where it is let pass: the line goes on with a field. */
        return rest.data[1] == '\n' ? HEADER_LINE_END : HEADER_LINE_INSIDE;
    case ' ':
    case '\t':
        return HEADER_LINE_INSIDE;
    default:
        return name_kind(rest);
    }
}

size_t header_inside(const struct header_scanner *h, struct slice in, bool is_stuffed,
                     bool *is_end_out)
{
    size_t at = 0;
    bool is_line_start = header_is_at_line_start(h);
    *is_end_out = false;
    while (at < in.len) {
        if (is_line_start) {
            enum header_line kind = header_line_of(slice_from(in, at), is_stuffed);
            *is_end_out = kind == HEADER_LINE_END;
            if (kind != HEADER_LINE_INSIDE) return at;
        }
        const char *lf = memchr(in.data + at, '\n', in.len - at);
        if (lf == NULL) return in.len;
        at = (size_t)(lf - in.data) + 1;
        is_line_start = true;
    }
    return at;
}
