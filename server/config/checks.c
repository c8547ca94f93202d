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
    static const char *const names[] = {
        [ACTION_SMTP] = "smtp",     [ACTION_MAILDIR] = "maildir", [ACTION_DISCARD] = "discard",
        [ACTION_REJECT] = "reject", [ACTION_LMTP] = "lmtp",       [ACTION_MX] = "mx"};
    if (section == NULL || section->count == 0) {
        report_add(r->report, section != NULL ? &section->place : &r->start,
                   "'action' needs one of mx, smtp, lmtp, maildir, discard, reject");
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

static void check_sockets(struct reading *r, const struct node *section,
                          const struct config_route *route)
{
    const struct node *hosts = node_find(section, "hosts");
    bool is_lmtp = strcmp(section->key, "lmtp") == 0;
    bool wants_tls = route->hop.tls >= HOP_TLS_REQUIRE || route->hop.is_tls_implicit;
    for (const struct node *host = hosts->first; host != NULL; host = host->next) {
        if (strncmp(host->text.data, "unix:", 5) != 0) continue;
        if (!is_lmtp) {
            report_add(r->report, &host->place, "'unix:' is for 'lmtp' only");
        } else if (wants_tls) {
            report_add(r->report, &host->place,
                       "TLS is not spoken over a Unix socket: set 'tls: none' or 'may'");
        }
    }
}

static void check_login(struct reading *r, const struct node *section,
                        const struct config_route *route)
{
    const struct config_hop *hop = &route->hop;
    bool has_both =
        node_find(section, "password") != NULL && node_find(section, "password_file") != NULL;
    if (has_both) {
        report_add(r->report, place_of(section, "password_file"),
                   "'password' and 'password_file' are one too many: give one of them");
    } else if (hop->username != NULL && hop->password == NULL) {
        report_add(r->report, place_of(section, "username"),
                   "'username' needs 'password_file' or 'password'");
    } else if (hop->username == NULL && hop->password != NULL) {
        report_add(r->report,
                   place_of(section,
                            node_find(section, "password") != NULL ? "password" : "password_file"),
                   "a password has no use without 'username'");
    }
    if (hop->username != NULL && hop->tls == HOP_TLS_NONE && !hop->is_plain_allowed) {
        report_add(r->report, place_of(section, "tls"),
                   "'username' needs TLS: set 'tls: require' or 'verify', or "
                   "'allow_plaintext_auth: true' if passwords may be read on the way");
    }
}

void check_hop(struct reading *r, const struct node *section, void *base)
{
    const struct config_route *route = base;
    check_sockets(r, section, route);
    check_login(r, section, route);
    if (route->hop.is_tls_implicit && route->hop.tls == HOP_TLS_NONE) {
        report_add(r->report, place_of(section, "implicit_tls"),
                   "'implicit_tls' has no use with 'tls: none'");
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
    uint64_t warn_after = config->delivery.retry.warn_after_ms;
    bool is_given = section != NULL && node_find(section, "warn_after") != NULL;
    if (is_given && warn_after >= config->delivery.retry.expire_ms) {
        report_add(r->report, &node_find(section, "warn_after")->place,
                   "'warn_after' must be shorter than 'expire' (0s: no warning)");
    }
}
