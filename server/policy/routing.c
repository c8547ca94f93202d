/* routing.c - the lists of all routes in three hash tables: recipients, domains, and the suffixes
 * behind "*.".
 *
 * The order of routes decides, not how closely an entry fits. A key that several routes name keeps
 * the first of them, and of all keys that an address matches the lowest route wins: a lookup costs
 * the same however long the lists are. Each answer is kept twice, without and with the routes that
 * are for authenticated clients only. */
#include "server/policy/routing.h"

#include "ring/base/map.h"
#include "ring/base/memory.h"
#include "server/smtp/address.h"
#include "server/smtp/idna.h"
#include "server/smtp/utf8.h"

#include <stdlib.h>

#define ADDRESS_BYTES_MAX (LOCAL_PART_BYTES_MAX + DOMAIN_BYTES_MAX + 2)

/* Whom a message is routed for. */
enum client_kind { CLIENT_ANY, CLIENT_AUTHENTICATED, CLIENT_KIND_COUNT };

struct entry {
    struct map_node node;
    struct slice key;                 /* into the configuration, or `owned` */
    size_t routes[CLIENT_KIND_COUNT]; /* the first that has the key; route_count: none */
    char *owned;
};

struct routing {
    const struct config *config;
    char *hostname; /* lower case */
    struct map recipients, domains, suffixes;
    size_t any_routes[CLIENT_KIND_COUNT]; /* the first that take every domain */
    size_t suffix_bytes_max;              /* of the longest suffix: longer ones need no lookup */
    struct entry *entries;
    size_t entry_count;
};

static bool entry_match(const struct map_node *node, struct slice key)
{
    return slice_eq(CONTAINER_OF(node, const struct entry, node)->key, key);
}

static void route_note(const struct routing *r, size_t *routes, size_t route)
{
    routes[CLIENT_AUTHENTICATED] = MIN(routes[CLIENT_AUTHENTICATED], route);
    if (r->config->routes[route].is_authenticated) return;
    routes[CLIENT_ANY] = MIN(routes[CLIENT_ANY], route);
}

/* `owned` is the memory of `key` that the table is to free, or NULL. */
static void key_add(struct routing *r, struct map *map, struct slice key, char *owned, size_t route)
{
    struct map_node *node = map_find(map, key, entry_match);
    if (node != NULL) {
        route_note(r, CONTAINER_OF(node, struct entry, node)->routes, route);
        free(owned);
        return;
    }
    struct entry *entry = &r->entries[r->entry_count++];
    size_t none = r->config->route_count;
    *entry = (struct entry){.key = key, .routes = {none, none}, .owned = owned};
    route_note(r, entry->routes, route);
    map_insert(map, key, &entry->node);
}

/* The key of an entry whose domain begins at `domain_at`, as routing_find() looks it up. *owned_out
 * is its memory, or NULL when the configuration has it in that form already. */
static struct slice key_of(struct slice entry, size_t domain_at, char **owned_out)
{
    struct slice domain = slice_from(entry, domain_at);
    *owned_out = NULL;
    if (!utf8_is_needed(domain)) return entry;
    struct buf key = {.cap = domain_at + MAX(domain.len, (size_t)DOMAIN_BYTES_MAX)};
    key.data = *owned_out = xmalloc(key.cap);
    buf_append(&key, entry.data, domain_at);
    /* A domain that is none, which no configuration has, is left as it is: nothing finds it. */
    if (!idna_to_ascii(domain, &key)) buf_append_slice(&key, domain);
    return buf_slice(&key);
}

static void domain_add(struct routing *r, struct slice domain, size_t route)
{
    const struct slice wildcard = SLICE("*.");
    char *owned;
    if (slice_eq(domain, SLICE("*"))) {
        route_note(r, r->any_routes, route);
    } else if (slice_starts_with_nocase(domain, wildcard)) {
        struct slice suffix = key_of(slice_from(domain, wildcard.len), 0, &owned);
        r->suffix_bytes_max = MAX(r->suffix_bytes_max, suffix.len);
        key_add(r, &r->suffixes, suffix, owned, route);
    } else {
        struct slice key = key_of(domain, 0, &owned);
        key_add(r, &r->domains, key, owned, route);
    }
}

