/* generation.c - see generation.h. */
#include "server/core/generation.h"

#include "ring/base/memory.h"

#include <stdlib.h>

static struct generation *assemble(struct config *config, struct routing *routing,
                                   struct credentials *credentials)
{
    struct generation *generation = xcalloc(1, sizeof(*generation));
    size_t listener_count = config->listener_count;
    *generation = (struct generation){
        .config = config,
        .routing = routing,
        .credentials = credentials,
        .core_count = config->node.cores,
        .security = xcalloc(config->node.cores * listener_count, sizeof(struct ingress_security)),
    };
    for (unsigned core = 0; core < generation->core_count; core++) {
        for (size_t i = 0; i < listener_count; i++) {
            generation->security[core * listener_count + i] = (struct ingress_security){
                .tls = credentials_tls(credentials, i, core),
                .users = credentials_users(credentials, i),
            };
        }
    }
    return generation;
}

int generation_create(struct config *config, struct tls_tickets *tickets,
                      struct generation **generation_out, struct config_problems *problems)
{
    struct credentials *credentials;
    *generation_out = NULL;
    int err = credentials_load(config, config->node.cores, tickets, &credentials, problems);
    if (err != 0) {
        config_free(config);
        return err;
    }
    *generation_out = assemble(config, routing_create(config), credentials);
    return 0;
}

int generation_renew(const struct generation *now, struct tls_tickets *tickets,
                     struct generation **generation_out, struct config_problems *problems)
{
    struct credentials *credentials;
    *generation_out = NULL;
    int err = credentials_load(now->config, now->core_count, tickets, &credentials, problems);
    if (err != 0) return err;
    *generation_out = assemble(now->config, now->routing, credentials);
    return 0;
}

void generation_drop(struct generation *generation, const struct generation *other)
{
    if (generation->config == other->config) {
        generation->config = NULL;
        generation->routing = NULL;
    }
    generation_destroy(generation);
}

void generation_destroy(struct generation *generation)
{
    if (generation == NULL) return;
    credentials_destroy(generation->credentials);
    routing_destroy(generation->routing);
    config_free(generation->config);
    free(generation->security);
    free(generation);
}

const struct ingress_security *generation_security(const struct generation *generation,
                                                   unsigned core)
{
    ASSERT(core < generation->core_count);
    return generation->security + core * generation->config->listener_count;
}

void generation_release(const struct generation *generation, unsigned core)
{
    credentials_release(generation->credentials, core);
}
