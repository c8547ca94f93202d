/* delivery.h - the sending half of one core: messages in, results into the queue.
 *
 * A message is taken whole; its recipients are grouped by destination; every group is one attempt.
 * When all attempts of a message have ended it is settled. Results of some attempts are written
 * while others still run. Belongs to one core. */
#pragma once

#include "resolver/resolver.h"
#include "ring/loop.h"
#include "server/delivery/suspension.h"
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
    struct resolver *resolver;    /* the core's; its look-ups are ended by delivery_stop() */
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
/* A message on disk is due at `due_ms` of the wall clock (0: now): it is leased as soon as there is
 * room. For what the queue itself does not tell: a put that stayed on disk, and what an operator
 * has changed. */
void delivery_lease_soon(struct delivery *delivery, uint64_t due_ms);
/* Hosts that are down may be tried again at once: an operator says that it is worth it. */
void delivery_try_hosts(struct delivery *delivery);
/* From the next attempt on. Destinations that no route names any more end when idle. Neither the
 * old configuration nor its routing is used after this call. */
void delivery_reconfigure(struct delivery *delivery, const struct config *config,
                          const struct routing *routing);
/* Starts no attempt any more; those after their final dot wait for the answer, at most
 * `grace_ms`; the rest is returned to the queue. stopped(owner) runs when nothing is left, from the
 * loop, never inside this call. */
void delivery_stop(struct delivery *delivery, uint64_t grace_ms, void (*stopped)(void *owner),
                   void *owner);
/* Destinations that are to wait from now on: takes a reference of its own. Any thread; carried out
 * on the core soon. */
void delivery_suspend(struct delivery *delivery, struct suspensions *suspensions);
/* After stopped(), or before delivery_start(). NULL is allowed. */
void delivery_destroy(struct delivery *delivery);

struct delivery_counters {
    struct counter attempts_delivered, attempts_deferred, attempts_failed; /* recipients */
    struct counter attempts_expired;                                       /* of the failed ones */
    struct counter dsn_sent[5]; /* enum recipient_report: failed, expired, delayed, ... minus 1 */
    struct counter dsn_dropped; /* no target, its rate, or a bounce of a bounce */
    struct counter tls_handshakes[2][2]; /* [TLS 1.2, 1.3][failed, good], outgoing */
    struct counter auth_failures;        /* a next hop refused our password */
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

/* --- seeing --- */

enum destination_condition { DESTINATION_GOOD, DESTINATION_DOWN, DESTINATION_SUSPENDED };

/* One destination of one core, as it stands. */
struct destination_view {
    char *name;  /* a domain, or the hosts of a route: "mx.example:25,192.0.2.1:25" */
    char *route; /* the first that names it */
    enum destination_condition condition;
    uint64_t until_ms; /* wall time of the next probe, or of the suspension's end; 0: none */
    char *reason; /* last failure of a connection, or why it is suspended; raw bytes; "": none */
    uint32_t waiting; /* attempts */
    uint32_t connections;
};

/* Asks the core and waits for its answer. For the control thread; at most one call per core at a
 * time. 0, or -ERR_TIMEOUT when the core does not answer within DELIVERY_VIEW_MS_MAX. */
#define DELIVERY_VIEW_MS_MAX 2000
MUST_USE int delivery_view(struct delivery *delivery, struct destination_view **views_out,
                           size_t *count_out);
void delivery_view_free(struct destination_view *views, size_t count);
