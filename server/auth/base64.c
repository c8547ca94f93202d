/* base64.c - four characters to three bytes and back. */
#include "server/auth/base64.h"

#define NO_DIGIT 0xff

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static unsigned digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z') return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9') return (unsigned)(c - '0') + 52;
    return c == '+' ? 62 : c == '/' ? 63 : NO_DIGIT;
}

static size_t padding_of(struct slice text)
{
    if (text.len == 0 || text.data[text.len - 1] != '=') return 0;
    return text.data[text.len - 2] == '=' ? 2 : 1;
}

/* One group of four, of which the last `padding` are "=". False when it is none. */
static bool decode_group(const char *group, size_t padding, unsigned char bytes[3])
{
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        unsigned digit = i < 4 - padding ? digit_of(group[i]) : 0;
        if (digit == NO_DIGIT) return false;
        bits = bits << 6 | digit;
    }
    uint32_t unused = padding == 2 ? 0xffff : padding == 1 ? 0xff : 0;
    if ((bits & unused) != 0) return false;
    bytes[0] = (unsigned char)(bits >> 16);
    bytes[1] = (unsigned char)(bits >> 8);
    bytes[2] = (unsigned char)bits;
    return true;
}

bool base64_decode(struct slice text, struct buf *out)
{
    if (text.len % 4 != 0) return false;
    size_t padding = padding_of(text), start = out->len;
    if (BASE64_DECODED_BYTES(text.len) - padding > buf_room(out)) return false;
    for (size_t at = 0; at < text.len; at += 4) {
        unsigned char bytes[3];
        size_t missing = at + 4 == text.len ? padding : 0;
        if (!decode_group(text.data + at, missing, bytes)) {
            out->len = start;
            return false;
        }
        buf_append(out, bytes, 3 - missing);
    }
    ASSERT(!out->is_short);
    return true;
}

bool base64_encode(struct slice bytes, struct buf *out)
{
    if (BASE64_ENCODED_BYTES(bytes.len) > buf_room(out)) {
        out->is_short = true;
        return false;
    }
    for (size_t at = 0; at < bytes.len; at += 3) {
        size_t count = MIN(bytes.len - at, 3u);
        uint32_t bits = 0;
        for (size_t i = 0; i < 3; i++)
            bits = bits << 8 | (i < count ? (unsigned char)bytes.data[at + i] : 0u);
        char text[4];
        for (size_t i = 0; i < 4; i++)
            text[i] = i <= count ? alphabet[bits >> (18 - 6 * i) & 63] : '=';
        buf_append(out, text, sizeof(text));
    }
    return true;
}
