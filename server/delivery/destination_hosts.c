/* destination_hosts.c - the hosts of a destination: found, ordered, proven, down.
 *
 *     unknown --work comes--> searching --found--> fresh --time passes--> stale --work--> searching
 *                                 \--nothing there--> what waits fails, or is deferred
 *
 * While hosts are stale they go on being used until the search has ended. A host that a new search
 * finds again keeps what is known of it. */
#include "server/delivery/client.h"
#include "server/delivery/delivery_internal.h"
#include "server/delivery/destination.h"

#include <stdlib.h>

#define REFRESH_MS_MIN 1000
#define PARTIAL_TTL_MS 60000 /* of hosts when names of the route were not found */

_Static_assert((int)HOP_TLS_MAY == TLS_DUTY_MAY && (int)HOP_TLS_REQUIRE == TLS_DUTY_REQUIRE &&
                   (int)HOP_TLS_VERIFY == TLS_DUTY_VERIFY,
               "what the configuration says is the duty");

/* --- one host --- */

static char *host_text(const char *name, const struct endpoint *endpoint, const char *unix_path)
{
    char text[256 + ENDPOINT_TEXT_MAX + sizeof("unix:")];
    struct buf out = {text, 0, sizeof(text), false};
    if (unix_path != NULL) {
        buf_append_cstr(&out, "unix:");
        buf_append_cstr(&out, unix_path);
    } else if (name != NULL) {
        buf_append_cstr(&out, name);
        buf_append_char(&out, '[');
        endpoint_write_address(endpoint, &out);
        buf_append_format(&out, "]:%u", endpoint_port(endpoint));
    } else {
        endpoint_write(endpoint, &out);
    }
    return slice_to_cstr(buf_slice(&out));
}

static struct host *make_host(const char *name, const struct endpoint *endpoint,
                              const char *unix_path)
{
    struct host *host = xcalloc(1, sizeof(*host));
    list_init(&host->node);
    if (endpoint != NULL) host->endpoint = *endpoint;
    host->unix_path = unix_path != NULL ? xstrdup(unix_path) : NULL;
    host->name = name != NULL ? xstrdup(name) : NULL;
    host->text = host_text(name, endpoint, unix_path);
    host->is_listed = true;
    return host;
}

static void free_host(struct host *host)
{
    free(host->unix_path);
    free(host->name);
    free(host->text);
    free(host);
}

static void unlist_host(struct host *host)
{
    list_remove(&host->node);
    host->is_listed = false;
    if (host->client_count == 0) free_host(host);
}

static void unlist_all(struct list *hosts)
{
    struct host *host;
    LIST_FOR_EACH(host, hosts, struct host, node)
    {
        unlist_host(host);
    }
}

void destination_host_take(struct destination *d, struct host *host)
{
    ASSERT(d->delivery != NULL);
    host->client_count++;
}

void destination_host_give(struct destination *d, struct host *host)
{
    ASSERT(d->delivery != NULL && host->client_count > 0);
    host->client_count--;
    if (!host->is_listed && host->client_count == 0) free_host(host);
}

struct host *destination_pick_host(struct destination *d)
{
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    struct host *host;
    LIST_FOR_EACH(host, &d->hosts, struct host, node)
    {
        /* What the DNS says may have changed since the address was looked at. */
        if (d->is_by_mx &&
            !route_address_is_allowed(&host->endpoint, d->allowed, d->allowed_count)) {
            continue;
        }
        if (host->is_proven) return host;
        /* At the very first, nothing is known against the host: its probe is worth waiting for. */
        if (host->is_probed && host->failures == 0) return NULL;
        if (!host->is_probed && host->down_until_ns <= now_ns) return host;
    }
    return NULL;
}

void destination_host_works(struct destination *d, struct host *host)
{
    ASSERT(d->delivery != NULL);
    host->is_proven = true;
    host->failures = 0;
    host->down_until_ns = 0;
}

static void note_reason(struct destination *d, struct slice reason)
{
    d->reason_len = MIN(reason.len, (size_t)MESSAGE_REPLY_BYTES_MAX);
    memcpy(d->reason, reason.data, d->reason_len);
}

