/* suspension.c - sets of suspended destinations: sorted, so that one is found by halves. */
#include "server/delivery/suspension.h"

#include "ring/base/memory.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const struct suspension *left = a, *right = b;
    return strcasecmp(left->destination, right->destination);
}

struct suspensions *suspensions_create(const struct suspension *entries, size_t count)
{
    ASSERT(count <= SUSPENSIONS_MAX);
    struct suspensions *made = xcalloc(1, sizeof(*made) + count * sizeof(made->entries[0]));
    made->references = 1;
    made->count = count;
    for (size_t i = 0; i < count; i++) {
        made->entries[i] = entries[i];
        made->entries[i].destination = xstrdup(entries[i].destination);
        made->entries[i].reason = xstrdup(entries[i].reason);
    }
    qsort(made->entries, count, sizeof(made->entries[0]), compare);
    return made;
}

struct suspensions *suspensions_ref(struct suspensions *suspensions)
{
    __atomic_fetch_add(&suspensions->references, 1, __ATOMIC_RELAXED);
    return suspensions;
}

void suspensions_unref(struct suspensions *suspensions)
{
    if (suspensions == NULL) return;
    if (__atomic_sub_fetch(&suspensions->references, 1, __ATOMIC_ACQ_REL) > 0) return;
    for (size_t i = 0; i < suspensions->count; i++) {
        free(suspensions->entries[i].destination);
        free(suspensions->entries[i].reason);
    }
    free(suspensions);
}

const struct suspension *suspensions_find(const struct suspensions *suspensions,
                                          struct slice destination, uint64_t now_ms)
{
    if (suspensions == NULL) return NULL;
    size_t low = 0, high = suspensions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct suspension *at = &suspensions->entries[middle];
        struct slice name = slice_of_cstr(at->destination);
        int order = strncasecmp(name.data, destination.data, MIN(name.len, destination.len));
        if (order == 0) order = (name.len > destination.len) - (name.len < destination.len);
        if (order == 0) return at->until_ms == 0 || now_ms < at->until_ms ? at : NULL;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
