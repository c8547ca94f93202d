/* credentials.c - see credentials.h. A file of users that several listeners name is read once. */
#include "server/auth/credentials.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES 1024
#define KEY_BYTES 256 /* of a key's path in the configuration */

struct listener_credentials {
    struct tls_context **tls; /* one a core; NULL: no TLS */
    const struct users *users;
    char *users_file; /* what they were read from */
    char *expired;
};

struct credentials {
    struct listener_credentials *listeners;
    size_t listener_count;
    unsigned core_count;
};

/* --- TLS --- */

struct tls_source {
    const struct config *config;
    const struct config_listener *listener;
    struct tls_tickets *tickets;
    struct tls_certificate *certificates; /* as the configuration has them */
};

static int make_context(const struct tls_source *source, bool allows_expired,
                        struct tls_context **context_out, char *why)
{
    const struct config_listener *listener = source->listener;
    const struct tls_server_options options = {
        .certificates = source->certificates,
        .certificate_count = (uint32_t)listener->tls.certificate_count,
        .allows_expired = allows_expired,
        .version_min = listener->tls.requires_1_3 ? TLS_VERSION_1_3 : TLS_VERSION_1_2,
        .tickets = source->tickets,
        .asks_client = listener->tls.asks_client,
        .client_ca_file = listener->tls.client_ca,
    };
    return tls_server_context_create(&options, context_out, why, WHY_BYTES);
}

/* True when a server could use this certificate if it had no other. */
static bool is_good(const struct tls_certificate *certificate, char *why)
{
    struct tls_context *context;
    const struct tls_server_options options = {
        .certificates = certificate, .certificate_count = 1, .allows_expired = true};
    int err = tls_server_context_create(&options, &context, why, WHY_BYTES);
    tls_context_destroy(context);
    return err == 0;
}

static const char *origin_of(const struct tls_source *source, const char *key)
{
    const char *origin = config_origin(source->config, key);
    return origin != NULL ? origin : source->config->file;
}

/* The context could not be made: says which of its certificates are bad, each at its place; when
 * all are good by themselves it is `why`, which is about the rest. */
static void report_tls(const struct tls_source *source, const char *why,
                       struct config_problems *problems)
{
    const struct config_listener *listener = source->listener;
    size_t count_before = problems->count;
    char key[KEY_BYTES], one[WHY_BYTES];
    for (size_t i = 0; i < listener->tls.certificate_count; i++) {
        if (is_good(&source->certificates[i], one)) continue;
        snprintf(key, sizeof(key), "listeners[%s].tls.certificates[%zu].certificate",
                 listener->name, i + 1);
        config_problems_add(problems, "%s: %s", origin_of(source, key), one);
    }
    if (problems->count > count_before) return;
    snprintf(key, sizeof(key), "listeners[%s].tls.mode", listener->name);
    config_problems_add(problems, "%s: %s", origin_of(source, key), why);
}

/* The certificates are taken whatever their time is, and `expired` keeps what is wrong with it. */
static int load_contexts(const struct tls_source *source, unsigned core_count,
                         struct listener_credentials *out, struct config_problems *problems)
{
    char why[WHY_BYTES] = "", late[WHY_BYTES] = "";
    out->tls = xcalloc(core_count, sizeof(*out->tls));
    int err = make_context(source, false, &out->tls[0], late);
    bool is_expired = err != 0;
    if (is_expired) err = make_context(source, true, &out->tls[0], why);
    for (unsigned i = 1; i < core_count && err == 0; i++)
        err = make_context(source, true, &out->tls[i], why);
    if (err != 0) {
        report_tls(source, why, problems);
    } else if (is_expired) {
        out->expired = xstrdup(late);
    }
    return err;
}

static int load_tls(const struct config *config, const struct config_listener *listener,
                    unsigned core_count, struct tls_tickets *tickets,
                    struct listener_credentials *out, struct config_problems *problems)
{
    size_t count = listener->tls.certificate_count;
    struct tls_source source = {config, listener, tickets, NULL};
    source.certificates = xcalloc(count, sizeof(*source.certificates));
    for (size_t i = 0; i < count; i++) {
        const struct config_certificate *certificate = &listener->tls.certificates[i];
        source.certificates[i] = (struct tls_certificate){certificate->chain, certificate->key};
    }
    int err = load_contexts(&source, core_count, out, problems);
    free(source.certificates);
    return err;
}

/* --- users --- */

/* Those of an earlier listener, when it names the same file. A file that is bad is told of once:
 * then `users` is NULL, and the file's name is kept all the same. */