/* Doubles with every failure, up to the longest time between two attempts. */
static uint64_t down_ms(const struct destination *d, uint32_t failures)
{
    const struct config *config = d->delivery->config;
    uint64_t ms = MIN((uint64_t)HOST_DOWN_MS_FIRST, config->delivery.retry.first_ms);
    for (uint32_t i = 0; i < failures && ms < config->delivery.retry.max_ms; i++)
        ms *= 2;
    return MIN(ms, config->delivery.retry.max_ms);
}

static void set_down(struct destination *d, struct host *host, struct slice reason, uint64_t ms)
{
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    note_reason(d, reason);
    host->is_proven = false;
    if (host->down_until_ns > now_ns) return; /* several connections failed at the same time */
    host->down_until_ns = now_ns + ms * NS_PER_MS;
    if (host->failures < UINT32_MAX) host->failures++;
}

void destination_host_failed(struct destination *d, struct host *host, struct slice reason)
{
    set_down(d, host, reason, down_ms(d, host->failures));
}

void destination_host_refused(struct destination *d, struct host *host, struct slice reason)
{
    set_down(d, host, reason, d->delivery->config->delivery.retry.max_ms);
}

/* --- finding them --- */

static bool is_same_host(const struct host *a, const struct host *b)
{
    bool has_name = a->name != NULL && b->name != NULL;
    if (has_name ? strcmp(a->name, b->name) != 0 : a->name != b->name) return false;
    if (a->unix_path != NULL || b->unix_path != NULL) {
        return a->unix_path != NULL && b->unix_path != NULL &&
               strcmp(a->unix_path, b->unix_path) == 0;
    }
    return endpoint_eq(&a->endpoint, &b->endpoint);
}

/* The hosts that were found take the place of those that are listed. */
static void install_found(struct destination *d)
{
    struct list listed;
    struct host *found, *known;
    list_init(&listed);
    LIST_FOR_EACH(found, &d->search.found, struct host, node)
    {
        struct host *same = NULL;
        LIST_FOR_EACH(known, &d->hosts, struct host, node)
        {
            if (is_same_host(known, found)) same = known;
        }
        list_remove(&found->node);
        if (same == NULL) {
            list_push_back(&listed, &found->node);
            continue;
        }
        list_remove(&same->node);
        same->tls_duty = found->tls_duty;
        same->tls_reason = found->tls_reason;
        list_push_back(&listed, &same->node);
        free_host(found);
    }
    unlist_all(&d->hosts);
    list_append_all(&d->hosts, &listed);
    d->search.found_count = 0;
}

static void add_found(struct destination *d, struct host *host)
{
    if (d->search.found_count >= DESTINATION_HOSTS_MAX) {
        free_host(host);
        return;
    }
    list_push_back(&d->search.found, &host->node);
    d->search.found_count++;
}

static void add_result(struct destination *d, const struct route_result *result)
{
    for (uint8_t i = 0; i < result->host_count; i++) {
        const struct route_host *from = &result->hosts[i];
        for (uint8_t j = 0; j < from->address_count; j++) {
            struct host *host = make_host(from->name, &from->addresses[j], NULL);
            host->tls_duty = from->tls_duty;
            host->tls_reason = from->tls_reason;
            add_found(d, host);
        }
    }
    d->search.ttl_ms = MIN(d->search.ttl_ms, (uint64_t)result->ttl_s * 1000);
}

static void end_search(struct destination *d)
{
    free(d->search.result);
    d->search.result = NULL;
    d->search.is_running = false;
}

static void finish_found(struct destination *d)
{
    struct host_search *search = &d->search;
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    uint64_t fresh_ms = MAX(search->ttl_ms, (uint64_t)REFRESH_MS_MIN);
    bool is_fixed = search->ttl_ms == UINT64_MAX;
    search->fresh_until_ns = is_fixed ? UINT64_MAX : now_ns + fresh_ms * NS_PER_MS;
    search->stale_until_ns =
        is_fixed ? UINT64_MAX : search->fresh_until_ns + DESTINATION_STALE_MS * NS_PER_MS;
    search->is_known = true;
    search->failures = 0;
    search->down_until_ns = 0;
    end_search(d);
    install_found(d);
    destination_hosts_found(d);
}

