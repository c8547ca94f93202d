/* map.c - a chained hash table with SipHash-1-3 under a key of the process.
 *
 * The table doubles when it holds a node a slot; it keeps its size when nodes leave, because what
 * was full once (connections, destinations) will be again. Nodes keep their hash, so that growing
 * and removing never look at keys. */
#include "ring/base/map.h"

#include "ring/base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define MAP_SLOTS_MIN 16

static struct {
    pthread_once_t once;
    uint64_t key[2];
} secret = {.once = PTHREAD_ONCE_INIT};

static void secret_draw(void)
{
    ssize_t got;
    do {
        got = getrandom(secret.key, sizeof(secret.key), 0);
    } while (got < 0 && errno == EINTR);
    /* So short a read from the kernel's pool never fails once the machine is up. */
    ASSERT(got == sizeof(secret.key));
}

static inline uint64_t rotate_left(uint64_t n, unsigned bits)
{
    return n << bits | n >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate_left(v[1], 13) ^ v[0];
    v[0] = rotate_left(v[0], 32);
    v[2] += v[3];
    v[3] = rotate_left(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate_left(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate_left(v[1], 17) ^ v[2];
    v[2] = rotate_left(v[2], 32);
}

uint64_t hash_bytes_keyed(struct slice key, uint64_t secret0, uint64_t secret1)
{
    uint64_t v[4] = {secret0 ^ 0x736f6d6570736575, secret1 ^ 0x646f72616e646f6d,
                     secret0 ^ 0x6c7967656e657261, secret1 ^ 0x7465646279746573};
    size_t at = 0;
    for (; key.len - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, key.data + at, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)key.len << 56;
    for (unsigned shift = 0; at < key.len; at++, shift += 8) {
        last |= (uint64_t)(uint8_t)key.data[at] << shift;
    }
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;

    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_bytes(struct slice key)
{
    pthread_once(&secret.once, secret_draw);
    return hash_bytes_keyed(key, secret.key[0], secret.key[1]);
}

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_finish(struct map *m)
{
    free(m->slots);
    map_init(m);
}

static struct map_node **map_slot(const struct map *m, uint64_t hash)
{
    return &m->slots[hash & (m->slot_count - 1)];
}

struct map_node *map_find(const struct map *m, struct slice key, map_match *match)
{
    if (m->count == 0) return NULL;
    uint64_t hash = hash_bytes(key);
    for (struct map_node *node = *map_slot(m, hash); node != NULL; node = node->next) {
        if (node->hash == hash && match(node, key)) return node;
    }
    return NULL;
}

static void map_link(struct map *m, struct map_node *node)
{
    struct map_node **slot = map_slot(m, node->hash);
    node->next = *slot;
    *slot = node;
}

static void map_grow(struct map *m)
{
    struct map old = *m;
    m->slot_count = MAX(old.slot_count * 2, MAP_SLOTS_MIN);
    m->slots = xcalloc(m->slot_count, sizeof(*m->slots));
    for (size_t i = 0; i < old.slot_count; i++) {
        for (struct map_node *node = old.slots[i], *next; node != NULL; node = next) {
            next = node->next;
            map_link(m, node);
        }
    }
    free(old.slots);
}

void map_insert(struct map *m, struct slice key, struct map_node *node)
{
    if (m->count == m->slot_count) map_grow(m);
    node->hash = hash_bytes(key);
    map_link(m, node);
    m->count++;
}

void map_remove(struct map *m, struct map_node *node)
{
    ASSERT(m->count > 0);
    struct map_node **at = map_slot(m, node->hash);
    while (*at != node) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = node->next;
    node->next = NULL;
    m->count--;
}

struct map_node *map_next(const struct map *m, const struct map_node *after)
{
    size_t at = 0;
    if (after != NULL) {
        if (after->next != NULL) return after->next;
        at = (after->hash & (m->slot_count - 1)) + 1;
    }
    for (; at < m->slot_count; at++) {
        if (m->slots[at] != NULL) return m->slots[at];
    }
    return NULL;
}
