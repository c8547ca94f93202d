/* route.h - from a recipient's domain to the hosts that take its mail: the resolver's public face.
 *
 * The interface that the delivery half is written against; c-ares behind it comes with the MX
 * action of routes. Until then every route names its hosts by address (config_route.hosts).
 *
 * Sources: RFC 5321 5.1 (order, implicit MX), RFC 7505 (null MX), RFC 7672 (DANE), RFC 8461
 * (MTA-STS). Belongs to one core, as its loop does. */
#pragma once

#include "ring/base/endpoint.h"
#include "ring/op.h"

/* What a connection to a host owes to TLS, and why: the stricter wins. */
enum tls_duty {
    TLS_DUTY_NONE,    /* never */
    TLS_DUTY_MAY,     /* when it is offered; any certificate */
    TLS_DUTY_REQUIRE, /* always; any certificate */
    TLS_DUTY_VERIFY,  /* always; the certificate must be good for the host */
};
enum tls_reason { TLS_BY_CONFIG, TLS_BY_DANE, TLS_BY_MTA_STS, TLS_BY_REQUIRETLS };

#define ROUTE_HOSTS_MAX 16
#define ROUTE_ADDRESSES_MAX 8 /* of one host */

struct route_host {
    char name[256]; /* the MX name; for the greeting check, SNI and logs */
    uint16_t preference;
    struct endpoint addresses[ROUTE_ADDRESSES_MAX]; /* in the order to try */
    uint8_t address_count;
    enum tls_duty tls_duty;
    enum tls_reason tls_reason;
};

struct route_result {
    struct route_host hosts[ROUTE_HOSTS_MAX]; /* by preference, equal ones shuffled */
    uint8_t host_count;
    bool is_null_mx;   /* RFC 7505: the domain takes no mail, 556 5.1.10 */
    bool is_authentic; /* every answer came with the AD bit from a trusted resolver */
    uint32_t ttl_s;
};

struct resolver;

/* Starts a look-up. `op` ends with 0; -ERR_NOT_FOUND: the domain does not exist, or none of its
 * hosts has an address that may be connected to; another -ERR_*: not now, try again later. `domain`
 * is copied; `result_out` is the resolver's until op->done(). */
void route_find(struct resolver *resolver, struct slice domain, struct route_result *result_out,
                struct ring_op *op);
