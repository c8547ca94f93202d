/* gateway.h - the gateway on one loop: blocks, queue, resolver and both halves of the server,
 * wired.
 *
 *     gateway_open() --> gateway_start() --> gateway_drain(): sessions end, deliveries end, the
 *     loop is told to stop --> gateway_settle() --> gateway_close()
 *
 * It has no thread of its own: everything here runs on the thread of the loop, which it makes. */
#pragma once

#include "server/admin/admin.h"
#include "server/core/generation.h"

#define GATEWAY_REFUSALS_MAX 256 /* connections that are being told 421, besides the sessions */

struct gateway;

struct gateway_options {
    unsigned index, count;               /* of this core among all */
    const struct generation *generation; /* in force until gateway_reconfigure() */
    struct spool *spool;
    const struct ingress_shared *shared;
    struct delivery_slots *slots;
    struct endpoint *addresses; /* as ingress_listen() wants them; filled in by the first core */
    uint32_t session_count_max;
    uint64_t segment_bytes; /* of the queue's segments; 0: QUEUE_SEGMENT_BYTES */
    /* The queue cannot go on (queue_options.on_fatal). */
    void (*on_fatal)(void *owner, int err);
    void *owner;
};

/* Opens all there is: blocking. On failure nothing is left and `why` holds a line for people. */
MUST_USE int gateway_open(const struct gateway_options *options, struct gateway **gateway_out,
                          char *why, size_t why_cap);
/* Looks for what is due in the queue. Listeners accept from gateway_open() on. */
void gateway_start(struct gateway *gateway);
/* Returns the generation that was in force, whose hold of this core has been given up. */
const struct generation *gateway_reconfigure(struct gateway *gateway,
                                             const struct generation *generation);
/* Stops accepting, lets open messages and deliveries end within `timeout_ms`, stops the loop. */
void gateway_drain(struct gateway *gateway, uint64_t timeout_ms);
/* After the loop has stopped: turns it until what ends on its own (listeners that close, files of
 * the queue that are being made) has ended. Returns 0, or -ERR_* of the loop. */
MUST_USE int gateway_settle(struct gateway *gateway);
/* After gateway_settle(): commits what waits, closes all. Blocking. NULL is allowed. */
void gateway_close(struct gateway *gateway);

struct loop *gateway_loop(const struct gateway *gateway);
/* What the admin side may read from its own thread. */
struct admin_core gateway_view(const struct gateway *gateway);
