/* delivery_internal.h - what the files of this folder share: the whole of one core's sending half.
 *
 *     schedule --leases--> parcel (a message) --groups--> attempt (one destination's recipients)
 *                                                         |
 *                        maildir <------------------------+--------> destination
 *                     (writer of files)                         (waiting attempts, hosts)
 *                                                                      |
 *                                                                   client (a connection)
 *
 * Lifetimes: a parcel ends after its attempts; an attempt belongs to a client or a writer until
 * every operation that names the message's memory has ended; destinations outlive their clients. */
#pragma once

#include "ring/base/clock.h"
#include "ring/base/map.h"
#include "ring/base/memory.h"
#include "ring/conn.h"
#include "ring/timer.h"
#include "server/delivery/bounce.h"
#include "server/delivery/delivery.h"
#include "server/delivery/hop.h"
#include "server/delivery/maildir.h"
#include "server/delivery/retry.h"
#include "server/delivery/schedule.h"

#define DELIVERY_ATTEMPTS_MAX 4096 /* beyond the one that every message has for itself */
#define DELIVERY_CLIENTS_MAX 4096  /* connections of one core, over all destinations */
#define DELIVERY_SWEEP_MS 60000    /* between two looks for destinations that nobody uses */

struct destination;

/* One route of the present configuration, with what this half keeps for it. */
struct route {
    const struct config_route *config;
    struct destination *destination; /* ACTION_SMTP and ACTION_LMTP */
    char *key;                       /* destination_route_key(); NULL for other actions */
    size_t key_len;
    struct delivery_route_counters *counters;
};

struct delivery {
    struct loop *loop;
    struct queue *queue;
    const struct config *config;
    const struct routing *routing;
    struct delivery_slots *slots;
    struct conn_host conns;
    struct route *routes; /* of the configuration, in the same order */
    size_t route_count;
    struct resolver *resolver;
    struct hop_contexts *hop_contexts;
    struct bounces *bounces;
    struct suspensions *suspensions; /* a reference; NULL: none */
    struct map destinations;
    struct list destination_list;
    struct list destinations_dormant; /* those of domains, the longest idle first */
    struct buf key;                   /* of a destination that is looked for */
    struct timer sweep_timer;
    struct slab parcels, attempts, clients, stuffings;
    uint32_t client_count;
    struct schedule schedule;
    struct maildirs maildirs;
    struct retry_jitter jitter;
    bool is_stopping;
    struct timer grace_timer;
    struct ring_op stop_op;
    bool is_stop_posted;
    void (*stopped)(void *owner);
    void *stopped_owner;
    struct delivery_route_counters *route_counters; /* atomic: readers are other threads */
    struct delivery_counters counters;
};

/* The route a recipient takes now, or NULL. `is_authenticated`: the message came from a client that
 * had authenticated itself. */
const struct route *delivery_find_route(const struct delivery *delivery, struct slice address,
                                        bool is_authenticated);
/* Looks whether a stop is complete; called whenever something has ended. */
void delivery_check_stopped(struct delivery *delivery);
