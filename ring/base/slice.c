/* slice.c - comparing, trimming and reading slices. */
#include "ring/base/slice.h"

#include "ring/base/memory.h"

bool slice_eq_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && slice_starts_with_nocase(a, b);
}

bool slice_starts_with_nocase(struct slice a, struct slice prefix)
{
    if (a.len < prefix.len) return false;
    for (size_t i = 0; i < prefix.len; i++) {
        if (ascii_lower(a.data[i]) != ascii_lower(prefix.data[i])) return false;
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice a)
{
    while (a.len > 0 && is_blank(a.data[a.len - 1])) {
        a.len--;
    }
    while (a.len > 0 && is_blank(a.data[0])) {
        a = slice_from(a, 1);
    }
    return a;
}

bool slice_to_u64(struct slice a, uint64_t max, uint64_t *out)
{
    if (a.len == 0) return false;
    uint64_t n = 0;
    for (size_t i = 0; i < a.len; i++) {
        if (a.data[i] < '0' || a.data[i] > '9') return false;
        uint64_t digit = (uint64_t)(a.data[i] - '0');
        if (digit > max || n > (max - digit) / 10) return false;
        n = n * 10 + digit;
    }
    *out = n;
    return true;
}

char *slice_to_cstr(struct slice a)
{
    char *text = xmalloc(a.len + 1);
    if (a.len > 0) memcpy(text, a.data, a.len);
    text[a.len] = '\0';
    return text;
}
