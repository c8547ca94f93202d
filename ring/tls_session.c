/* tls_session.c - a client's memory of sessions: the last one of each server name.
 *
 * One session serves any number of connections, also at the same time: what RFC 8446 (appendix C.4)
 * says against it is that an onlooker can tell that both are of one client, which a mail server's
 * address tells as well. OpenSSL marks a session of TLS 1.3 as used up, so that each connection
 * gets a copy. */
#include "ring/tls_internal.h"

#include <stdlib.h>

struct entry {
    struct map_node node;
    struct list use;
    SSL_SESSION *session;
    char name[];
};

static bool entry_match(const struct map_node *node, struct slice key)
{
    const struct entry *entry = (const struct entry *)(const void *)node;
    return slice_eq(slice_of_cstr(entry->name), key);
}

static struct entry *find(struct tls_sessions *sessions, const char *name)
{
    struct map_node *node = map_find(&sessions->by_name, slice_of_cstr(name), entry_match);
    if (node == NULL) return NULL;
    struct entry *entry = CONTAINER_OF(node, struct entry, node);
    list_remove(&entry->use);
    list_push_back(&sessions->by_use, &entry->use);
    return entry;
}

static void forget(struct tls_sessions *sessions, struct entry *entry)
{
    map_remove(&sessions->by_name, &entry->node);
    list_remove(&entry->use);
    SSL_SESSION_free(entry->session);
    free(entry);
}

static struct entry *add(struct tls_sessions *sessions, const char *name)
{
    if (sessions->by_name.count >= TLS_SESSION_COUNT_MAX)
        forget(sessions, LIST_ENTRY(sessions->by_use.next, struct entry, use));
    struct slice key = slice_of_cstr(name);
    struct entry *entry = malloc(sizeof(*entry) + key.len + 1);
    if (entry == NULL) return NULL;
    entry->session = NULL;
    memcpy(entry->name, name, key.len + 1);
    map_insert(&sessions->by_name, key, &entry->node);
    list_init(&entry->use);
    list_push_back(&sessions->by_use, &entry->use);
    return entry;
}

void tls_sessions_init(struct tls_sessions *sessions)
{
    map_init(&sessions->by_name);
    list_init(&sessions->by_use);
}

void tls_sessions_finish(struct tls_sessions *sessions)
{
    while (!list_is_empty(&sessions->by_use))
        forget(sessions, LIST_ENTRY(sessions->by_use.next, struct entry, use));
    map_finish(&sessions->by_name);
}

void tls_sessions_put(struct tls_sessions *sessions, const char *name, SSL_SESSION *session)
{
    struct entry *entry = find(sessions, name);
    if (entry == NULL) entry = add(sessions, name);
    if (entry == NULL) {
        SSL_SESSION_free(session);
        return;
    }
    SSL_SESSION_free(entry->session);
    entry->session = session;
}

SSL_SESSION *tls_sessions_get(struct tls_sessions *sessions, const char *name)
{
    struct entry *entry = find(sessions, name);
    if (entry == NULL) return NULL;
    if (SSL_SESSION_is_resumable(entry->session)) return SSL_SESSION_dup(entry->session);
    forget(sessions, entry);
    return NULL;
}
