/* unstuff.c - copies line by line: the search for LF and the copy are what the C library does best.
 */
#include "server/delivery/unstuff.h"

enum { AT_START, AFTER_CR, IN_LINE };

size_t unstuff(struct unstuffer *unstuffer, struct slice in, char *out)
{
    const char *at = in.data, *end = in.data + in.len;
    size_t len = 0;
    while (at < end) {
        if (unstuffer->state == AT_START && *at == '.') {
            at++;
            unstuffer->state = IN_LINE;
            continue;
        }
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        const char *stop = lf != NULL ? lf + 1 : end;
        size_t bytes = (size_t)(stop - at);
        memcpy(out + len, at, bytes);
        len += bytes;

        if (lf == NULL) {
            unstuffer->state = stop[-1] == '\r' ? AFTER_CR : IN_LINE;
        } else {
            bool has_cr = bytes > 1 ? stop[-2] == '\r' : unstuffer->state == AFTER_CR;
            unstuffer->state = has_cr ? AT_START : IN_LINE;
        }
        at = stop;
    }
    ASSERT(len <= in.len);
    return len;
}
