/* throttle.c - two tables with a limit each: failures, and users known at a client.
 *
 * Failures are in the first; a flood of them throws out others of its kind, never a known pair.
 * Each table is a map and a list in the order of use. One lock is enough: it is held for less than
 * a microsecond, next to milliseconds for a password. */
#include "server/auth/throttle.h"

#include "ring/base/clock.h"
#include "ring/base/list.h"
#include "ring/base/map.h"
#include "ring/base/memory.h"

#include <pthread.h>
#include <stdlib.h>

#define CLIENT_BYTES 8 /* of an IPv6 address: its network */

enum key_kind { KEY_CLIENT, KEY_USER, KEY_PAIR };

/* Compared as bytes: no padding, and what is not used is zero. Users are named by their keyed hash:
 * to find two with the same one cannot be done from outside. */
struct key {
    uint64_t user;
    uint8_t client[CLIENT_BYTES];
    uint8_t client_len; /* 4: IPv4 */
    uint8_t kind;
    uint8_t unused[6];
};
_Static_assert(sizeof(struct key) == 24, "keys have no padding");

struct entry {
    struct map_node node;
    struct list used; /* of the table, the latest first */
    struct key key;
    uint32_t failures;
    uint64_t touched_ns; /* the last failure; of a known pair the last success */
    uint64_t held_until_ns;
};

struct table {
    struct map map;
    struct list used;
    size_t entries_max;
};

struct auth_throttle {
    pthread_mutex_t lock;
    struct table failures, known;
};

/* --- tables --- */

static void table_init(struct table *table, size_t entries_max)
{
    map_init(&table->map);
    list_init(&table->used);
    table->entries_max = entries_max;
}

static void entry_remove(struct table *table, struct entry *entry)
{
    if (entry == NULL) return;
    map_remove(&table->map, &entry->node);
    list_remove(&entry->used);
    free(entry);
}

static void table_finish(struct table *table)
{
    while (!list_is_empty(&table->used))
        entry_remove(table, LIST_ENTRY(table->used.next, struct entry, used));
    map_finish(&table->map);
}

static bool entry_match(const struct map_node *node, struct slice key)
{
    const struct entry *entry = CONTAINER_OF(node, struct entry, node);
    return slice_eq(slice_of(&entry->key, sizeof(entry->key)), key);
}

static struct entry *entry_find(const struct table *table, const struct key *key)
{
    struct map_node *node = map_find(&table->map, slice_of(key, sizeof(*key)), entry_match);
    return node != NULL ? CONTAINER_OF(node, struct entry, node) : NULL;
}

/* The entry, made when it is not there, as the one that was used last. */
static struct entry *entry_use(struct table *table, const struct key *key)
{
    struct entry *entry = entry_find(table, key);
    if (entry == NULL) {
        if (table->map.count >= table->entries_max)
            entry_remove(table, LIST_ENTRY(table->used.prev, struct entry, used));
        entry = xcalloc(1, sizeof(*entry));
        entry->key = *key;
        map_insert(&table->map, slice_of(&entry->key, sizeof(entry->key)), &entry->node);
    } else {
        list_remove(&entry->used);
    }
    list_push_front(&table->used, &entry->used);
    return entry;
}

/* --- keys --- */

static struct key key_of(enum key_kind kind, const struct endpoint *client, struct slice user)
{
    struct key key = {.kind = (uint8_t)kind};
    if (kind != KEY_USER) {
        struct slice address = endpoint_key(client);
        key.client_len = (uint8_t)MIN(address.len, (size_t)CLIENT_BYTES);
        memcpy(key.client, address.data, key.client_len);
    }
    if (kind != KEY_CLIENT) key.user = hash_bytes(user);
    return key;
}

/* --- the rules --- */

static bool is_past(uint64_t now_ns, uint64_t then_ns, uint64_t seconds)
{
    return now_ns > then_ns && (now_ns - then_ns) / NS_PER_S >= seconds;
}

static bool is_held(const struct table *table, const struct key *key, uint64_t now_ns)
{
    const struct entry *entry = entry_find(table, key);
    return entry != NULL && entry->held_until_ns > now_ns;
}

