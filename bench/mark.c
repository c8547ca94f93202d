/* mark.c - writes and reads the marks of a message. Pure; any thread. */
#include "bench/mark.h"

#define RECIPIENT_NUMBER_MAX 1000000

void mark_write_hex(uint64_t n, char *out)
{
    for (size_t i = MARK_HEX_BYTES; i-- > 0; n >>= 4) {
        out[i] = "0123456789abcdef"[n & 15];
    }
}

void mark_write_number(uint64_t n, char *out)
{
    ASSERT(n <= MARK_NUMBER_MAX);
    for (size_t i = MARK_NUMBER_BYTES; i-- > 0; n /= 10) {
        out[i] = (char)('0' + n % 10);
    }
}

bool mark_parse_hex(struct slice text, uint64_t *out)
{
    if (text.len != MARK_HEX_BYTES) return false;
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        unsigned digit;
        if (c >= '0' && c <= '9') {
            digit = (unsigned)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (unsigned)(c - 'a') + 10;
        } else {
            return false;
        }
        n = n << 4 | digit;
    }
    *out = n;
    return true;
}

bool mark_parse_number(struct slice text, uint64_t *out)
{
    return text.len == MARK_NUMBER_BYTES && slice_to_u64(text, MARK_NUMBER_MAX, out);
}

void mark_write_id(const struct message_id *id, char *out)
{
    mark_write_hex(id->run, out);
    out[MARK_HEX_BYTES] = '-';
    mark_write_number(id->number, out + MARK_HEX_BYTES + 1);
}

bool mark_parse_id(struct slice text, struct message_id *out)
{
    return text.len == MARK_ID_BYTES && text.data[MARK_HEX_BYTES] == '-' &&
           mark_parse_hex(slice_of(text.data, MARK_HEX_BYTES), &out->run) &&
           mark_parse_number(slice_from(text, MARK_HEX_BYTES + 1), &out->number);
}

uint64_t mark_recipient_bit(struct slice address)
{
    const char *at = address.len == 0 ? NULL : memchr(address.data, '@', address.len);
    size_t end = at == NULL ? address.len : (size_t)(at - address.data);
    size_t start = end;
    while (start > 0 && address.data[start - 1] >= '0' && address.data[start - 1] <= '9') {
        start--;
    }
    uint64_t number;
    if (start == end) return 1;
    struct slice digits = slice_of(address.data + start, end - start);
    if (!slice_to_u64(digits, RECIPIENT_NUMBER_MAX, &number)) return MARK_RECIPIENT_OTHER;
    if (number == 0) return 1;
    return number < 64 ? 1ull << (number - 1) : MARK_RECIPIENT_OTHER;
}
