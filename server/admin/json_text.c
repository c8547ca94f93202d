/* json_text.c - see json_text.h. */
#include "server/admin/json_text.h"

#include "ring/base/memory.h"

#include <stdlib.h>

json_t *json_text(struct slice s)
{
    json_t *value = json_stringn(s.data, s.len);
    if (value != NULL) return value;
    char *text = xmalloc(2 * s.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c >= 0x80) {
            text[len++] = (char)(0xc0 | (c >> 6));
            c = 0x80 | (c & 0x3f);
        }
        text[len++] = (char)c;
    }
    value = json_stringn(text, len);
    free(text);
    return value;
}