static int load_users(struct credentials *c, size_t index, const char *file,
                      struct config_problems *problems)
{
    struct listener_credentials *out = &c->listeners[index];
    out->users_file = xstrdup(file);
    for (size_t i = 0; i < index; i++) {
        const struct listener_credentials *other = &c->listeners[i];
        if (other->users_file == NULL || strcmp(other->users_file, file) != 0) continue;
        if (other->users != NULL) out->users = users_ref(other->users);
        return 0;
    }
    return users_load(file, &out->users, problems);
}

/* --- all --- */

int credentials_load(const struct config *config, unsigned core_count, struct tls_tickets *tickets,
                     struct credentials **credentials_out, struct config_problems *problems)
{
    ASSERT(core_count > 0);
    struct credentials *c = xcalloc(1, sizeof(*c));
    c->listeners = xcalloc(config->listener_count, sizeof(*c->listeners));
    c->listener_count = config->listener_count;
    c->core_count = core_count;
    int first_err = 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        int err = 0;
        if (listener->tls.mode != LISTENER_TLS_NONE)
            err = load_tls(config, listener, core_count, tickets, &c->listeners[i], problems);
        if (first_err == 0) first_err = err;
        err = 0;
        if (listener->auth.users != NULL) err = load_users(c, i, listener->auth.users, problems);
        if (first_err == 0) first_err = err;
    }
    if (first_err != 0) {
        credentials_destroy(c);
        c = NULL;
    }
    *credentials_out = c;
    return first_err;
}

void credentials_release(struct credentials *credentials, unsigned core)
{
    ASSERT(core < credentials->core_count);
    for (size_t i = 0; i < credentials->listener_count; i++) {
        struct tls_context **tls = credentials->listeners[i].tls;
        if (tls == NULL) continue;
        tls_context_destroy(tls[core]);
        tls[core] = NULL;
    }
}

void credentials_destroy(struct credentials *credentials)
{
    if (credentials == NULL) return;
    for (unsigned core = 0; core < credentials->core_count; core++)
        credentials_release(credentials, core);
    for (size_t i = 0; i < credentials->listener_count; i++) {
        struct listener_credentials *listener = &credentials->listeners[i];
        free(listener->tls);
        users_unref(listener->users);
        free(listener->users_file);
        free(listener->expired);
    }
    free(credentials->listeners);
    free(credentials);
}

struct tls_context *credentials_tls(const struct credentials *credentials, size_t listener,
                                    unsigned core)
{
    ASSERT(listener < credentials->listener_count && core < credentials->core_count);
    struct tls_context **tls = credentials->listeners[listener].tls;
    return tls != NULL ? tls[core] : NULL;
}

const struct users *credentials_users(const struct credentials *credentials, size_t listener)
{
    ASSERT(listener < credentials->listener_count);
    return credentials->listeners[listener].users;
}

static bool is_out_of_time(const struct credentials *credentials, size_t listener)
{
    const struct tls_context *context = credentials_tls(credentials, listener, 0);
    if (context == NULL || credentials->listeners[listener].expired != NULL) return context != NULL;
    int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
    for (uint32_t i = 0; i < tls_server_certificate_count(context); i++) {
        struct tls_certificate_info info;
        tls_server_certificate(context, i, &info);
        if (info.not_after_s < now_s) return true;
    }
    return false;
}

bool credentials_may_replace(const struct credentials *now, const struct credentials *next,
                             struct config_problems *problems)
{
    ASSERT(now->listener_count == next->listener_count);
    bool is_allowed = true;
    for (size_t i = 0; i < next->listener_count; i++) {
        const char *expired = next->listeners[i].expired;
        if (expired == NULL || is_out_of_time(now, i)) continue;
        config_problems_add(problems, "%s", expired);
        is_allowed = false;
    }
    return is_allowed;
}

const char *credentials_expired(const struct credentials *credentials, size_t listener)
{
    ASSERT(listener < credentials->listener_count);
    return credentials->listeners[listener].expired;
}

void credentials_each_certificate(const struct credentials *credentials,
                                  void (*visit)(void *owner,
                                                const struct tls_certificate_info *info),
                                  void *owner)
{
    for (size_t i = 0; i < credentials->listener_count; i++) {
        const struct tls_context *context = credentials_tls(credentials, i, 0);
        uint32_t count = context != NULL ? tls_server_certificate_count(context) : 0;
        for (uint32_t k = 0; k < count; k++) {
            struct tls_certificate_info info;
            tls_server_certificate(context, k, &info);
            visit(owner, &info);
        }
    }
}
