/* throttle.h - who failed to authenticate too often, and is held off for a while.
 *
 * One table for all cores, since it is about clients and users, and since a new connection must not
 * begin anew. A client is its IPv4 address or its IPv6 network of 64 bits. Failures are counted
 *
 *   - of a client;
 *   - of a user at one client;
 *   - of a user at all clients together: more may fail, and the wait is short, so that nobody can
 *     lock a user out for long.
 *
 * A count that reaches its limit holds off: THROTTLE_HOLD_S_MIN at first, twice as long with every
 * further failure, up to a maximum. Counts are forgotten after THROTTLE_MEMORY_S without a failure.
 * A user who succeeded at a client lately is known there: neither the failures of others at that
 * client nor those of strangers elsewhere hold them off, only their own at that client.
 *
 * Names are counted whether they are in the users file or not. Memory is bounded: beyond
 * THROTTLE_ENTRIES_MAX the entry that was not touched for the longest time goes. */
#pragma once

#include "ring/base/endpoint.h"

#define THROTTLE_ENTRIES_MAX 65536    /* counts; as many known pairs may be remembered besides */
#define THROTTLE_USER_FAILURES_MAX 10 /* of a user at all clients */
#define THROTTLE_MEMORY_S 600
#define THROTTLE_HOLD_S_MIN 30
#define THROTTLE_HOLD_S_MAX 900     /* of a client, and of a user at one */
#define THROTTLE_USER_HOLD_S_MAX 60 /* of a user at all clients */
#define THROTTLE_KNOWN_S (30 * 86400)

struct auth_throttle;

/* `entries_max` 0: THROTTLE_ENTRIES_MAX. */
struct auth_throttle *auth_throttle_create(size_t entries_max);
void auth_throttle_destroy(struct auth_throttle *throttle); /* NULL is allowed */

/* All of these: any thread; `now_ns` is of the monotonic clock. */

/* False: the client, or this user at it, is held off, and nothing is to be checked. */
MUST_USE bool auth_throttle_admits(struct auth_throttle *throttle, const struct endpoint *client,
                                   struct slice user, uint64_t now_ns);
/* A password was wrong. `failures_max`: so many hold a client off (the listener's limit). */
void auth_throttle_failed(struct auth_throttle *throttle, const struct endpoint *client,
                          struct slice user, uint64_t failures_max, uint64_t now_ns);
/* It was right. False: it is not to count, because failures that were checked at the same time have
 * held the client off: who guesses on many connections at once learns no more than on one. */
MUST_USE bool auth_throttle_succeeded(struct auth_throttle *throttle, const struct endpoint *client,
                                      struct slice user, uint64_t now_ns);
