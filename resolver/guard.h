/* guard.h - addresses that mail must not be led to by a name in the DNS.
 *
 * The DNS of a stranger can name any address: this host, its private network, a cloud's metadata
 * service. Pure, but for the list of this host's own addresses. */
#pragma once

#include "ring/base/endpoint.h"

#define OWN_ADDRESSES_MAX 256 /* of the interfaces of this host */

/* False for this host and network (0/8, 127/8, ::, ::1), private (RFC 1918, 4193) and link-local
 * networks, carrier-grade NAT, multicast and reserved ones; also when they are mapped into IPv6
 * (::ffff/96), or reached by NAT64 (64:ff9b::/96) or 6to4 (2002::/16). */
MUST_USE bool guard_is_public(const struct endpoint *address);

/* True for 127/8 and ::1. */
bool guard_is_loopback(const struct endpoint *address);

/* The addresses of the interfaces. */
struct own_addresses {
    struct endpoint entries[OWN_ADDRESSES_MAX];
    uint32_t count;
};
/* Reads them from the system; blocks for the moment that takes. */
void own_addresses_read(struct own_addresses *own);
bool own_addresses_have(const struct own_addresses *own, const struct endpoint *address);
