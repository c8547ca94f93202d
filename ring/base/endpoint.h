/* endpoint.h - an IP address with a port. Text forms: 192.0.2.1:25 and [2001:db8::1]:25. */
#pragma once

#include "ring/base/buf.h"

#include <netinet/in.h>

struct endpoint {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr;
    uint32_t addr_len; /* 0: none */
};

#define ENDPOINT_TEXT_MAX 56 /* with brackets, port and terminator */

/* Reads "ADDRESS:PORT"; a v6 address needs its brackets. False when it is not one. */
bool endpoint_parse(struct slice text, struct endpoint *out);
/* Appends address and port. */
void endpoint_write(const struct endpoint *e, struct buf *out);
/* Appends the address alone, without brackets. */
void endpoint_write_address(const struct endpoint *e, struct buf *out);
/* Appends it as an address literal: [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 4.1.3). */
void endpoint_write_literal(const struct endpoint *e, struct buf *out);
uint16_t endpoint_port(const struct endpoint *e);
/* The bytes of the address alone (4 or 16), for keys of maps; a mapped v4 address gives 4. */
struct slice endpoint_key(const struct endpoint *e);
bool endpoint_eq(const struct endpoint *a, const struct endpoint *b);
