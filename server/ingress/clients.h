/* clients.h - how many connections each client address has, over all cores.
 *
 * A limit per client is a promise about the client, not about a core, so this one table is shared.
 * It is touched when a connection opens and when it ends, never for a message; its locks are
 * striped by the keyed hash of the address. */
#pragma once

#include "ring/base/endpoint.h"

struct clients;

struct clients *clients_create(void);
void clients_destroy(struct clients *clients); /* NULL is allowed */
/* Counts one more connection of `peer` unless it has `count_max` already: false then. Any thread.
 */
MUST_USE bool clients_enter(struct clients *clients, const struct endpoint *peer,
                            uint64_t count_max);
/* One connection that clients_enter() counted has ended. Any thread. */
void clients_leave(struct clients *clients, const struct endpoint *peer);
