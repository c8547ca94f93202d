/* memory.h - allocation at start, and pools for run time.
 *
 * The x-functions end the process with one line when memory is out: they are for start and for
 * objects whose number another limit already bounds. A slab hands out objects of one size from
 * chunks that it keeps; it never grows past `count_max` and then returns NULL. */
#pragma once

#include "ring/base/base.h"

void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *memory, size_t bytes);
char *xstrdup(const char *text);

struct slab {
    size_t object_bytes, chunk_objects;
    size_t count, count_max; /* in use now, and at most */
    void *free_list;
    void *chunks;
};

/* Objects are aligned to 64 bytes when they are that large, to 16 otherwise. */
void slab_init(struct slab *s, size_t object_bytes, size_t chunk_objects, size_t count_max);
/* Every object must have been given back. */
void slab_finish(struct slab *s);
/* Not zeroed. NULL when count_max objects are in use or memory is out. */
MUST_USE void *slab_get(struct slab *s);
void slab_put(struct slab *s, void *object); /* NULL is allowed */

/* An arena: many small allocations that end together. Chunks are of `chunk_bytes`; an allocation
 * that would take the arena past `bytes_max` returns NULL. */
struct arena {
    void *chunks;
    char *at, *end;
    size_t chunk_bytes, bytes, bytes_max;
};

void arena_init(struct arena *a, size_t chunk_bytes, size_t bytes_max);
void arena_finish(struct arena *a);
void *arena_alloc(struct arena *a, size_t bytes);
/* A terminated copy of `len` bytes. */
char *arena_copy(struct arena *a, const void *data, size_t len);