/* Where the domain begins; 0: there is none. A quoted local part may hold an "@": the last one
 * stands before the domain. */
static size_t domain_at_of(struct slice address)
{
    const char *at = address.len == 0 ? NULL : memrchr(address.data, '@', address.len);
    return at == NULL ? 0 : (size_t)(at - address.data) + 1;
}

/* An entry without a domain is at node.hostname, as an address without one is. */
static void recipient_add(struct routing *r, struct slice recipient, size_t route)
{
    size_t domain_at = domain_at_of(recipient);
    struct slice key;
    char *owned;
    if (domain_at > 0) {
        key = key_of(recipient, domain_at, &owned);
    } else {
        struct buf full = {.cap = recipient.len + 1 + strlen(r->hostname)};
        full.data = owned = xmalloc(full.cap);
        buf_append_slice(&full, recipient);
        buf_append_char(&full, '@');
        buf_append_cstr(&full, r->hostname);
        key = buf_slice(&full);
    }
    key_add(r, &r->recipients, key, owned, route);
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
    r->any_routes[CLIENT_ANY] = r->any_routes[CLIENT_AUTHENTICATED] = config->route_count;
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
        bool has_lists = route->domains.count > 0 || route->recipients.count > 0;
        if (route->is_authenticated && !has_lists) route_note(r, r->any_routes, i);
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
static size_t route_of_key(const struct map *map, struct slice key, enum client_kind kind,
                           size_t route)
{
    if (map->count == 0) return route;
    const struct map_node *node = map_find(map, key, entry_match);
    if (node == NULL) return route;
    return MIN(route, CONTAINER_OF(node, const struct entry, node)->routes[kind]);
}

static size_t route_of_suffixes(const struct routing *r, struct slice domain, enum client_kind kind,
                                size_t route)
{
    if (r->suffixes.count == 0) return route;
    for (size_t at = 0; at < domain.len; at++) {
        if (domain.data[at] != '.' || domain.len - at - 1 > r->suffix_bytes_max) continue;
        route = route_of_key(&r->suffixes, slice_from(domain, at + 1), kind, route);
    }
    return route;
}

/* Writes `address` as the keys are: in lower case, its domain as A-labels and without a trailing
 * dot. *domain_at_out is where that begins. False: no mailbox is so. */
static bool address_normalize(const struct routing *r, struct slice address, struct buf *out,
                              size_t *domain_at_out)
{
    size_t domain_at = domain_at_of(address);
    struct slice domain = slice_from(address, domain_at);
    if (domain_at > 0) {
        buf_append(out, address.data, domain_at);
    } else {
        domain = slice_of_cstr(r->hostname);
        buf_append_slice(out, address);
        buf_append_char(out, '@');
    }
    *domain_at_out = out->len;
    bytes_lower(out->data, out->len);
    if (domain.len > 0 && domain.data[domain.len - 1] == '.') domain.len--;
    return idna_to_ascii(domain, out) && !out->is_short;
}

const struct config_route *routing_find(const struct routing *routing, struct slice address,
                                        bool is_authenticated)
{
    const enum client_kind kind = is_authenticated ? CLIENT_AUTHENTICATED : CLIENT_ANY;
    const size_t none = routing->config->route_count;
    char normal[ADDRESS_BYTES_MAX];
    struct buf full = {normal, 0, sizeof(normal), false};
    size_t domain_at;
    if (!address_normalize(routing, address, &full, &domain_at)) return NULL;

    struct slice domain = slice_from(buf_slice(&full), domain_at);
    size_t route = route_of_key(&routing->recipients, buf_slice(&full), kind, none);
    route = route_of_key(&routing->domains, domain, kind, route);
    /* An address literal is no domain name: only an entry that spells it out takes it. */
    bool is_literal = domain.len > 0 && domain.data[0] == '[';
    if (!is_literal) {
        route = route_of_suffixes(routing, domain, kind, route);
        route = MIN(route, routing->any_routes[kind]);
    }
    return route == none ? NULL : &routing->config->routes[route];
}
