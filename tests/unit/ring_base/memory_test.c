/* memory_test.c - slabs and arenas: bounds, alignment, reuse. */
#include "ring/base/memory.h"
#include "tests/support/test.h"

TEST(a_slab_aligns_and_bounds_its_objects)
{
    static const size_t sizes[] = {1, 8, 16, 24, 63, 64, 65, 200, 4096};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slab s;
        void *objects[10];
        slab_init(&s, sizes[i], 4, ARRAY_LEN(objects));
        for (size_t k = 0; k < ARRAY_LEN(objects); k++) {
            objects[k] = slab_get(&s);
            CHECK(objects[k] != NULL);
            CHECK_EQ("align", (uintptr_t)objects[k] % (sizes[i] >= 64 ? 64 : 16), 0);
            memset(objects[k], (int)k, sizes[i]);
        }
        CHECK(slab_get(&s) == NULL);
        CHECK_EQ("count", s.count, ARRAY_LEN(objects));
        for (size_t k = 0; k < ARRAY_LEN(objects); k++) {
            const unsigned char *bytes = objects[k];
            CHECK(bytes[0] == k && bytes[sizes[i] - 1] == k);
        }
        slab_put(&s, objects[3]);
        slab_put(&s, NULL);
        CHECK_EQ("count", s.count, ARRAY_LEN(objects) - 1);
        CHECK(slab_get(&s) == objects[3]); /* the warm one first */
        CHECK(slab_get(&s) == NULL);
        for (size_t k = 0; k < ARRAY_LEN(objects); k++) {
            slab_put(&s, objects[k]);
        }
        slab_finish(&s);
    }
}

TEST(a_slab_of_none_gives_none)
{
    struct slab s;
    slab_init(&s, 32, 8, 0);
    CHECK(slab_get(&s) == NULL);
    slab_finish(&s);
}

TEST(an_arena_aligns_and_keeps_within_its_bound)
{
    struct arena a;
    arena_init(&a, 256, 1000);
    size_t total = 0;
    for (size_t bytes = 0; bytes < 400; bytes += 7) {
        char *memory = arena_alloc(&a, bytes);
        if (memory == NULL) break;
        CHECK_EQ("align", (uintptr_t)memory % 16, 0);
        memset(memory, 0xab, bytes);
        total += bytes;
        CHECK(a.bytes <= 1000);
    }
    CHECK(total > 500 && total <= 1000);
    CHECK(arena_alloc(&a, 1001) == NULL);
    CHECK(arena_alloc(&a, SIZE_MAX) == NULL);
    CHECK(arena_copy(&a, "x", SIZE_MAX) == NULL);
    arena_finish(&a);
    CHECK_EQ("empty again", a.bytes, 0);
    CHECK(arena_alloc(&a, 100) != NULL);
    arena_finish(&a);
}

TEST(an_arena_gives_all_that_its_bound_allows)
{
    static const struct {
        size_t chunk_bytes, bytes_max;
    } cases[] = {{16, 16}, {64, 10}, {4096, 100}, {4096, 4096}, {1, 1}, {4096, 100003}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a;
        arena_init(&a, cases[i].chunk_bytes, cases[i].bytes_max);
        char *memory = arena_alloc(&a, cases[i].bytes_max);
        CHECK(memory != NULL);
        memset(memory, 1, cases[i].bytes_max);
        CHECK(a.bytes <= cases[i].bytes_max);
        CHECK(arena_alloc(&a, 16) == NULL);
        arena_finish(&a);
    }
}

TEST(a_large_allocation_leaves_the_current_chunk_in_use)
{
    struct arena a;
    arena_init(&a, 1024, 1 << 20);
    char *first = arena_alloc(&a, 16);
    CHECK(arena_alloc(&a, 5000) != NULL);
    char *second = arena_alloc(&a, 16);
    CHECK(second == first + 16);
    arena_finish(&a);
}

TEST(arena_copy_terminates)
{
    struct arena a;
    arena_init(&a, 64, 64);
    char *text = arena_copy(&a, "abcdef", 3);
    CHECK(text != NULL && strcmp(text, "abc") == 0);
    text = arena_copy(&a, NULL, 0);
    CHECK(text != NULL && strcmp(text, "") == 0);
    CHECK(arena_copy(&a, "0123456789012345678901234567890123456789", 40) == NULL);
    arena_finish(&a);
}
