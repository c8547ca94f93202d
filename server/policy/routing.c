/* routing.c - the lists of all routes in three hash tables: recipients, domains, and the suffixes
 * behind "*.".
 *
 * The order of routes decides, not how closely an entry fits. A key that several routes name keeps
 * the first of them, and of all keys that an address matches the lowest route wins: a lookup costs
 * the same however long the lists are. */
#include "server/policy/routing.h"

#include "ring/base/map.h"
#include "ring/base/memory.h"
#include "server/smtp/address.h"

#include <stdlib.h>

#define ADDRESS_BYTES_MAX (LOCAL_PART_BYTES_MAX + DOMAIN_BYTES_MAX + 2)

struct entry {
    struct map_node node;
    struct slice key; /* into the configuration, or `owned` */
    size_t route;
    char *owned;
};

struct routing {
    const struct config *config;
    char *hostname; /* lower case */
    struct map recipients, domains, suffixes;
    size_t any_route;        /* the first that takes every domain; route_count: none */
    size_t suffix_bytes_max; /* of the longest suffix: longer ones need no lookup */
    struct entry *entries;
    size_t entry_count;
};

static bool entry_match(const struct map_node *node, struct slice key)
{
    return slice_eq(CONTAINER_OF(node, const struct entry, node)->key, key);
}

/* Routes are added in their order, so that the first to name a key keeps it. */
static void key_add(struct routing *r, struct map *map, struct slice key, char *owned, size_t route)
{
    if (map_find(map, key, entry_match) != NULL) {
        free(owned);
        return;
    }
    struct entry *entry = &r->entries[r->entry_count++];
    *entry = (struct entry){.key = key, .route = route, .owned = owned};
    map_insert(map, key, &entry->node);
}

static void domain_add(struct routing *r, struct slice domain, size_t route)
{
    const struct slice wildcard = SLICE("*.");
    if (slice_eq(domain, SLICE("*"))) {
        r->any_route = MIN(r->any_route, route);
    } else if (slice_starts_with_nocase(domain, wildcard)) {
        struct slice suffix = slice_from(domain, wildcard.len);
        r->suffix_bytes_max = MAX(r->suffix_bytes_max, suffix.len);
        key_add(r, &r->suffixes, suffix, NULL, route);
    } else {
        key_add(r, &r->domains, domain, NULL, route);
    }
}

/* An entry without a domain is at node.hostname, as an address without one is. */
static void recipient_add(struct routing *r, struct slice recipient, size_t route)
{
    char *owned = NULL;
    if (memchr(recipient.data, '@', recipient.len) == NULL) {
        struct buf full = {.cap = recipient.len + 1 + strlen(r->hostname)};
        full.data = owned = xmalloc(full.cap);
        buf_append_slice(&full, recipient);
        buf_append_char(&full, '@');
        buf_append_cstr(&full, r->hostname);
        recipient = buf_slice(&full);
    }
    key_add(r, &r->recipients, recipient, owned, route);
}

static void bytes_lower(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = ascii_lower(bytes[i]);
    }
}

struct routing *routing_create(const struct config *config)
{
    struct routing *r = xcalloc(1, sizeof(*r));
    r->config = config;
    r->any_route = config->route_count;
    r->hostname = xstrdup(config->node.hostname);
    bytes_lower(r->hostname, strlen(r->hostname));
    map_init(&r->recipients);
    map_init(&r->domains);
    map_init(&r->suffixes);

    size_t count = 0;
    for (size_t i = 0; i < config->route_count; i++) {
        count += config->routes[i].domains.count + config->routes[i].recipients.count;
    }
    r->entries = xcalloc(MAX(count, 1), sizeof(*r->entries));
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        for (size_t k = 0; k < route->domains.count; k++) {
            domain_add(r, slice_of_cstr(route->domains.entries[k]), i);
        }
        for (size_t k = 0; k < route->recipients.count; k++) {
            recipient_add(r, slice_of_cstr(route->recipients.entries[k]), i);
        }
    }
    ASSERT(r->entry_count <= count);
    return r;
}

void routing_destroy(struct routing *routing)
{
    if (routing == NULL) return;
    map_finish(&routing->recipients);
    map_finish(&routing->domains);
    map_finish(&routing->suffixes);
    for (size_t i = 0; i < routing->entry_count; i++) {
        free(routing->entries[i].owned);
    }
    free(routing->entries);
    free(routing->hostname);
    free(routing);
}

/* The lower of `route` and the one that `key` has. */
static size_t route_of_key(const struct map *map, struct slice key, size_t route)
{
    if (map->count == 0) return route;
    const struct map_node *node = map_find(map, key, entry_match);
    if (node == NULL) return route;
    return MIN(route, CONTAINER_OF(node, const struct entry, node)->route);
}

static size_t route_of_suffixes(const struct routing *r, struct slice domain, size_t route)
{
    if (r->suffixes.count == 0) return route;
    for (size_t at = 0; at < domain.len; at++) {
        if (domain.data[at] != '.' || domain.len - at - 1 > r->suffix_bytes_max) continue;
        route = route_of_key(&r->suffixes, slice_from(domain, at + 1), route);
    }
    return route;
}

const struct config_route *routing_find(const struct routing *routing, struct slice address)
{
    const size_t none = routing->config->route_count;
    char lowered[ADDRESS_BYTES_MAX];
    struct buf full = {lowered, 0, sizeof(lowered), false};

    /* A quoted local part may hold an "@": the last one stands before the domain. */
    const char *at_sign = memrchr(address.data, '@', address.len);
    size_t local_len = at_sign == NULL ? address.len : (size_t)(at_sign - address.data);
    if (!buf_append_slice(&full, address)) return NULL;
    bytes_lower(lowered, full.len);
    if (at_sign == NULL) {
        buf_append_char(&full, '@');
        buf_append_cstr(&full, routing->hostname);
        if (full.is_short) return NULL;
    } else if (full.len > local_len + 1 && lowered[full.len - 1] == '.') {
        full.len--;
    }

    struct slice domain = slice_from(buf_slice(&full), local_len + 1);
    size_t route = route_of_key(&routing->recipients, buf_slice(&full), none);
    route = route_of_key(&routing->domains, domain, route);
    /* An address literal is no domain name: only an entry that spells it out takes it. */
    bool is_literal = domain.len > 0 && domain.data[0] == '[';
    if (!is_literal) {
        route = route_of_suffixes(routing, domain, route);
        route = MIN(route, routing->any_route);
    }
    return route == none ? NULL : &routing->config->routes[route];
}
