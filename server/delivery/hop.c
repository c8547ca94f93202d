/* hop.c - copies of the settings of next hops, and the TLS contexts that they share. */
#include "server/delivery/hop.h"

#include "ring/base/list.h"
#include "ring/base/memory.h"

#include <stdlib.h>

/* One way of looking at certificates. */
struct shared_context {
    struct list node;
    struct tls_context *tls;
    char *ca; /* NULL: the system's */
    bool verifies;
};

struct hop_contexts {
    struct list all;
};

struct hop_contexts *hop_contexts_create(void)
{
    struct hop_contexts *contexts = xcalloc(1, sizeof(*contexts));
    list_init(&contexts->all);
    return contexts;
}

void hop_contexts_destroy(struct hop_contexts *contexts)
{
    if (contexts == NULL) return;
    struct shared_context *shared;
    LIST_FOR_EACH(shared, &contexts->all, struct shared_context, node)
    {
        tls_context_destroy(shared->tls);
        free(shared->ca);
        free(shared);
    }
    free(contexts);
}

static bool is_same_text(const char *a, const char *b)
{
    if (a == NULL || b == NULL) return a == b;
    return strcmp(a, b) == 0;
}

/* NULL: hop->why says why. */
static struct tls_context *get_context(struct hop_contexts *contexts, struct hop *hop)
{
    bool verifies = hop->settings.tls == HOP_TLS_VERIFY;
    struct shared_context *shared;
    LIST_FOR_EACH(shared, &contexts->all, struct shared_context, node)
    {
        if (shared->verifies == verifies && is_same_text(shared->ca, hop->settings.tls_ca))
            return shared->tls;
    }
    const struct tls_client_options options = {
        .verifies = verifies, .ca_file = hop->settings.tls_ca, .resumes = true};
    char why[256] = "";
    struct tls_context *tls;
    if (tls_client_context_create(&options, &tls, why, sizeof(why)) != 0) {
        log_text(LOG_ERROR, "tls_failed", "TLS to next hops cannot be used: %s", why);
        hop->why = xstrdup(why);
        return NULL;
    }
    shared = xcalloc(1, sizeof(*shared));
    shared->tls = tls;
    shared->verifies = verifies;
    shared->ca = hop->settings.tls_ca != NULL ? xstrdup(hop->settings.tls_ca) : NULL;
    list_push_back(&contexts->all, &shared->node);
    return tls;
}

static char *copy(const char *text)
{
    return text != NULL ? xstrdup(text) : NULL;
}

struct hop *hop_create(struct hop_contexts *contexts, const struct config_route *route)
{
    struct hop *hop = xcalloc(1, sizeof(*hop));
    hop->protocol = route->action == ACTION_LMTP ? HOP_LMTP : HOP_SMTP;
    hop->settings = route->hop;
    hop->settings.tls_ca = copy(route->hop.tls_ca);
    hop->settings.username = copy(route->hop.username);
    hop->settings.password = copy(route->hop.password);
    if (hop->settings.tls != HOP_TLS_NONE) hop->tls = get_context(contexts, hop);
    return hop;
}

void hop_destroy(struct hop *hop)
{
    if (hop == NULL) return;
    free(hop->settings.tls_ca);
    free(hop->settings.username);
    if (hop->settings.password != NULL)
        explicit_bzero(hop->settings.password, strlen(hop->settings.password));
    free(hop->settings.password);
    free(hop->why);
    free(hop);
}

void hop_write_key(const struct config_route *route, struct buf *out)
{
    const struct config_hop *hop = &route->hop;
    const struct endpoint *const sources[] = {&hop->source_v4, &hop->source_v6};
    const char *const texts[] = {hop->tls_ca, hop->username, hop->password};
    buf_append_format(out, "%u %u %u %u %u", route->action == ACTION_LMTP, hop->tls,
                      hop->is_tls_implicit, hop->is_plain_allowed, hop->mechanisms);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        buf_append_char(out, ' ');
        if (sources[i]->addr_len != 0) endpoint_write_address(sources[i], out);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        /* A text may hold anything: its length tells where it ends. */
        size_t len = texts[i] != NULL ? strlen(texts[i]) : 0;
        buf_append_format(out, " %zu:", len);
        buf_append(out, texts[i], len);
    }
}
