/* message.c - ids as text. */
#include "store/message.h"

#define BITS_PER_CHARACTER 5

/* Crockford's base 32: no I, L, O, U. */
static const char digits[32] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

_Static_assert(MESSAGE_ID_TEXT *BITS_PER_CHARACTER >= 64, "an id fits its text");

void message_id_write(uint64_t id, char out[MESSAGE_ID_TEXT])
{
    for (int i = MESSAGE_ID_TEXT - 1; i >= 0; i--, id >>= BITS_PER_CHARACTER)
        out[i] = digits[id & 31];
    ASSERT(id == 0);
}

/* What people type for a digit: any case, O for 0, I and L for 1. -1: not a digit. */
static int digit_value(char c)
{
    if (c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
    if (c == 'O') return 0;
    if (c == 'I' || c == 'L') return 1;
    for (int i = 0; i < 32; i++)
        if (digits[i] == c) return i;
    return -1;
}

bool message_id_parse(struct slice text, uint64_t *id_out)
{
    if (text.len != MESSAGE_ID_TEXT) return false;
    uint64_t id = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit_value(text.data[i]);
        if (value < 0) return false;
        if (id >> (64 - BITS_PER_CHARACTER) != 0) return false;
        id = id << BITS_PER_CHARACTER | (uint64_t)value;
    }
    *id_out = id;
    return true;
}
