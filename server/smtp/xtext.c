/* xtext.c - see xtext.h. */
#include "server/smtp/xtext.h"

/* -1: no digit. RFC 3461 has them in upper case only. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Takes one character off the front of `in`. False: it is no xtext. */
static bool char_take(struct slice *in, uint8_t *out)
{
    char c = in->data[0];
    if (c != '+') {
        *out = (uint8_t)c;
        *in = slice_from(*in, 1);
        return c > ' ' && c <= '~' && c != '=';
    }
    if (in->len < 3) return false;
    int high = hex_value(in->data[1]), low = hex_value(in->data[2]);
    if (high < 0 || low < 0) return false;
    *out = (uint8_t)(high << 4 | low);
    *in = slice_from(*in, 3);
    return true;
}

bool xtext_decode(struct slice in, struct buf *out)
{
    while (in.len > 0) {
        uint8_t byte;
        if (!char_take(&in, &byte) || !buf_append_char(out, (char)byte)) return false;
    }
    return true;
}

bool xtext_is_printable(struct slice in)
{
    while (in.len > 0) {
        uint8_t byte;
        if (!char_take(&in, &byte) || byte < ' ' || byte > '~') return false;
    }
    return true;
}

bool xtext_encode(struct slice in, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t before = out->len;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t byte = (uint8_t)in.data[i];
        bool is_plain = byte > ' ' && byte <= '~' && byte != '+' && byte != '=';
        const char escaped[3] = {'+', digits[byte >> 4], digits[byte & 15]};
        bool fits = is_plain ? buf_append_char(out, (char)byte) : buf_append(out, escaped, 3);
        if (fits) continue;
        out->len = before;
        return false;
    }
    return true;
}