static bool is_known(const struct auth_throttle *t, const struct key *pair, uint64_t now_ns)
{
    const struct entry *entry = entry_find(&t->known, pair);
    return entry != NULL && !is_past(now_ns, entry->touched_ns, THROTTLE_KNOWN_S);
}

static bool is_admitted(const struct auth_throttle *t, const struct endpoint *client,
                        struct slice user, uint64_t now_ns)
{
    struct key pair_key = key_of(KEY_PAIR, client, user);
    struct key client_key = key_of(KEY_CLIENT, client, user);
    struct key user_key = key_of(KEY_USER, client, user);
    if (is_held(&t->failures, &pair_key, now_ns)) return false;
    if (is_known(t, &pair_key, now_ns)) return true;
    return !is_held(&t->failures, &client_key, now_ns) && !is_held(&t->failures, &user_key, now_ns);
}

static void count_failure(struct table *table, const struct key *key, uint64_t failures_max,
                          uint64_t hold_s_max, uint64_t now_ns)
{
    struct entry *entry = entry_use(table, key);
    uint64_t quiet_since_ns = MAX(entry->touched_ns, entry->held_until_ns);
    if (is_past(now_ns, quiet_since_ns, THROTTLE_MEMORY_S)) entry->failures = 0;
    entry->touched_ns = now_ns;
    if (entry->failures < UINT32_MAX) entry->failures++;
    if (entry->failures < failures_max) return;
    uint64_t hold_s = THROTTLE_HOLD_S_MIN;
    for (uint64_t i = failures_max; i < entry->failures && hold_s < hold_s_max; i++)
        hold_s *= 2;
    entry->held_until_ns = now_ns + MIN(hold_s, hold_s_max) * NS_PER_S;
}

struct auth_throttle *auth_throttle_create(size_t entries_max)
{
    struct auth_throttle *t = xcalloc(1, sizeof(*t));
    size_t count = entries_max > 0 ? entries_max : THROTTLE_ENTRIES_MAX;
    pthread_mutex_init(&t->lock, NULL);
    table_init(&t->failures, count);
    table_init(&t->known, count);
    return t;
}

void auth_throttle_destroy(struct auth_throttle *t)
{
    if (t == NULL) return;
    table_finish(&t->failures);
    table_finish(&t->known);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

bool auth_throttle_admits(struct auth_throttle *t, const struct endpoint *client, struct slice user,
                          uint64_t now_ns)
{
    pthread_mutex_lock(&t->lock);
    bool is_let_in = is_admitted(t, client, user, now_ns);
    pthread_mutex_unlock(&t->lock);
    return is_let_in;
}

void auth_throttle_failed(struct auth_throttle *t, const struct endpoint *client, struct slice user,
                          uint64_t failures_max, uint64_t now_ns)
{
    struct key keys[] = {
        key_of(KEY_CLIENT, client, user),
        key_of(KEY_PAIR, client, user),
        key_of(KEY_USER, client, user),
    };
    pthread_mutex_lock(&t->lock);
    count_failure(&t->failures, &keys[0], failures_max, THROTTLE_HOLD_S_MAX, now_ns);
    count_failure(&t->failures, &keys[1], failures_max, THROTTLE_HOLD_S_MAX, now_ns);
    count_failure(&t->failures, &keys[2], MAX(failures_max, (uint64_t)THROTTLE_USER_FAILURES_MAX),
                  THROTTLE_USER_HOLD_S_MAX, now_ns);
    pthread_mutex_unlock(&t->lock);
}

bool auth_throttle_succeeded(struct auth_throttle *t, const struct endpoint *client,
                             struct slice user, uint64_t now_ns)
{
    struct key pair = key_of(KEY_PAIR, client, user);
    pthread_mutex_lock(&t->lock);
    bool is_let_in = is_admitted(t, client, user, now_ns);
    if (is_let_in) {
        entry_remove(&t->failures, entry_find(&t->failures, &pair));
        entry_use(&t->known, &pair)->touched_ns = now_ns;
    }
    pthread_mutex_unlock(&t->lock);
    return is_let_in;
}
