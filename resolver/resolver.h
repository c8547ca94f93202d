/* resolver.h - DNS for one core: c-ares on its loop, and a cache.
 *
 * Belongs to one core. Every look-up has a limit of time; an answer that comes after it, or after
 * its end, touches nothing. */
#pragma once

#include "ring/base/counter.h"
#include "ring/base/endpoint.h"
#include "ring/loop.h"

#define RESOLVER_LOOKUPS_MAX 4096 /* under way at once on one core */
#define RESOLVER_SERVERS_MAX 8
#define RESOLVER_TTL_S_MIN 5
#define RESOLVER_TTL_S_MAX 86400
#define RESOLVER_NEGATIVE_TTL_S_MAX 3600
#define RESOLVER_CACHE_ENTRIES_MAX 16384

struct resolver;

struct resolver_options {
    struct loop *loop;
    const struct endpoint *servers; /* none: those of /etc/resolv.conf */
    size_t server_count;
    bool trusts_ad;      /* the AD bit of these servers' answers is believed */
    uint64_t timeout_ms; /* of one try; the whole look-up takes at most `tries` times that, for each
                          * name on its way */
    unsigned tries;
    const char *hostname; /* our own name: hosts of that name are us; copied */
};

/* -ERR_MEMORY, -ERR_INVALID with a line in `why`. */
MUST_USE int resolver_create(const struct resolver_options *options, struct resolver **resolver_out,
                             char *why, size_t why_cap);
/* Replaces servers and times for look-ups that begin from now on; the cache is emptied. */
void resolver_reconfigure(struct resolver *resolver, const struct resolver_options *options);
/* Ends what is under way: each op is done with -ERR_CANCELED, from the loop. */
void resolver_stop(struct resolver *resolver);
/* True when nothing is under way, c-ares' sockets included. */
bool resolver_is_idle(const struct resolver *resolver);
/* After resolver_stop(), when idle, or before anything was asked. NULL is allowed. */
void resolver_destroy(struct resolver *resolver);

enum resolver_type {
    RESOLVER_MX,
    RESOLVER_A,
    RESOLVER_AAAA,
    RESOLVER_PTR,
    RESOLVER_TYPES,
};
enum resolver_outcome {
    RESOLVER_FOUND,
    RESOLVER_NOTHING, /* NXDOMAIN, or no such record */
    RESOLVER_FAILED,  /* SERVFAIL and the like, a broken answer */
    RESOLVER_TIMEOUT,
    RESOLVER_OUTCOMES,
};
struct resolver_counters {
    struct counter queries[RESOLVER_TYPES][RESOLVER_OUTCOMES]; /* that went out */
    struct counter cache_hits;
};
const struct resolver_counters *resolver_counters(const struct resolver *resolver);
