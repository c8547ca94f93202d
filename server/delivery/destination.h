/* destination.h - a next hop: its hosts in order, the attempts that wait for it, its connections.
 *
 * The hosts are those of a route, or those of a domain, found through the DNS when work comes and
 * their time is over. A host is proven, unproven or down. An unproven one gets a single connection,
 * the probe; when that is set up the host is proven and gets as many connections as there is work
 * and room for; when it fails the host is down for a while that grows, and the next host is tried:
 *
 *     unproven --probe works--> proven --set-up fails--> down --time passes--> (one probe again)
 *         \------probe fails-------------------------------^
 *
 * While every host is down and no connection is open, attempts are deferred at once: a dead
 * destination costs one connection attempt per back-off, however many messages wait for it. What
 * waits is bounded too, so that a slow destination leaves room for others: beyond it attempts are
 * postponed, each to a time at which there will be room as things go. */
#pragma once

#include "resolver/route.h"
#include "ring/timer.h"
#include "server/delivery/attempt.h"
#include "server/delivery/client_offer.h"
#include "server/delivery/hop.h"
#include "server/delivery/slots.h"

#define HOST_DOWN_MS_FIRST 5000  /* less when delivery.retry.first is less */
#define DESTINATION_HOSTS_MAX 64 /* addresses of one destination; more are passed over */
/* Attempts that may wait for one destination on one core: twice the room that is left for messages
 * of all others, so that one alone gets two thirds of it, and there is always some left; but this
 * many in any case. More are postponed. */
#define DESTINATION_WAITING_MIN 32
#define DESTINATIONS_MAX 16384       /* of one core; then the one that was idle longest goes */
#define DESTINATION_LINGER_MS 600000 /* a domain's is remembered for so long after its last use */
#define DESTINATION_POSTPONE_MS_MIN 1000
#define DESTINATION_POSTPONE_MS_MAX 3600000
#define DESTINATION_STALE_MS                                                                       \
    3600000 /* hosts are used for so long while the DNS does not answer                            \
             */
#define DESTINATION_SPARE_MS                                                                       \
    250                          /* a connection without work, while another core wants its slot   \
                                  */
#define DESTINATION_ASK_MS 20    /* between two questions for slots: cores meet there seldom */
#define DESTINATION_TURN_MS 1000 /* a connection's turn when there are more cores than slots */

struct client;
struct route;

struct host {
    struct list node;         /* in destination->hosts, in the order to try */
    struct endpoint endpoint; /* addr_len 0: the socket at `unix_path` */
    char *unix_path;          /* or NULL */
    char *name;               /* for SNI and the check of certificates; NULL: the address alone */
    char *text;               /* for logs: "mx.example[192.0.2.1]:25", "unix:/run/lmtp" */
    enum tls_duty tls_duty;
    enum tls_reason tls_reason;
    uint64_t down_until_ns;  /* loop time */
    uint64_t clear_until_ns; /* TLS_DUTY_MAY: a handshake failed; until then it is not tried */
    uint32_t failures;       /* in a row */
    uint32_t client_count;   /* that use it */
    bool is_listed;          /* false: it goes with its last client */
    bool is_proven;
    bool is_probed;       /* the one connection that may prove it is being set up */
    bool has_offered_tls; /* STARTTLS was seen there: its absence later is worth a warning */
};

/* Where the hosts come from: what the route names, in order, or one domain. */
struct host_source {
    char *name; /* to be looked up; NULL: `endpoint` or `unix_path` is all */
    char *unix_path;
    struct endpoint endpoint;
};

/* A look-up of the sources that have names, one after the other. */
struct host_search {
    struct ring_op op;
    struct route_query query;
    struct route_lookup *lookup; /* NULL: none is under way */
    struct route_result *result; /* while one is */
    size_t source_at;            /* the one that is looked up */
    struct list found;           /* hosts of those before it */
    uint32_t found_count;
    uint64_t ttl_ms;
    bool is_running;                         /* from the first look-up to the end of the last */
    bool is_known;                           /* `hosts` is what was found, until `fresh_until_ns` */
    uint64_t fresh_until_ns, stale_until_ns; /* loop time */
    uint64_t down_until_ns;                  /* the DNS failed: not asked again before */
    uint32_t failures;                       /* in a row */
};

