/* network.h - an IP network in CIDR notation (RFC 4632 3.1, RFC 4291 2.3). Pure. */
#pragma once

#include "ring/base/endpoint.h"

struct network {
    uint8_t address[16]; /* in network order; IPv4 uses the first 4 */
    uint8_t bits;        /* of the prefix */
    bool is_ipv6;
};

/* "192.0.2.0/24", "2001:db8::/32", or one address alone. Bits behind the prefix must be zero. False
 * when it is none of these. */
MUST_USE bool network_parse(struct slice text, struct network *out);
/* True when the address of `endpoint` is inside. An IPv4 address that is mapped into IPv6
 * (::ffff:a.b.c.d) is taken for the IPv4 address. */
bool network_contains(const struct network *network, const struct endpoint *endpoint);
/* As network_parse() reads it; `out` needs ENDPOINT_TEXT_MAX. */
void network_write(const struct network *network, struct buf *out);
