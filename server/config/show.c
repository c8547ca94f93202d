/* show.c - the effective configuration as text, and what of it a reload cannot change. */
#include "server/config/reading.h"

#include <stdlib.h>

#define SHOW_COLUMN 60 /* where the origins stand, if the value leaves room */

static void write_value(const struct origin *origin, FILE *out)
{
    key_types[origin->key->kind].write(origin->key, origin->base, out);
}

/* The caller frees it. NULL: out of memory. */
static char *value_text(const struct origin *origin)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL) return NULL;
    write_value(origin, out);
    fclose(out);
    return text;
}

void config_show(const struct config *config, FILE *out)
{
    const struct config_origins *origins = config->origins;
    for (size_t i = 0; i < origins->count; i++) {
        const struct origin *origin = &origins->entries[i];
        char *value = value_text(origin);
        if (value == NULL) continue;
        int len = fprintf(out, "%s: %s", origin->path, value);
        fprintf(out, "%*s  # %s\n", MAX(SHOW_COLUMN - len, 0), "", origin->place);
        free(value);
    }
}

static bool values_are_equal(const struct origin *a, const struct origin *b)
{
    if (strcmp(a->path, b->path) != 0) return false;
    char *a_text = value_text(a), *b_text = value_text(b);
    bool is_equal = a_text != NULL && b_text != NULL && strcmp(a_text, b_text) == 0;
    free(a_text);
    free(b_text);
    return is_equal;
}

/* The first entry from `*at` on that a reload cannot change. */
static const struct origin *next_fixed(const struct config_origins *origins, size_t *at)
{
    while (*at < origins->count) {
        const struct origin *origin = &origins->entries[(*at)++];
        if (origin->key->needs_restart) return origin;
    }
    return NULL;
}

/* Both lists are in the order of the schema and of the listeners, so a listener that was added,
 * removed or moved shows as a difference too. */
const char *config_needs_restart(const struct config *now, const struct config *next)
{
    size_t now_at = 0, next_at = 0;
    for (;;) {
        const struct origin *old = next_fixed(now->origins, &now_at);
        const struct origin *new = next_fixed(next->origins, &next_at);
        if (old == NULL && new == NULL) return NULL;
        if (new == NULL) return old->path;
        if (old == NULL || !values_are_equal(old, new)) return new->path;
    }
}
