/* utf8.c - see utf8.h. The second byte alone decides about overlong forms, surrogates and the end
 * of the range (RFC 3629 section 4), so a character is one look at the first two bytes. */
#include "server/smtp/utf8.h"

/* The whole length by the first byte; *low_out and *high_out bound the second. 0: no first byte. */
static size_t lead_bytes(uint8_t lead, uint8_t *low_out, uint8_t *high_out)
{
    *low_out = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high_out = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0;
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}

size_t utf8_char_bytes(struct slice in)
{
    if (in.len == 0) return 0;
    uint8_t low, high;
    size_t bytes = lead_bytes((uint8_t)in.data[0], &low, &high);
    if (bytes == 0 || bytes > in.len) return 0;
    for (size_t i = 1; i < bytes; i++) {
        uint8_t byte = (uint8_t)in.data[i];
        if (byte < low || byte > high) return 0;
        low = 0x80;
        high = 0xbf;
    }
    return bytes;
}

bool utf8_is_control(struct slice in)
{
    return utf8_char_bytes(in) == 2 && (uint8_t)in.data[0] == 0xc2 && (uint8_t)in.data[1] < 0xa0;
}

bool utf8_is_valid(struct slice in)
{
    while (in.len > 0) {
        size_t bytes = utf8_char_bytes(in);
        if (bytes == 0) return false;
        in = slice_from(in, bytes);
    }
    return true;
}

bool utf8_is_needed(struct slice in)
{
    uint64_t bits = 0, eight;
    size_t at = 0;
    for (; at + sizeof(eight) <= in.len; at += sizeof(eight)) {
        memcpy(&eight, in.data + at, sizeof(eight));
        bits |= eight;
    }
    for (; at < in.len; at++) {
        bits |= (uint8_t)in.data[at];
    }
    return (bits & 0x8080808080808080u) != 0;
}
