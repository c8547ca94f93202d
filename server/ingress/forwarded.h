/* forwarded.h - what others said of a session's client: a proxy's header while it comes in pieces,
 * XCLIENT, XFORWARD. Internal to ingress/.
 *
 * Made at the first of them, freed with the session: most sessions have none. */
#pragma once

#include "server/config/config.h"
#include "server/ingress/proxy_header.h"
#include "server/smtp/xclient.h"

struct session;

struct forwarded {
    struct proxy_reader *proxy; /* a header of which a part has come; NULL: none */
    struct endpoint authority; /* the client before the first XCLIENT; none: there was no XCLIENT */
    char *client[XCLIENT_ATTRIBUTE_COUNT];   /* by XCLIENT, for the session; NULL: not said */
    char *upstream[XCLIENT_ATTRIBUTE_COUNT]; /* by XFORWARD, up to the end of the transaction */
};

/* The session's own, made when it has none. NULL: memory is out. */
struct forwarded *forwarded_of(struct session *s);
/* XFORWARD's values hold up to the end of the next transaction: it has ended. NULL is allowed. */
void forwarded_reset(struct forwarded *forwarded);
/* Appends what is known to the log line that was begun: `forwarded_*` and `client_*`. */
void forwarded_log(const struct session *s);
/* The name for the trace field: what XCLIENT said, else that of EHLO or HELO. Empty: none. */
struct slice forwarded_helo(const struct session *s);

/* True when one of them holds the address. */
static inline bool networks_contain(const struct config_networks *networks,
                                    const struct endpoint *address)
{
    for (size_t i = 0; i < networks->count; i++) {
        if (network_contains(&networks->entries[i], address)) return true;
    }
    return false;
}
