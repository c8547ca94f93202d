/* route.h - from a domain to the hosts that take its mail: the resolver's face for delivery.
 *
 * Sources: RFC 5321 5.1 (order, implicit MX), RFC 7505 (null MX), RFC 2181 10.3 (MX and CNAME). The
 * TLS duty of a host is that of the configuration until policies of the domain itself (RFC 7672
 * DANE, RFC 8461 MTA-STS) are looked up too. Belongs to one core, as its loop does. */
#pragma once

#include "resolver/resolver.h"
#include "ring/base/endpoint.h"
#include "ring/base/network.h"
#include "ring/op.h"

/* What a connection to a host owes to TLS, and why: the stricter wins. */
enum tls_duty {
    TLS_DUTY_NONE,    /* never */
    TLS_DUTY_MAY,     /* when it is offered; any certificate */
    TLS_DUTY_REQUIRE, /* always; any certificate */
    TLS_DUTY_VERIFY,  /* always; the certificate must be good for the host */
};
enum tls_reason { TLS_BY_CONFIG, TLS_BY_DANE, TLS_BY_MTA_STS, TLS_BY_REQUIRETLS };

#define ROUTE_HOSTS_MAX 16    /* of one domain; the worst by preference are passed over */
#define ROUTE_ADDRESSES_MAX 8 /* of one host */
#define ROUTE_WHY_BYTES_MAX 256

struct route_host {
    char name[256]; /* the MX name in lower case, no dot at its end; for SNI, checks and logs */
    uint16_t preference;
    struct endpoint addresses[ROUTE_ADDRESSES_MAX]; /* in the order to try, with the query's port */
    uint8_t address_count;
    enum tls_duty tls_duty;
    enum tls_reason tls_reason;
};

enum route_status {
    ROUTE_FOUND,      /* at least one host with at least one address */
    ROUTE_NO_DOMAIN,  /* NXDOMAIN, or a name that cannot be one: 5.1.2 */
    ROUTE_NULL_MX,    /* RFC 7505: the domain takes no mail: 556 5.1.10 */
    ROUTE_NO_ADDRESS, /* no host has an address that may be connected to: 5.4.4 */
    ROUTE_IS_US,      /* the best host is this one (RFC 5321 5.1): 5.4.6 */
    ROUTE_TRY_LATER,  /* SERVFAIL, REFUSED, no answer, a broken one, CNAME loop: 4.4.3 */
};

struct route_result {
    enum route_status status;
    char why[ROUTE_WHY_BYTES_MAX]; /* one line for people, printable ASCII; "" when found */
    struct route_host hosts[ROUTE_HOSTS_MAX]; /* by preference, equal ones shuffled */
    uint8_t host_count;
    bool is_implicit;  /* there was no MX: the domain itself is the host */
    bool is_authentic; /* every answer came with the AD bit from a trusted resolver */
    uint32_t ttl_s;    /* of the whole, clamped to RESOLVER_TTL_S_MIN..MAX */
};

struct route_query {
    struct ring_op *op;
    struct slice domain; /* A-labels; copied. An address literal is ROUTE_NO_DOMAIN */
    bool is_host;        /* a host name from the configuration: its addresses only, no MX, and no
                          * address of it is refused */
    uint16_t port;
    enum tls_duty tls_duty; /* what the configuration says: every host gets it */
    /* Addresses that may be connected to although they are private, of this machine, or such. */
    const struct network *allowed;
    size_t allowed_count;
};

struct route_lookup; /* one that is under way */

/* Starts a look-up. `query` and `result_out` are the resolver's until op->done(); the result of the
 * op is 0, or -ERR_CANCELED; what was found is in result_out->status. done() never runs inside this
 * call. -ERR_MEMORY, and no done(): too many are under way (RESOLVER_LOOKUPS_MAX). */
MUST_USE int route_find(struct resolver *resolver, const struct route_query *query,
                        struct route_result *result_out, struct route_lookup **lookup_out);
/* op->done() comes soon, with -ERR_CANCELED or with 0. Only before it has come. */
void route_cancel(struct route_lookup *lookup);

/* False for an address that a name in the DNS must not lead to: this host (0/8, 127/8, ::1, ::),
 * private and link-local networks, multicast, reserved ones, and those mapped into IPv6 or NAT64;
 * true for any of `allowed`. For the check at connect time. */
MUST_USE bool route_address_is_allowed(const struct endpoint *address,
                                       const struct network *allowed, size_t allowed_count);
