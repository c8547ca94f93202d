/* hop.h - how the hosts of one destination are talked to.
 *
 * A copy of what the configuration says, since connections outlive it, with the TLS context that
 * goes with it. Contexts are shared by all hops of a core that verify against the same roots.
 * Belongs to one core. */
#pragma once

#include "ring/tls.h"
#include "server/config/config.h"

enum hop_protocol { HOP_SMTP, HOP_LMTP };

/* The TLS contexts of one core. */
struct hop_contexts;

struct hop_contexts *hop_contexts_create(void);
/* No hop may be left. NULL is allowed. */
void hop_contexts_destroy(struct hop_contexts *contexts);

struct hop {
    enum hop_protocol protocol;
    struct config_hop settings; /* its strings are the hop's own */
    struct tls_context *tls;    /* for certificates as `settings.tls` says; NULL: none is needed */
    char *why;                  /* roots that cannot be used: what is wrong with them; or NULL */
};

/* Of a route with ACTION_SMTP, ACTION_LMTP or ACTION_MX. Roots that cannot be used are logged as an
 * error and noted in `why`: then `tls` is NULL, and nothing is sent that must go by TLS. */
struct hop *hop_create(struct hop_contexts *contexts, const struct config_route *route);
void hop_destroy(struct hop *hop); /* NULL is allowed */
/* Appends what tells this way of talking from others: routes that share it and their hosts share a
 * destination. Passwords are in it: it is never shown. */
void hop_write_key(const struct config_route *route, struct buf *out);