/* The DNS has no answer now. Hosts of before are good for a while longer. */
static void finish_later(struct destination *d, const char *why)
{
    struct host_search *search = &d->search;
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    buf_append_format(&reason, "4.4.3 %s", why);
    note_reason(d, buf_slice(&reason));
    search->down_until_ns = now_ns + down_ms(d, search->failures) * NS_PER_MS;
    if (search->failures < UINT32_MAX) search->failures++;
    unlist_all(&search->found);
    search->found_count = 0;
    end_search(d);
    if (search->is_known && now_ns < search->stale_until_ns) {
        search->fresh_until_ns = search->down_until_ns;
        destination_hosts_found(d);
    } else {
        destination_hosts_missing(d, OUTCOME_DEFERRED, buf_slice(&reason));
    }
}

static const char *const status_codes[] = {
    [ROUTE_NO_DOMAIN] = "5.1.2",
    [ROUTE_NULL_MX] = "556 5.1.10",
    [ROUTE_NO_ADDRESS] = "5.4.4",
    [ROUTE_IS_US] = "5.4.6",
};

/* The DNS says that there is nothing: for good when a domain of an address says so, for now when a
 * name of the configuration does, which somebody can mend. */
static void finish_missing(struct destination *d, const struct route_result *result)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    const char *code = d->is_by_mx ? status_codes[result->status] : "4.3.5";
    buf_append_format(&reason, "%s %s", code, result->why);
    note_reason(d, buf_slice(&reason));
    unlist_all(&d->search.found);
    unlist_all(&d->hosts);
    d->search.found_count = 0;
    d->search.is_known = false;
    d->search.failures = 0;
    end_search(d);
    destination_hosts_missing(d, d->is_by_mx ? OUTCOME_FAILED : OUTCOME_DEFERRED,
                              buf_slice(&reason));
}

static void search_on(struct destination *d);

static void on_search(struct ring_op *op)
{
    struct destination *d = CONTAINER_OF(op, struct destination, search.op);
    struct host_search *search = &d->search;
    struct route_result *result = search->result;
    search->lookup = NULL;
    if (op->result == -ERR_MEMORY) {
        finish_later(d, "too many names are being looked up");
    } else if (op->result < 0) {
        unlist_all(&search->found);
        search->found_count = 0;
        end_search(d);
        destination_hosts_missing(d, OUTCOME_NONE, (struct slice){NULL, 0});
    } else if (result->status == ROUTE_FOUND) {
        add_result(d, result);
        search->source_at++;
        search_on(d);
    } else if (search->found_count > 0 || search->source_at + 1 < d->source_count) {
        search->source_at++; /* others of the route may do */
        search->ttl_ms = MIN(search->ttl_ms, (uint64_t)PARTIAL_TTL_MS);
        search_on(d);
    } else if (result->status == ROUTE_TRY_LATER) {
        finish_later(d, result->why);
    } else {
        finish_missing(d, result);
    }
}

/* Goes on behind the source it is at. */
static void search_on(struct destination *d)
{
    struct host_search *search = &d->search;
    for (; search->source_at < d->source_count; search->source_at++) {
        const struct host_source *source = &d->sources[search->source_at];
        if (source->name != NULL) break;
        struct host *host = make_host(NULL, &source->endpoint, source->unix_path);
        host->tls_duty = (enum tls_duty)d->hop->settings.tls;
        add_found(d, host);
    }
    if (search->source_at == d->source_count) {
        finish_found(d);
        return;
    }
    const struct host_source *source = &d->sources[search->source_at];
    search->query = (struct route_query){
        .op = &search->op,
        .domain = slice_of_cstr(source->name),
        .is_host = !d->is_by_mx,
        .port = d->is_by_mx ? d->port : endpoint_port(&source->endpoint),
        .tls_duty = (enum tls_duty)d->hop->settings.tls,
        .allowed = d->allowed,
        .allowed_count = d->allowed_count,
    };
    int err = route_find(d->delivery->resolver, &search->query, search->result, &search->lookup);
    if (err != 0) loop_defer(d->delivery->loop, &search->op, err);
}

