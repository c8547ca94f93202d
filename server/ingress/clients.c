/* clients.c - a striped table of client addresses and their open connections.
 *
 * An entry exists while its count is above zero, so memory follows the number of connections. */
#include "server/ingress/clients.h"

#include "ring/base/map.h"
#include "ring/base/memory.h"

#include <pthread.h>
#include <stdlib.h>

#define STRIPE_COUNT 64

struct client {
    struct map_node node;
    uint64_t count;
    uint8_t address_len;
    char address[16];
};

struct stripe {
    pthread_mutex_t lock;
    struct map map;
};

struct clients {
    struct stripe stripes[STRIPE_COUNT];
};

static bool client_match(const struct map_node *node, struct slice key)
{
    const struct client *client = CONTAINER_OF(node, struct client, node);
    return slice_eq(slice_of(client->address, client->address_len), key);
}

static struct stripe *stripe_of(struct clients *clients, struct slice key)
{
    return &clients->stripes[(hash_bytes(key) >> 32) % STRIPE_COUNT];
}

struct clients *clients_create(void)
{
    struct clients *clients = xcalloc(1, sizeof(*clients));
    for (size_t i = 0; i < STRIPE_COUNT; i++) {
        pthread_mutex_init(&clients->stripes[i].lock, NULL);
        map_init(&clients->stripes[i].map);
    }
    return clients;
}

void clients_destroy(struct clients *clients)
{
    if (clients == NULL) return;
    for (size_t i = 0; i < STRIPE_COUNT; i++) {
        ASSERT(clients->stripes[i].map.count == 0);
        map_finish(&clients->stripes[i].map);
        pthread_mutex_destroy(&clients->stripes[i].lock);
    }
    free(clients);
}

bool clients_enter(struct clients *clients, const struct endpoint *peer, uint64_t count_max)
{
    struct slice key = endpoint_key(peer);
    struct stripe *stripe = stripe_of(clients, key);
    pthread_mutex_lock(&stripe->lock);
    struct map_node *node = map_find(&stripe->map, key, client_match);
    struct client *client = node != NULL ? CONTAINER_OF(node, struct client, node) : NULL;
    bool is_let_in = client == NULL ? count_max > 0 : client->count < count_max;
    if (is_let_in && client == NULL) {
        client = xcalloc(1, sizeof(*client));
        ASSERT(key.len <= sizeof(client->address));
        memcpy(client->address, key.data, key.len);
        client->address_len = (uint8_t)key.len;
        map_insert(&stripe->map, key, &client->node);
    }
    if (is_let_in) client->count++;
    pthread_mutex_unlock(&stripe->lock);
    return is_let_in;
}

void clients_leave(struct clients *clients, const struct endpoint *peer)
{
    struct slice key = endpoint_key(peer);
    struct stripe *stripe = stripe_of(clients, key);
    pthread_mutex_lock(&stripe->lock);
    struct map_node *node = map_find(&stripe->map, key, client_match);
    ASSERT(node != NULL);
    struct client *client = CONTAINER_OF(node, struct client, node);
    ASSERT(client->count > 0);
    if (--client->count == 0) {
        map_remove(&stripe->map, node);
        free(client);
    }
    pthread_mutex_unlock(&stripe->lock);
}
