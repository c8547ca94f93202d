/* suggest.c - edit distance with neighbours swapped counted as one (optimal string alignment). */
#include "server/config/suggest.h"

static unsigned distance(struct slice a, struct slice b)
{
    unsigned rows[3][SUGGEST_BYTES_MAX + 1];
    ASSERT(a.len <= SUGGEST_BYTES_MAX && b.len <= SUGGEST_BYTES_MAX);
    for (size_t j = 0; j <= b.len; j++) {
        rows[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i - 1) % 3], *third = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = ascii_lower(a.data[i - 1]), y = ascii_lower(b.data[j - 1]);
            unsigned replaced = above[j - 1] + (x != y);
            row[j] = MIN(replaced, MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && x == ascii_lower(b.data[j - 2]) &&
                y == ascii_lower(a.data[i - 2])) {
                row[j] = MIN(row[j], third[j - 2] + 1);
            }
        }
    }
    return rows[a.len % 3][b.len];
}

const char *suggest(struct slice word, const char *best, const char *candidate)
{
    struct slice other = slice_of_cstr(candidate);
    if (word.len == 0 || word.len > SUGGEST_BYTES_MAX || other.len > SUGGEST_BYTES_MAX) return best;
    unsigned near = distance(word, other);
    if (near > (MAX(word.len, other.len) + 2) / 4 && near > 1) return best;
    if (near >= MIN(word.len, other.len)) return best; /* nothing in common */
    if (best != NULL && distance(word, slice_of_cstr(best)) <= near) return best;
    return candidate;
}