static bool has_names(const struct destination *d)
{
    for (size_t i = 0; i < d->source_count; i++) {
        if (d->sources[i].name != NULL) return true;
    }
    return false;
}

bool destination_hosts_ready(struct destination *d)
{
    struct host_search *search = &d->search;
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    bool is_usable = search->is_known && now_ns < search->stale_until_ns;
    if (search->is_known && now_ns < search->fresh_until_ns) return true;
    if (search->is_running) return is_usable;
    if (now_ns < search->down_until_ns || d->delivery->is_stopping) return true;
    search->is_running = true;
    search->source_at = 0;
    search->ttl_ms = UINT64_MAX;
    search->result = xcalloc(1, sizeof(*search->result));
    search_on(d);
    return !search->is_running || is_usable;
}

void destination_hosts_retry(struct destination *d)
{
    struct host *host;
    d->search.down_until_ns = 0;
    LIST_FOR_EACH(host, &d->hosts, struct host, node)
    {
        host->down_until_ns = 0;
    }
}

void destination_hosts_stop(struct destination *d)
{
    if (d->search.lookup != NULL) route_cancel(d->search.lookup);
}

/* --- life --- */

static void copy_sources(struct destination *d, const struct config_route *route)
{
    d->source_count = route->host_count;
    d->sources = xcalloc(d->source_count, sizeof(d->sources[0]));
    for (size_t i = 0; i < d->source_count; i++) {
        const struct config_host *from = &route->hosts[i];
        d->sources[i] = (struct host_source){
            .name = from->name != NULL ? xstrdup(from->name) : NULL,
            .unix_path = from->unix_path != NULL ? xstrdup(from->unix_path) : NULL,
            .endpoint = from->endpoint,
        };
    }
}

static void copy_domain(struct destination *d, const struct config_route *route,
                        struct slice domain)
{
    size_t allowed_bytes = route->mx_allowed.count * sizeof(route->mx_allowed.entries[0]);
    d->is_by_mx = true;
    d->port = (uint16_t)route->mx_port;
    d->source_count = 1;
    d->sources = xcalloc(1, sizeof(d->sources[0]));
    d->sources[0].name = slice_to_cstr(domain);
    d->allowed_count = route->mx_allowed.count;
    if (d->allowed_count == 0) return;
    d->allowed = xmalloc(allowed_bytes);
    memcpy(d->allowed, route->mx_allowed.entries, allowed_bytes);
}

void destination_hosts_init(struct destination *d, const struct config_route *route,
                            struct slice domain)
{
    list_init(&d->hosts);
    list_init(&d->search.found);
    d->search.op.done = on_search;
    if (route->action == ACTION_MX) {
        copy_domain(d, route, domain);
        return;
    }
    copy_sources(d, route);
    if (has_names(d)) return;
    /* Nothing has to be looked up: the hosts are there from the start. */
    d->search.ttl_ms = UINT64_MAX;
    for (size_t i = 0; i < d->source_count; i++) {
        struct host *host = make_host(NULL, &d->sources[i].endpoint, d->sources[i].unix_path);
        host->tls_duty = (enum tls_duty)d->hop->settings.tls;
        add_found(d, host);
    }
    install_found(d);
    d->search.is_known = true;
    d->search.fresh_until_ns = d->search.stale_until_ns = UINT64_MAX;
}

void destination_hosts_finish(struct destination *d)
{
    ASSERT(!d->search.is_running);
    unlist_all(&d->hosts);
    for (size_t i = 0; i < d->source_count; i++) {
        free(d->sources[i].name);
        free(d->sources[i].unix_path);
    }
    free(d->sources);
    free(d->allowed);
}
