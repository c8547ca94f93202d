/* map.h - a hash table of embedded nodes, keyed with a secret.
 *
 * The keys come from peers (addresses, domains), so the hash is SipHash-1-3 under a key that is
 * drawn once a process: nobody outside can make collisions. The table does not own the nodes. */
#pragma once

#include "ring/base/slice.h"

struct map_node {
    struct map_node *next;
    uint64_t hash;
};

struct map {
    struct map_node **slots;
    size_t slot_count, count;
};

/* True when `node` carries the key `key`. */
typedef bool map_match(const struct map_node *node, struct slice key);

uint64_t hash_bytes(struct slice key);
/* The same under a key of the caller, for hashes that must be the same in every process. */
uint64_t hash_bytes_keyed(struct slice key, uint64_t secret0, uint64_t secret1);

void map_init(struct map *m);
void map_finish(struct map *m); /* nodes are left alone */
/* NULL when the key is not there. */
struct map_node *map_find(const struct map *m, struct slice key, map_match *match);
/* The key must not be in the map. */
void map_insert(struct map *m, struct slice key, struct map_node *node);
void map_remove(struct map *m, struct map_node *node);
/* Every node once, in no order: start with NULL. Nodes may not be added or removed meanwhile. */
struct map_node *map_next(const struct map *m, const struct map_node *after);
