/* ptr.h - the name of a client's address, when its addresses agree (RFC 1035 3.5, RFC 8601 3).
 *
 * A name counts only when it looks up to the address it was found for: who owns the address alone
 * can write anything into its PTR. Everything else is "unknown". */
#pragma once

#include "resolver/resolver.h"
#include "ring/op.h"

#define PTR_NAME_BYTES_MAX 255

struct ptr_result {
    char name[PTR_NAME_BYTES_MAX + 1]; /* in lower case, a host name, in which _ is allowed */
    size_t len;                        /* 0: unknown */
    bool is_temporary;                 /* unknown, since the DNS did not answer */
};

struct ptr_lookup;

/* As route_find(): `result_out` is the resolver's until op->done(). `address` is copied. */
MUST_USE int ptr_find(struct resolver *resolver, const struct endpoint *address,
                      struct ptr_result *result_out, struct ring_op *op,
                      struct ptr_lookup **lookup_out);
/* op->done() comes soon, with -ERR_CANCELED or with 0. Only before it has come. */
void ptr_cancel(struct ptr_lookup *lookup);
