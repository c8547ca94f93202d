/* proxy_header.h - headers of the PROXY protocol, versions 1 and 2, as a load balancer writes them.
 *
 * Client addresses are those that RFC 2544 sets aside for benchmarks: 198.18.0.0/15. Pure. */
#pragma once

#include "ring/base/buf.h"
#include "ring/base/endpoint.h"

#define PROXY_HEADER_BYTES_MAX 107 /* of version 1; version 2 over IPv4 has 28 */
#define PROXY_CLIENTS_MAX 100000

/* Client `index` of 0 to PROXY_CLIENTS_MAX - 1: 198.18.0.1 is the first. The port is any. */
struct endpoint proxy_client(uint32_t index, uint16_t port);
/* Where the client is said to have connected to: `to`, or, when that is no IPv4 address, one of
 * the same block and with its port. */
struct endpoint proxy_target(const struct endpoint *to);
/* Both append one header; the endpoints are of IPv4. */
void proxy_write_v1(const struct endpoint *client, const struct endpoint *target, struct buf *out);
void proxy_write_v2(const struct endpoint *client, const struct endpoint *target, struct buf *out);
