/* dsn_words.c - escapes and folds. */
#include "server/mail/dsn_words.h"

#include "server/smtp/utf8.h"

#define HEX_DIGITS_MAX 6 /* of a character */

/* --- folding --- */

static void new_line(struct dsn_folder *f)
{
    buf_append_cstr(f->out, "\r\n");
    buf_append_cstr(f->out, f->indent);
    f->column = strlen(f->indent);
}

static void write_part(struct dsn_folder *f, struct slice part)
{
    buf_append_slice(f->out, part);
    f->column += part.len;
}

void dsn_fold_line(struct dsn_folder *f)
{
    new_line(f);
    write_part(f, SLICE(" "));
}

static void write_long(struct dsn_folder *f, struct slice word)
{
    while (f->column + word.len > DSN_LINE_BYTES_MAX) {
        size_t bytes = DSN_LINE_BYTES_MAX - MIN(f->column, DSN_LINE_BYTES_MAX);
        write_part(f, slice_of(word.data, bytes));
        word = slice_from(word, bytes);
        dsn_fold_line(f);
    }
    write_part(f, word);
}

void dsn_fold(struct dsn_folder *f, struct slice text)
{
    while (text.len > 0) {
        size_t blanks = 0;
        while (blanks < text.len && text.data[blanks] == ' ')
            blanks++;
        size_t len = blanks;
        while (len < text.len && text.data[len] != ' ')
            len++;
        /* A line must not be all blanks, which some readers take for the end of the header. */
        bool may_fold = blanks > 0 && len > blanks;
        if (may_fold && f->column + len > DSN_LINE_BYTES_WANTED) new_line(f);
        write_long(f, slice_of(text.data, len));
        text = slice_from(text, len);
    }
}

void dsn_fold_cstr(struct dsn_folder *f, const char *text)
{
    dsn_fold(f, slice_of_cstr(text));
}

/* --- escaping --- */

static uint32_t code_point(struct slice character)
{
    static const uint8_t lead_bits[] = {0x7f, 0x1f, 0x0f, 0x07};
    ASSERT(character.len >= 1 && character.len <= 4);
    uint32_t code = (uint8_t)character.data[0] & lead_bits[character.len - 1];
    for (size_t i = 1; i < character.len; i++)
        code = code << 6 | ((uint8_t)character.data[i] & 0x3f);
    return code;
}

/* One character, or one byte that is none, from the front of *in. */
static void escape_front(struct slice *in, struct buf *out)
{
    size_t bytes = utf8_char_bytes(*in);
    uint32_t code = bytes > 0 ? code_point(slice_of(in->data, bytes)) : (uint8_t)in->data[0];
    buf_append_format(out, "\\x{%02X}", (unsigned)code);
    *in = slice_from(*in, MAX(bytes, (size_t)1));
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_graphic(char c)
{
    return c > ' ' && c <= '~';
}

void dsn_escape_words(struct slice in, struct buf *out)
{
    bool is_behind_word = false;
    while (in.len > 0 && !out->is_short) {
        char c = in.data[0];
        if (is_blank(c)) {
            size_t bytes = 1;
            while (bytes < in.len && is_blank(in.data[bytes]))
                bytes++;
            in = slice_from(in, bytes);
            if (is_behind_word && in.len > 0) buf_append_char(out, ' ');
        } else if (is_graphic(c)) {
            buf_append_char(out, c);
            in = slice_from(in, 1);
            is_behind_word = true;
        } else {
            escape_front(&in, out);
            is_behind_word = true;
        }
    }
}

void dsn_escape_address(struct slice in, struct buf *out)
{
    while (in.len > 0 && !out->is_short) {
        char c = in.data[0];
        if (is_graphic(c) && c != '+' && c != '=' && c != '\\') {
            buf_append_char(out, c);
            in = slice_from(in, 1);
        } else {
            escape_front(&in, out);
        }
    }
}

/* --- unescaping --- */

static void append_character(struct buf *out, uint32_t code)
{
    if (code < 0x80) {
        buf_append_char(out, (char)code);
    } else if (code < 0x800) {
        buf_append_char(out, (char)(0xc0 | code >> 6));
        buf_append_char(out, (char)(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        buf_append_char(out, (char)(0xe0 | code >> 12));
        buf_append_char(out, (char)(0x80 | (code >> 6 & 0x3f)));
        buf_append_char(out, (char)(0x80 | (code & 0x3f)));
    } else {
        buf_append_char(out, (char)(0xf0 | (code >> 18 & 0x07)));
        buf_append_char(out, (char)(0x80 | (code >> 12 & 0x3f)));
        buf_append_char(out, (char)(0x80 | (code >> 6 & 0x3f)));
        buf_append_char(out, (char)(0x80 | (code & 0x3f)));
    }
}

static int hex_digit(char c)
{
    char lower = ascii_lower(c);
    if (c >= '0' && c <= '9') return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Reads "\x{HEX}" at the front of *in, which moves on behind it. */
static bool read_escape(struct slice *in, uint32_t *code_out)
{
    size_t at = 3;
    if (!slice_starts_with_nocase(*in, SLICE("\\x{"))) return false;
    *code_out = 0;
    while (at < in->len && at < 3 + HEX_DIGITS_MAX && hex_digit(in->data[at]) >= 0) {
        *code_out = *code_out << 4 | (uint32_t)hex_digit(in->data[at]);
        at++;
    }
    if (at == 3 || at == in->len || in->data[at] != '}') return false;
    *in = slice_from(*in, at + 1);
    return true;
}

bool dsn_unescape_address(struct slice in, struct buf *out)
{
    size_t start = out->len;
    while (in.len > 0) {
        uint32_t code;
        if (in.data[0] == '\\') {
            if (!read_escape(&in, &code)) return false;
            append_character(out, code);
        } else {
            buf_append_char(out, in.data[0]);
            in = slice_from(in, 1);
        }
    }
    return !out->is_short && dsn_is_utf8(slice_of(out->data + start, out->len - start));
}

/* --- what needs nothing --- */

bool dsn_is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != ' ' && !is_graphic(text.data[i])) return false;
    return true;
}

bool dsn_is_utf8(struct slice text)
{
    while (text.len > 0) {
        size_t bytes = utf8_char_bytes(text);
        bool is_ascii_control = bytes == 1 && text.data[0] != ' ' && !is_graphic(text.data[0]);
        if (bytes == 0 || is_ascii_control || utf8_is_control(text)) return false;
        text = slice_from(text, bytes);
    }
    return true;
}
