/* map_test.c - the hash against known values, and the table against a plain array. */
#include "ring/base/map.h"
#include "tests/support/test.h"

#define NODE_COUNT 1000

struct entry {
    struct map_node node;
    uint32_t key;
    bool is_in, is_seen;
};

static struct slice key_of(const uint32_t *key)
{
    return slice_of(key, sizeof(*key));
}

static bool entry_match(const struct map_node *node, struct slice key)
{
    return slice_eq(key_of(&CONTAINER_OF(node, const struct entry, node)->key), key);
}

/* From two other implementations: CPython's for bytes with PYTHONHASHSEED=0, and Rust's. */
TEST(the_hash_is_siphash_1_3)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        {"a", 4644417185603328019u},         {"abc", 13851880170939887858u},
        {"1234567", 11762668945129975425u},  {"12345678", 3785724242978802311u},
        {"123456789", 1133797698992234447u}, {"example.com", 9080438458399421836u},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t got = hash_bytes_keyed(slice_of_cstr(cases[i].text), 0, 0);
        CHECK_EQ(cases[i].text, got, cases[i].want);
    }
    uint64_t got = hash_bytes_keyed(SLICE(""), 0x0706050403020100, 0x0f0e0d0c0b0a0908);
    CHECK_EQ("empty", got, 0xabac0158050fc4dc);
}

TEST(the_hash_has_one_key_a_process)
{
    CHECK(hash_bytes(SLICE("a")) == hash_bytes(SLICE("a")));
    CHECK(hash_bytes(SLICE("a")) != hash_bytes(SLICE("b")));
    CHECK(hash_bytes(SLICE("a")) != hash_bytes_keyed(SLICE("a"), 0, 0));
}

static void check_all(struct map *m, struct entry *entries)
{
    size_t count = 0;
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        struct map_node *found = map_find(m, key_of(&entries[i].key), entry_match);
        CHECK(found == (entries[i].is_in ? &entries[i].node : NULL));
        entries[i].is_seen = false;
        count += entries[i].is_in;
    }
    CHECK_EQ("count", m->count, count);
    for (struct map_node *node = map_next(m, NULL); node != NULL; node = map_next(m, node)) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);
        CHECK(entry->is_in && !entry->is_seen);
        entry->is_seen = true;
        count--;
    }
    CHECK_EQ("all seen", count, 0);
}

TEST(nodes_are_found_while_the_table_grows_and_shrinks)
{
    static struct entry entries[NODE_COUNT];
    struct map m;
    map_init(&m);
    CHECK(map_next(&m, NULL) == NULL);
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        entries[i].key = i * 2654435761u;
    }
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        map_insert(&m, key_of(&entries[i].key), &entries[i].node);
        entries[i].is_in = true;
        CHECK((m.slot_count & (m.slot_count - 1)) == 0);
        if (i % 100 == 0) check_all(&m, entries);
    }
    CHECK(m.count <= m.slot_count);
    for (uint32_t i = 0; i < NODE_COUNT; i += 2) {
        map_remove(&m, &entries[i].node);
        entries[i].is_in = false;
    }
    check_all(&m, entries);
    for (uint32_t i = 1; i < NODE_COUNT; i += 2) {
        map_remove(&m, &entries[i].node);
        entries[i].is_in = false;
    }
    check_all(&m, entries);
    map_finish(&m);
}
