/* destination.h - a next hop: its hosts in order, the attempts that wait for it, its connections.
 *
 * A host is proven, unproven or down. An unproven one gets a single connection, the probe; when
 * that is set up the host is proven and gets as many connections as there is work and room for;
 * when it fails the host is down for a while that grows, and the next host is tried:
 *
 *     unproven --probe works--> proven --set-up fails--> down --time passes--> (one probe again)
 *         \------probe fails-------------------------------^
 *
 * While every host is down and no connection is open, attempts are deferred at once: a dead
 * destination costs one connection attempt per back-off, however many messages wait for it. */
#pragma once

#include "server/delivery/attempt.h"
#include "server/delivery/slots.h"

#define HOST_DOWN_MS_FIRST 5000 /* less when delivery.retry.first is less */
#define DESTINATION_SPARE_MS                                                                       \
    250                          /* a connection without work, while another core wants its slot   \
                                  */
#define DESTINATION_ASK_MS 20    /* between two questions for slots: cores meet there seldom */
#define DESTINATION_TURN_MS 1000 /* a connection's turn when there are more cores than slots */

struct client;

struct host {
    struct endpoint endpoint;
    uint64_t down_until_ns; /* loop time */
    uint32_t failures;      /* in a row */
    bool is_proven;
    bool is_probed; /* the one connection that may prove it is being set up */
};

struct destination {
    struct map_node node;
    struct list all; /* in delivery->destination_list */
    struct delivery *delivery;
    struct slots_user slots;
    struct list waiting; /* attempts */
    struct list idle;    /* clients, the last used first */
    struct list clients; /* all of them */
    uint32_t waiting_count, client_count;
    uint32_t opening_count; /* clients that are not set up yet */
    uint32_t closing_count; /* clients that only wait for their end */
    uint64_t ask_after_ns;  /* while waiting for a slot */
    uint64_t share_until_ns;
    uint32_t share; /* slots_share(), as of a moment ago */
    bool is_named;  /* by a route of the present configuration */
    char *reason;   /* why the last set-up failed, of MESSAGE_REPLY_BYTES_MAX bytes */
    size_t reason_len;
    char *key;
    size_t key_len, host_count;
    struct host hosts[];
};

/* The destination of these hosts; made when it is not there, and named from now on. */
struct destination *destination_get(struct delivery *delivery, const struct endpoint *hosts,
                                    size_t host_count);
/* No route names it any more: it ends when it has nothing to do, perhaps at once. */
void destination_forget(struct destination *destination);
/* Limits have changed. */
void destination_reconfigured(struct destination *destination);
/* Takes an attempt over until attempt_end(). It may end inside this call. */
void destination_submit(struct destination *destination, struct attempt *attempt);
/* Gives up what waits and ends its clients (client_stop); frees the destination once it is empty.
 */
void destination_stop(struct destination *destination, bool is_final);

/* --- for the client --- */

/* The host to connect to now, or NULL: all are down, or a probe is on its way. */
struct host *destination_pick_host(struct destination *destination);
void destination_host_works(struct destination *destination, struct host *host);
void destination_host_failed(struct destination *destination, struct host *host,
                             struct slice reason);
/* The client is set up or has finished a transaction: it gets work, rests, or is told to quit. */
void destination_client_rests(struct destination *destination, struct client *client);
/* A reused connection turned out dead: the attempt is served next, and the other resting
 * connections, which are as old, are closed. */
void destination_resubmit(struct destination *destination, struct attempt *attempt);
/* The client's memory is about to go. The destination may be freed. */
void destination_client_gone(struct destination *destination, struct client *client);
