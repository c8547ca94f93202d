/* delivery.h - the sending half of one core: messages in, results into the queue.
 *
 * A message is taken whole; its recipients are grouped by destination; every group is one attempt.
 * When all attempts of a message have ended it is settled. Results of some attempts are written
 * while others still run. Belongs to one core. */
#pragma once

#include "ring/loop.h"
#include "server/policy/routing.h"
#include "store/queue.h"

struct delivery;
struct delivery_slots;

#define DELIVERY_MESSAGES_MAX 4096 /* in this half at once, on one core; the rest waits on disk */

struct delivery_options {
    struct loop *loop;
    struct blocks *blocks;
    struct queue *queue;
    const struct config *config; /* replaced by delivery_reconfigure() */
    const struct routing *routing;
    struct delivery_slots *slots; /* shared by all cores */
};

/* Open connections per destination over all cores, so that `per_destination.connections` is kept
 * exactly. The one thing cores share here: touched when a connection opens or closes, never for a
 * message. */
struct delivery_slots *delivery_slots_create(void);
void delivery_slots_destroy(struct delivery_slots *slots);

struct delivery *delivery_create(const struct delivery_options *options);
/* Starts leasing what is due. */
void delivery_start(struct delivery *delivery);
/* A message that was just accepted (queue_put_take()). Takes ownership. */
void delivery_take(struct delivery *delivery, struct message *message);
/* A message is due that stayed on disk (queue_put_take() gave NULL): it is leased as soon as there
 * is room. */
void delivery_lease_soon(struct delivery *delivery);
/* From the next attempt on. Destinations that no route names any more end when idle. Neither the
 * old configuration nor its routing is used after this call. */
void delivery_reconfigure(struct delivery *delivery, const struct config *config,
                          const struct routing *routing);
/* Starts no attempt any more; those after their final dot wait for the answer, at most
 * `grace_ms`; the rest is returned to the queue. stopped(owner) runs when nothing is left, from the
 * loop, never inside this call. */
void delivery_stop(struct delivery *delivery, uint64_t grace_ms, void (*stopped)(void *owner),
                   void *owner);
/* After stopped(), or before delivery_start(). NULL is allowed. */
void delivery_destroy(struct delivery *delivery);

struct delivery_counters {
    struct counter attempts_delivered, attempts_deferred, attempts_failed; /* recipients */
    struct counter connections, connections_opened, messages_sent;
    struct histogram attempt_duration, latency; /* latency: 250 in to 250 out */
};
const struct delivery_counters *delivery_counters(const struct delivery *delivery);

/* The same by route. An entry is made when its route first appears in a configuration and stays
 * until delivery_destroy(), so that its numbers never go back. */
struct delivery_route_counters {
    const struct delivery_route_counters *next;
    char *name;
    struct counter delivered, deferred, failed; /* recipients */
    struct counter connections;                 /* open now */
};
/* The first of the list; NULL when it is empty. Any thread may walk it. */
const struct delivery_route_counters *delivery_routes(const struct delivery *delivery);
