/* resolver_internal.h - the resolver of a core, as its files share it: resolver.c has its life,
 * route.c and ptr.c the look-ups. */
#pragma once

#include "resolver/dns.h"
#include "resolver/guard.h"
#include "resolver/resolver.h"

#define OWN_ADDRESSES_MS 60000 /* between two looks at the interfaces */

struct resolver {
    struct loop *loop;
    struct dns *dns;
    struct resolver_counters counters;
    struct own_addresses own;
    uint64_t own_until_ns;
    char *hostname;
    uint64_t random;       /* for the order of equals */
    uint32_t lookup_count; /* of route.c and ptr.c */
    bool is_stopping;
    bool prefers_v6; /* there is a way into the IPv6 internet */
};

/* The addresses of this host, as of a moment ago. */
const struct own_addresses *resolver_own_addresses(struct resolver *resolver);
uint64_t resolver_random(struct resolver *resolver);