struct destination {
    struct map_node node;
    struct list all;     /* in delivery->destination_list */
    struct list dormant; /* in delivery->destinations_dormant, the longest idle first */
    struct delivery *delivery;
    struct hop *hop;
    struct slots_user slots;
    struct list waiting; /* attempts */
    struct list idle;    /* clients, the last used first */
    struct list clients; /* all of them */
    struct list hosts;   /* struct host, in the order to try */
    struct host_source *sources;
    size_t source_count;
    struct host_search search;
    struct network *allowed; /* is_by_mx: addresses that may be connected to all the same */
    size_t allowed_count;
    bool is_by_mx; /* `sources` is one domain, whose MX are the hosts */
    uint16_t port; /* is_by_mx */
    uint32_t waiting_count, client_count;
    uint32_t opening_count; /* clients that are not set up yet */
    uint32_t closing_count; /* clients that only wait for their end */
    uint64_t ask_after_ns;  /* while waiting for a slot */
    uint64_t share_until_ns;
    uint64_t used_ns; /* loop time of the last use */
    uint32_t share;   /* slots_share(), as of a moment ago */
    bool is_named;    /* by a route of the present configuration, or a domain's that lingers */
    struct timer rate_timer;
    /* How fast attempts end here, and when the next one that is postponed comes back. */
    uint64_t ended_count, ended_since_ns, rate_per_s;
    uint64_t postpone_us; /* wall time */
    char *name;           /* for people: the domain, or the hosts as they are configured */
    char *route;          /* that named it first */
    char *reason;         /* why the last set-up failed, of MESSAGE_REPLY_BYTES_MAX bytes */
    size_t reason_len;
    char *key;
    size_t key_len;
};

/* What tells the destinations of this route from others with the same name, as text: how they are
 * talked to. Owned by the caller. */
char *destination_route_key(const struct config_route *route, size_t *len_out);
/* The destination of a route with hosts; made when it is not there, and named from now on. */
struct destination *destination_of_route(struct delivery *delivery, const struct route *route);
/* The destination of a domain (A-labels, lower case) by a route with ACTION_MX; made when it is not
 * there. It ends when it has been idle for DESTINATION_LINGER_MS. NULL: there are too many. */
struct destination *destination_of_domain(struct delivery *delivery, const struct route *route,
                                          struct slice domain);
/* No route names it any more: it ends when it has nothing to do, perhaps at once. */
void destination_forget(struct destination *destination);
/* Limits have changed, or what is suspended. */
void destination_reconfigured(struct destination *destination);
/* Takes an attempt over until attempt_end(). It may end inside this call. */
void destination_submit(struct destination *destination, struct attempt *attempt);
/* Ends those that have been idle for too long. */
void destinations_sweep(struct delivery *delivery);
/* Gives up what waits and ends its clients (client_stop); frees the destination once it is empty.
 */
void destination_stop(struct destination *destination, bool is_final);

/* --- for the client --- */

/* The host to connect to now, or NULL: all are down, or a probe is on its way. */
struct host *destination_pick_host(struct destination *destination);
/* A connection uses the host from now on, or no longer: one that is not listed any more ends. */
void destination_host_take(struct destination *destination, struct host *host);
void destination_host_give(struct destination *destination, struct host *host);
void destination_host_works(struct destination *destination, struct host *host);
void destination_host_failed(struct destination *destination, struct host *host,
                             struct slice reason);
/* The same for a fault that time alone does not mend, a refused password for one: the host is left
 * alone for delivery.retry.max at once. */
void destination_host_refused(struct destination *destination, struct host *host,
                              struct slice reason);
/* An attempt has ended with results: how fast that goes tells how long others wait. */
void destination_count_ended(struct destination *destination);
/* The client is set up or has finished a transaction: it gets work, rests, or is told to quit. */
void destination_client_rests(struct destination *destination, struct client *client);
/* A reused connection turned out dead: the attempt is served next, and the other resting
 * connections, which are as old, are closed. */
void destination_resubmit(struct destination *destination, struct attempt *attempt);
/* The client's memory is about to go. The destination may be freed. */
void destination_client_gone(struct destination *destination, struct client *client);

/* --- between destination.c and destination_hosts.c --- */

/* Sets the sources of a destination that has none. */
void destination_hosts_init(struct destination *destination, const struct config_route *route,
                            struct slice domain);
/* No client is left. */
void destination_hosts_finish(struct destination *destination);
/* Looks the hosts up when that is to be done. True when there are hosts, or it is known that there
 * are none now; false: attempts wait for the search's end, which calls destination_hosts_found() or
 * destination_hosts_missing(). */
bool destination_hosts_ready(struct destination *destination);
/* What is down may be tried again at once; how often it failed is remembered. */
void destination_hosts_retry(struct destination *destination);
/* Ends a search soon; the destination lives until destination_hosts_missing() has been called with
 * OUTCOME_NONE. */
void destination_hosts_stop(struct destination *destination);
void destination_hosts_found(struct destination *destination);
/* There are none: what waits ends with `outcome`. */
void destination_hosts_missing(struct destination *destination, enum outcome outcome,
                               struct slice reason);
