/* generation.h - one configuration with all that is built from it before it is put in force.
 *
 * The process makes a generation, shows it to every core, and destroys the one before when no core
 * uses it any more. The cores only read it, but for the TLS contexts: a core has contexts of its
 * own, and gives its hold on them up itself, since only its thread may count their users. */
#pragma once

#include "server/auth/credentials.h"
#include "server/ingress/ingress.h"

struct generation {
    struct config *config;
    struct routing *routing;
    struct credentials *credentials;
    unsigned core_count;
    struct ingress_security *security; /* core by core, one a listener: generation_security() */
};

/* Takes `config`, whatever the result. -ERR_* with the problems when its certificates, keys or
 * users cannot be loaded; then *generation_out is NULL. */
MUST_USE int generation_create(struct config *config, struct tls_tickets *tickets,
                               struct generation **generation_out,
                               struct config_problems *problems);
/* The same configuration with its certificates, keys and users read anew. Both own it and the
 * routing, until one of them is ended with generation_drop(). */
MUST_USE int generation_renew(const struct generation *now, struct tls_tickets *tickets,
                              struct generation **generation_out, struct config_problems *problems);
/* No core uses `generation`, or not any more: destroys it, but for what it shares with `other`. */
void generation_drop(struct generation *generation, const struct generation *other);
void generation_destroy(struct generation *generation); /* NULL is allowed */

/* What ingress_options.security wants for that core. */
const struct ingress_security *generation_security(const struct generation *generation,
                                                   unsigned core);
/* On the thread of that core, which uses the generation no more. */
void generation_release(const struct generation *generation, unsigned core);
