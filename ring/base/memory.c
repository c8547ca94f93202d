/* memory.c - the x-functions, slabs and arenas.
 *
 * Under AddressSanitizer, objects that are not handed out are poisoned, so that a use after
 * slab_put() is found as a use after free() would be. */
#include "ring/base/memory.h"

#include "ring/base/poison.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHE_LINE_BYTES 64
#define WORD_ALIGN_BYTES 16

NORETURN static void memory_is_out(void)
{
    static const char text[] = "postern: out of memory\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    _exit(EXIT_FAILURE);
}

void *xmalloc(size_t bytes)
{
    void *memory = malloc(MAX(bytes, 1));
    if (memory == NULL) memory_is_out();
    return memory;
}

void *xcalloc(size_t count, size_t bytes)
{
    void *memory = calloc(MAX(count, 1), MAX(bytes, 1));
    if (memory == NULL) memory_is_out();
    return memory;
}

void *xrealloc(void *memory, size_t bytes)
{
    void *moved = realloc(memory, MAX(bytes, 1));
    if (moved == NULL) memory_is_out();
    return moved;
}

char *xstrdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    return memcpy(xmalloc(bytes), text, bytes);
}

/* --- slab --- */

/* The head of a chunk; its objects follow. */
struct slab_chunk {
    _Alignas(CACHE_LINE_BYTES) struct slab_chunk *next;
};

/* What an object holds while nobody uses it. */
struct slab_free {
    struct slab_free *next;
};

void slab_init(struct slab *s, size_t object_bytes, size_t chunk_objects, size_t count_max)
{
    ASSERT(object_bytes > 0 && chunk_objects > 0);
    size_t align = object_bytes >= CACHE_LINE_BYTES ? CACHE_LINE_BYTES : WORD_ALIGN_BYTES;
    *s = (struct slab){
        .object_bytes = ROUND_UP(object_bytes, align),
        .chunk_objects = chunk_objects,
        .count_max = count_max,
    };
}

static size_t slab_chunk_bytes(const struct slab *s)
{
    size_t bytes = sizeof(struct slab_chunk) + s->object_bytes * s->chunk_objects;
    return ROUND_UP(bytes, CACHE_LINE_BYTES);
}

void slab_finish(struct slab *s)
{
    ASSERT(s->count == 0);
    for (struct slab_chunk *chunk = s->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        unpoison(chunk, slab_chunk_bytes(s));
        free(chunk);
    }
    s->chunks = NULL;
    s->free_list = NULL;
}

static void slab_release(struct slab *s, void *object)
{
    struct slab_free *node = object;
    node->next = s->free_list;
    s->free_list = node;
    poison(object, s->object_bytes);
}

static bool slab_grow(struct slab *s)
{
    struct slab_chunk *chunk = aligned_alloc(CACHE_LINE_BYTES, slab_chunk_bytes(s));
    if (chunk == NULL) return false;
    chunk->next = s->chunks;
    s->chunks = chunk;
    /* Backwards, so that objects are handed out in the order of their addresses. */
    char *objects = (char *)(chunk + 1);
    for (size_t i = s->chunk_objects; i > 0; i--) {
        slab_release(s, objects + (i - 1) * s->object_bytes);
    }
    return true;
}

void *slab_get(struct slab *s)
{
    if (s->count >= s->count_max) return NULL;
    if (s->free_list == NULL && !slab_grow(s)) return NULL;
    struct slab_free *node = s->free_list;
    ASSERT(node != NULL);
    unpoison(node, s->object_bytes);
    s->free_list = node->next;
    s->count++;
    return node;
}

void slab_put(struct slab *s, void *object)
{
    if (object == NULL) return;
    ASSERT(s->count > 0);
    slab_release(s, object);
    s->count--;
}

/* --- arena --- */

/* The head of a chunk; its memory follows, aligned as the head is. */
struct arena_chunk {
    _Alignas(WORD_ALIGN_BYTES) struct arena_chunk *next;
};

void arena_init(struct arena *a, size_t chunk_bytes, size_t bytes_max)
{
    ASSERT(chunk_bytes > 0);
    *a = (struct arena){
        .chunk_bytes = ROUND_UP(chunk_bytes, WORD_ALIGN_BYTES),
        .bytes_max = bytes_max,
    };
}

void arena_finish(struct arena *a)
{
    for (struct arena_chunk *chunk = a->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    a->chunks = NULL;
    a->at = a->end = NULL;
    a->bytes = 0;
}

/* A chunk with `bytes` of memory. Chunks count in full, so that bytes_max bounds what is really
 * taken from the system. */
static char *arena_grow(struct arena *a, size_t bytes)
{
    ASSERT(bytes <= a->bytes_max - a->bytes);
    struct arena_chunk *chunk = malloc(sizeof(*chunk) + bytes);
    if (chunk == NULL) return NULL;
    chunk->next = a->chunks;
    a->chunks = chunk;
    a->bytes += bytes;
    return (char *)(chunk + 1);
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - WORD_ALIGN_BYTES) return NULL;
    size_t need = ROUND_UP(MAX(bytes, 1), WORD_ALIGN_BYTES);
    if (need <= (size_t)(a->end - a->at)) {
        char *memory = a->at;
        a->at += need;
        return memory;
    }

    /* The bound is not always a multiple of the alignment; the last bytes may be used all the
     * same, so only what is really asked for is checked against it. */
    size_t room = a->bytes_max - a->bytes;
    if (bytes > room) return NULL;
    if (need >= a->chunk_bytes || need > room) {
        /* A large one gets a chunk of its own; small ones go on in the current chunk. */
        return arena_grow(a, MIN(need, room));
    }
    size_t chunk_bytes = MIN(a->chunk_bytes, room);
    char *memory = arena_grow(a, chunk_bytes);
    if (memory == NULL) return NULL;
    a->at = memory + need;
    a->end = memory + chunk_bytes;
    return memory;
}

char *arena_copy(struct arena *a, const void *data, size_t len)
{
    if (len == SIZE_MAX) return NULL;
    char *text = arena_alloc(a, len + 1);
    if (text == NULL) return NULL;
    if (len > 0) memcpy(text, data, len);
    text[len] = '\0';
    return text;
}
