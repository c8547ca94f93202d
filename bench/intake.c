/* intake.c - the receiving end of message.c. Not the server's own scanner, on purpose: the two
 * would share their mistakes. Pure; one intake belongs to one session. */
#include "bench/intake.h"

/* Where the next byte stands. */
enum line_state {
    LINE_START, /* first of a line */
    LINE_INSIDE,
    LINE_CR,     /* after a CR inside a line */
    LINE_DOT,    /* after a dot that began a line and is not content */
    LINE_DOT_CR, /* after that dot and a CR */
};

void intake_init(struct intake *in, bool is_counting_only)
{
    in->line = LINE_START;
    in->is_body = in->has_id = in->has_digest = false;
    in->is_counting_only = is_counting_only;
    in->field_len = 0;
    in->want_digest = in->want_body_bytes = 0;
    in->body_bytes = in->bytes = 0;
    digest_init(&in->digest);
}

/* The value of the field that `in->field` holds, when it is the field `name`. */
static bool field_value(const struct intake *in, const char *name, struct slice *value_out)
{
    struct slice field = slice_of(in->field, in->field_len), prefix = slice_of_cstr(name);
    if (!slice_starts_with_nocase(field, prefix)) return false;
    *value_out = slice_trim(slice_from(field, prefix.len));
    return true;
}

static void take_field(struct intake *in)
{
    struct slice value;
    if (field_value(in, MARK_ID_FIELD, &value)) {
        in->has_id = mark_parse_id(value, &in->id);
    } else if (field_value(in, MARK_DIGEST_FIELD, &value)) {
        in->has_digest =
            value.len > MARK_HEX_BYTES && value.data[MARK_HEX_BYTES] == ' ' &&
            mark_parse_hex(slice_of(value.data, MARK_HEX_BYTES), &in->want_digest) &&
            mark_parse_number(slice_from(value, MARK_HEX_BYTES + 1), &in->want_body_bytes);
    }
}

/* Takes the part of the header section that is in `content`; returns its length. */
static size_t take_header(struct intake *in, struct slice content)
{
    size_t at = 0;
    while (at < content.len && !in->is_body) {
        const char *from = content.data + at;
        const char *newline = memchr(from, '\n', content.len - at);
        size_t len = newline == NULL ? content.len - at : (size_t)(newline - from);
        size_t kept = MIN(len, (size_t)(INTAKE_FIELD_BYTES_MAX - in->field_len));
        memcpy(in->field + in->field_len, from, kept);
        in->field_len = (uint8_t)(in->field_len + kept);
        at += len;
        if (newline == NULL) break;
        at++;
        if (in->field_len > 0 && in->field[in->field_len - 1] == '\r') in->field_len--;
        if (in->field_len == 0) in->is_body = true;
        take_field(in);
        in->field_len = 0;
    }
    return at;
}

/* Bytes of the content, dots not stuffed. */
static void take_content(struct intake *in, struct slice content)
{
    in->bytes += content.len;
    if (in->is_counting_only) return;
    if (!in->is_body) content = slice_from(content, take_header(in, content));
    in->body_bytes += content.len;
    digest_add(&in->digest, content);
}

/* Finds where the line that `bytes` begins in, or one after it, ends and the next begins with a
 * dot: the offset of that dot, or the length. Dots are rarer than lines, so they are looked for. */
static size_t find_line_dot(const struct intake *in, struct slice bytes)
{
    for (size_t at = 0; at < bytes.len; at++) {
        const char *dot = memchr(bytes.data + at, '.', bytes.len - at);
        if (dot == NULL) break;
        at = (size_t)(dot - bytes.data);
        if (at >= 2 && dot[-1] == '\n' && dot[-2] == '\r') return at;
        if (at == 1 && dot[-1] == '\n' && in->line == LINE_CR) return at;
    }
    return bytes.len;
}

static enum line_state state_after(const struct intake *in, struct slice run)
{
    char last = run.data[run.len - 1];
    bool after_cr = run.len >= 2 ? run.data[run.len - 2] == '\r' : in->line == LINE_CR;
    if (last == '\n' && after_cr) return LINE_START;
    return last == '\r' ? LINE_CR : LINE_INSIDE;
}

/* Takes content up to the next line that begins with a dot; returns its length. */
static size_t take_run(struct intake *in, struct slice bytes)
{
    struct slice run = slice_of(bytes.data, find_line_dot(in, bytes));
    in->line = (uint8_t)state_after(in, run);
    take_content(in, run);
    return run.len;
}

bool intake_take(struct intake *in, struct slice bytes, size_t *taken_out)
{
    size_t at = 0;
    while (at < bytes.len) {
        char c = bytes.data[at];
        switch ((enum line_state)in->line) {
        case LINE_START:
            in->line = c == '.' ? LINE_DOT : LINE_INSIDE;
            if (c == '.') at++;
            break;
        case LINE_DOT:
            in->line = c == '\r' ? LINE_DOT_CR : LINE_INSIDE;
            if (c == '\r') at++;
            break;
        case LINE_DOT_CR:
            if (c == '\n') {
                *taken_out = at + 1;
                return true;
            }
            take_content(in, SLICE("\r")); /* it was content, after a dot that was stuffed */
            in->line = LINE_CR;
            break;
        case LINE_INSIDE:
        case LINE_CR:
            at += take_run(in, slice_from(bytes, at));
            break;
        }
    }
    *taken_out = at;
    return false;
}

bool intake_is_altered(const struct intake *in)
{
    return !in->has_digest || in->body_bytes != in->want_body_bytes ||
           digest_value(&in->digest) != in->want_digest;
}
