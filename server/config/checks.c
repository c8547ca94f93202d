/* checks.c - see checks.h. */
#include "server/config/checks.h"

#include "ring/base/memory.h"

/* The place of that key, or else of the section. */
static const struct place *place_of(const struct node *section, const char *key)
{
    const struct node *node = node_find(section, key);
    return node != NULL ? &node->place : &section->place;
}

void check_certificate(struct reading *r, const struct node *section, void *base)
{
    (void)r, (void)section;
    struct config_certificate *certificate = base;
    if (certificate->key == NULL) certificate->key = xstrdup(certificate->chain);
}

void check_tls(struct reading *r, const struct node *section, void *base)
{
    const struct config_listener *listener = base;
    if (listener->tls.mode == LISTENER_TLS_NONE) return;
    if (listener->tls.certificate_count == 0) {
        report_add(r->report, &section->place,
                   "'tls' needs 'certificates': [{ certificate: PATH, key: PATH }]");
    }
    if (listener->tls.client_ca != NULL && !listener->tls.asks_client) {
        report_add(r->report, place_of(section, "client_ca"),
                   "'client_ca' has no use without 'client_certificates: request'");
    }
}

void check_listener(struct reading *r, const struct node *section, void *base)
{
    const struct config_listener *listener = base;
    bool has_auth = listener->auth.users != NULL, has_tls = listener->tls.mode != LISTENER_TLS_NONE;
    if (listener->service == SERVICE_SUBMISSION && !has_auth) {
        report_add(r->report, place_of(section, "service"),
                   "'service: submission' needs 'auth': { users: PATH }, since it takes mail from "
                   "authenticated clients only");
    }
    if (has_auth && !has_tls && !listener->auth.is_plain_allowed) {
        report_add(r->report, place_of(section, "auth"),
                   "'auth' needs 'tls', or 'allow_plaintext: true' if passwords may be read on "
                   "the way");
    }
    if (listener->tls.mode == LISTENER_TLS_IMPLICIT && listener->auth.is_plain_allowed) {
        report_add(r->report, place_of(node_find(section, "auth"), "allow_plaintext"),
                   "'allow_plaintext' has no use with 'mode: implicit', where nothing is plain");
    }
}

/* XCLIENT can name an authenticated user as well. */
static bool has_users(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        if (listener->auth.users != NULL || listener->xclient_from.count > 0) return true;
    }
    return false;
}

void check_whole(struct reading *r, const struct node *root, struct config *config)
{
    const struct node *routes = node_find(root, "routes");
    ASSERT(routes != NULL && routes->count == config->route_count);
    const struct node *node = routes->first;
    for (size_t i = 0; i < config->route_count; i++, node = node->next) {
        if (!config->routes[i].is_authenticated || has_users(config)) continue;
        report_add(r->report, place_of(node_find(node, "match"), "authenticated"),
                   "'authenticated: true' can match nobody: no listener has 'auth'");
    }
}

void check_match(struct reading *r, const struct node *section, void *base)
{
    (void)base;
    /* Any key counts, but for `authenticated: false`: one that is unknown or not good has its own
     * problem. */
    const struct node *authenticated = node_find(section, "authenticated");
    bool is_false = authenticated != NULL && slice_eq(authenticated->text, SLICE("false"));
    if (section != NULL && section->count > (is_false ? 1u : 0u)) return;
    report_add(r->report, section != NULL ? &section->place : &r->start,
               "'match' needs 'domain', 'recipient' or 'authenticated: true' (domain: [\"*\"] is "
               "everybody)");
}

void check_action(struct reading *r, const struct node *section, void *base)
{
    struct config_route *route = base;
    static const char *const names[] = {[ACTION_SMTP] = "smtp",
                                        [ACTION_MAILDIR] = "maildir",
                                        [ACTION_DISCARD] = "discard",
                                        [ACTION_REJECT] = "reject"};
    if (section == NULL || section->count == 0) {
        report_add(r->report, section != NULL ? &section->place : &r->start,
                   "'action' needs one of smtp, maildir, discard, reject");
        return;
    }
    const struct node *first = section->first;
    for (const struct node *other = first->next; other != NULL; other = other->next) {
        if (strcmp(other->key, first->key) == 0) continue; /* given twice: reported as that */
        report_add(r->report, &other->key_place,
                   "a route has one action: '%s' beside '%s' is one too many", other->key,
                   first->key);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(first->key, names[i]) == 0) route->action = (enum route_action)i;
    }
}

/* The place of the first of these keys that is given, or else of the section. */
static const struct place *place_of_either(const struct reading *r, const struct node *section,
                                           const char *key, const char *other)
{
    const struct node *node = node_find(section, key);
    if (node == NULL) node = node_find(section, other);
    if (node != NULL) return &node->place;
    return section != NULL ? &section->place : &r->start;
}

void check_retry(struct reading *r, const struct node *section, void *base)
{
    const struct config *config = base;
    uint64_t first = config->delivery.retry.first_ms;
    if (config->delivery.retry.max_ms < first) {
        report_add(r->report, place_of_either(r, section, "max", "first"),
                   "'max' must not be shorter than 'first'");
    }
    if (config->delivery.retry.expire_ms < first) {
        report_add(r->report, place_of_either(r, section, "expire", "first"),
                   "'expire' must not be shorter than 'first': nothing would be tried again");
    }
}
