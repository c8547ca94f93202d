/* destination.c - matches waiting attempts with connections, and keeps count of both.
 *
 * Every event ends in match(): attempts go to resting clients, missing clients are opened within
 * the limits, and what nobody can serve is deferred, or postponed when it would wait too long. */
#include "server/delivery/destination.h"

#include "server/delivery/client.h"
#include "server/delivery/delivery_internal.h"

#include <stdlib.h>

#define RATE_WINDOW_NS (5 * NS_PER_S)
/* What is postponed comes back at this pace at least: few enough to cost little however long it
 * goes on, and soon enough when a destination has only been slow for a moment. */
#define RATE_PER_S_MIN 2000
#define POSTPONE_STEP_US 250000ull /* times are rounded: neighbours in the index of the queue */
#define ROUTE_KEY_BYTES 1024       /* to begin with */
#define SUSPENDED_MS 300000        /* what is suspended is looked at again */

static bool destination_match(const struct map_node *node, struct slice key)
{
    const struct destination *d = CONTAINER_OF(node, const struct destination, node);
    return slice_eq(slice_of(d->key, d->key_len), key);
}

/* --- matching --- */

static struct attempt *pop_waiting(struct destination *d)
{
    struct list *node = list_pop_front(&d->waiting);
    if (node == NULL) return NULL;
    d->waiting_count--;
    return LIST_ENTRY(node, struct attempt, wait);
}

/* False: the rate is used up for a moment; match() comes again then. */
static bool may_begin(struct destination *d)
{
    uint32_t per_s = d->delivery->config->delivery.per_destination.messages_per_second;
    if (per_s == 0) return true;
    uint64_t wait_ns = slots_take_token(&d->slots, per_s, clock_monotonic_ns());
    if (wait_ns == 0) return true;
    timer_arm(d->delivery->loop, &d->rate_timer, wait_ns / NS_PER_MS + 1);
    return false;
}

static void serve_resting(struct destination *d)
{
    while (!list_is_empty(&d->waiting) && !list_is_empty(&d->idle) && may_begin(d)) {
        struct client *client = LIST_ENTRY(d->idle.next, struct client, node);
        client_begin(client, pop_waiting(d)); /* leaves the list unless the attempt is over */
    }
}

static uint32_t connections_max(const struct destination *d)
{
    return MAX(d->delivery->config->delivery.per_destination.connections, 1u);
}

/* False when there is none; a refusal is not questioned again for a moment, unless slots_changed()
 * says that one came free. */
static bool take_slot(struct destination *d)
{
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    if (d->slots.is_waiting && now_ns < d->ask_after_ns) return false;
    d->ask_after_ns = now_ns + DESTINATION_ASK_MS * NS_PER_MS;
    return slots_take(&d->slots, connections_max(d));
}

/* True when what waits now waits for a slot that other cores hold. */
static bool open_missing(struct destination *d)
{
    while (d->opening_count < d->waiting_count) {
        struct host *host = destination_pick_host(d);
        if (host == NULL || d->delivery->client_count >= DELIVERY_CLIENTS_MAX) return false;
        if (!take_slot(d)) return true;
        struct attempt *first = LIST_ENTRY(d->waiting.next, struct attempt, wait);
        struct client *client = client_open(d, host, first->route);
        if (client == NULL) {
            slots_give(&d->slots);
            return false;
        }
        list_push_back(&d->clients, &client->all);
        d->client_count++;
        d->opening_count++;
    }
    return false;
}

static void defer_waiting(struct destination *d)
{
    struct slice reason = slice_of(d->reason, d->reason_len);
    if (destination_pick_host(d) != NULL) reason = SLICE("4.3.2 too many connections are open");
    if (reason.len == 0) reason = SLICE("4.4.1 no host can be connected to now");
    struct attempt *attempt;
    while ((attempt = pop_waiting(d)) != NULL) {
        attempt_result_rest(attempt, OUTCOME_DEFERRED, reason, NULL);
        attempt_end(attempt);
    }
}

static void match(struct destination *d);

static void close_resting(struct destination *d)
{
    while (!list_is_empty(&d->idle)) {
        client_quit(LIST_ENTRY(d->idle.next, struct client, node));
    }
}

/* --- postponing --- */

void destination_count_ended(struct destination *d)
{
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    uint64_t passed_ns = now_ns - d->ended_since_ns;
    d->ended_count++;
    if (passed_ns < RATE_WINDOW_NS) return;
    d->rate_per_s = d->ended_count * NS_PER_S / passed_ns;
    d->ended_count = 0;
    d->ended_since_ns = now_ns;
}

/* One after the other, at the pace at which attempts end here: they come back when there is room,
 * as far as can be told, and not all at once. */
static uint64_t next_postponed_ms(struct destination *d)
{
    uint64_t now_us = loop_wall_ms(d->delivery->loop) * 1000;
    uint64_t first_us = now_us + DESTINATION_POSTPONE_MS_MIN * 1000ull;
    uint64_t last_us = now_us + DESTINATION_POSTPONE_MS_MAX * 1000ull;
    uint64_t rate_per_s = MAX(d->rate_per_s, (uint64_t)RATE_PER_S_MIN);
    d->postpone_us = MAX(d->postpone_us + 1000000 / rate_per_s, first_us);
    d->postpone_us = MIN(d->postpone_us, last_us);
    return d->postpone_us / POSTPONE_STEP_US * (POSTPONE_STEP_US / 1000);
}

static void postpone(struct destination *d, struct attempt *attempt)
{
    attempt_postpone_rest(attempt, next_postponed_ms(d),
                          SLICE("4.3.2 others wait for the same destination"));
    attempt_end(attempt);
}

static const struct suspension *find_suspension(const struct destination *d)
{
    const struct delivery *delivery = d->delivery;
    if (delivery->suspensions == NULL) return NULL;
    return suspensions_find(delivery->suspensions, slice_of_cstr(d->name),
                            loop_wall_ms(delivery->loop));
}

static void postpone_suspended(struct destination *d, struct attempt *attempt,
                               const struct suspension *suspension)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    buf_append_format(&reason, "4.3.2 suspended: %s", suspension->reason);
    uint64_t next_ms = next_postponed_ms(d) + SUSPENDED_MS;
    if (suspension->until_ms != 0) next_ms = MIN(next_ms, suspension->until_ms);
    attempt_postpone_rest(attempt, next_ms, buf_slice(&reason));
    attempt_end(attempt);
}

/* True when nothing is sent there now. */
static bool yield_to_suspension(struct destination *d)
{
    const struct suspension *suspension = find_suspension(d);
    if (suspension == NULL) return false;
    struct attempt *attempt;
    while ((attempt = pop_waiting(d)) != NULL)
        postpone_suspended(d, attempt, suspension);
    return true;
}

static void free_if_done(struct destination *d);

void destination_hosts_found(struct destination *d)
{
    match(d);
    free_if_done(d);
}

void destination_hosts_missing(struct destination *d, enum outcome outcome, struct slice reason)
{
    struct attempt *attempt;
    while ((attempt = pop_waiting(d)) != NULL) {
        if (outcome != OUTCOME_NONE) attempt_result_rest(attempt, outcome, reason, NULL);
        attempt_end(attempt);
    }
    slots_wait_cancel(&d->slots);
    free_if_done(d);
}

/* --- matching, all of it --- */

static void match(struct destination *d)
{
    d->used_ns = loop_now_ns(d->delivery->loop);
    if (!list_is_empty(&d->waiting) && yield_to_suspension(d)) close_resting(d);
    if (!list_is_empty(&d->waiting) && !destination_hosts_ready(d)) return;
    serve_resting(d);
    bool waits_for_slot = open_missing(d);
    /* Work comes and goes from one moment to the next; the wish for a slot does not. But it must
     * not outlive the use for one: who has a wish is waited for by others. */
    bool is_brief = list_is_empty(&d->waiting) && loop_now_ns(d->delivery->loop) < d->ask_after_ns;
    if (!waits_for_slot && !is_brief) slots_wait_cancel(&d->slots);
    if (!list_is_empty(&d->waiting) && d->client_count == 0 && !waits_for_slot) defer_waiting(d);
}

static void on_rate_timer(struct timer *timer)
{
    match(CONTAINER_OF(timer, struct destination, rate_timer));
}

/* --- life --- */

static bool is_dormant(const struct destination *d)
{
    return d->client_count == 0 && list_is_empty(&d->waiting) && !d->search.is_running;
}

/* Frees it when nothing needs it; the last call of every event but those of a living client. */
static void free_if_done(struct destination *d)
{
    struct delivery *delivery = d->delivery;
    if (d->is_named || !is_dormant(d)) return;
    if (!slots_leave(&d->slots)) return; /* slots_changed() comes and looks again */
    map_remove(&delivery->destinations, &d->node);
    list_remove(&d->all);
    list_remove(&d->dormant);
    timer_disarm(&d->rate_timer);
    destination_hosts_finish(d);
    hop_destroy(d->hop);
    free(d->name);
    free(d->route);
    free(d->reason);
    free(d->key);
    free(d);
    delivery_check_stopped(delivery);
}

/* True when another core should have this client's slot. */
static bool must_yield(struct destination *d, const struct client *client)
{
    if (!slots_are_wanted(&d->slots)) return false;
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    if (now_ns >= d->share_until_ns) {
        d->share = slots_share(&d->slots, connections_max(d));
        d->share_until_ns = now_ns + DESTINATION_ASK_MS * NS_PER_MS;
    }
    if (d->share > 0) return d->client_count - d->closing_count > d->share;
    return now_ns - client->opened_ns >= DESTINATION_TURN_MS * NS_PER_MS;
}

/* Another core wants slots: what is above our share goes now, what has no work goes soon. Below
 * one slot a core, nothing rests. */
static void yield_resting(struct destination *d)
{
    struct client *client;
    LIST_FOR_EACH(client, &d->idle, struct client, node)
    {
        if (must_yield(d, client) || d->share == 0)
            client_quit(client);
        else
            client_rest_shortly(client, DESTINATION_SPARE_MS);
    }
}

static void slots_changed(struct slots_user *user)
{
    struct destination *d = CONTAINER_OF(user, struct destination, slots);
    d->ask_after_ns = 0;
    match(d);
    if (slots_are_wanted(&d->slots)) yield_resting(d);
    free_if_done(d);
}

char *destination_route_key(const struct config_route *route, size_t *len_out)
{
    for (size_t cap = ROUTE_KEY_BYTES;; cap *= 2) {
        struct buf key = {xmalloc(cap), 0, cap, false};
        hop_write_key(route, &key);
        if (route->action == ACTION_MX) {
            buf_append_format(&key, " mx %u", route->mx_port);
            for (size_t i = 0; i < route->mx_allowed.count; i++) {
                buf_append_char(&key, ' ');
                network_write(&route->mx_allowed.entries[i], &key);
            }
        }
        *len_out = key.len;
        if (!key.is_short) return key.data;
        free(key.data);
    }
}

/* The hosts of a route for people, as they are configured. Owned by the caller. */
static char *name_hosts(const struct config_route *route)
{
    for (size_t cap = ROUTE_KEY_BYTES;; cap *= 2) {
        struct buf name = {xmalloc(cap), 0, cap - 1, false};
        for (size_t i = 0; i < route->host_count; i++) {
            const struct config_host *host = &route->hosts[i];
            if (i > 0) buf_append_char(&name, ',');
            if (host->unix_path != NULL) {
                buf_append_format(&name, "unix:%s", host->unix_path);
            } else if (host->name != NULL) {
                buf_append_format(&name, "%s:%u", host->name, endpoint_port(&host->endpoint));
            } else {
                endpoint_write(&host->endpoint, &name);
            }
        }
        name.data[name.len] = '\0';
        if (!name.is_short) return name.data;
        free(name.data);
    }
}

static struct destination *make_destination(struct delivery *delivery, struct slice key,
                                            const struct route *route, struct slice name)
{
    struct destination *d = xcalloc(1, sizeof(*d));
    d->delivery = delivery;
    d->key = slice_to_cstr(key);
    d->key_len = key.len;
    d->name = slice_to_cstr(name);
    d->route = xstrdup(route->config->name);
    d->reason = xmalloc(MESSAGE_REPLY_BYTES_MAX);
    d->hop = hop_create(delivery->hop_contexts, route->config);
    d->ended_since_ns = d->used_ns = loop_now_ns(delivery->loop);
    list_init(&d->waiting);
    list_init(&d->idle);
    list_init(&d->clients);
    list_init(&d->dormant);
    timer_init(&d->rate_timer, on_rate_timer);
    destination_hosts_init(d, route->config, name);
    slots_join(delivery->slots, key, delivery->loop, slots_changed, &d->slots);
    map_insert(&delivery->destinations, slice_of(d->key, d->key_len), &d->node);
    list_push_back(&delivery->destination_list, &d->all);
    return d;
}

static struct destination *find_destination(struct delivery *delivery, struct slice key)
{
    struct map_node *node = map_find(&delivery->destinations, key, destination_match);
    return node != NULL ? CONTAINER_OF(node, struct destination, node) : NULL;
}

/* "NAME WAY": valid until the next call. */
static struct slice join_key(struct delivery *delivery, const struct route *route,
                             struct slice name)
{
    struct buf *key = &delivery->key;
    size_t bytes = name.len + 1 + route->key_len;
    if (bytes > key->cap) {
        key->data = xrealloc(key->data, bytes);
        key->cap = bytes;
    }
    buf_reset(key);
    buf_append_slice(key, name);
    buf_append_char(key, ' ');
    buf_append(key, route->key, route->key_len);
    ASSERT(!key->is_short);
    return buf_slice(key);
}

struct destination *destination_of_route(struct delivery *delivery, const struct route *route)
{
    char *text = name_hosts(route->config);
    struct slice name = slice_of_cstr(text);
    struct slice key = join_key(delivery, route, name);
    struct destination *d = find_destination(delivery, key);
    if (d == NULL) d = make_destination(delivery, key, route, name);
    free(text);
    d->is_named = true;
    return d;
}

/* Room for one more: the one that nobody has used for longest goes. What was used in this turn is
 * about to get work. */
static bool make_room(struct delivery *delivery)
{
    if (delivery->destinations.count < DESTINATIONS_MAX) return true;
    struct destination *d;
    LIST_FOR_EACH(d, &delivery->destinations_dormant, struct destination, dormant)
    {
        if (d->used_ns == loop_now_ns(delivery->loop)) break;
        destination_forget(d);
        if (delivery->destinations.count < DESTINATIONS_MAX) return true;
    }
    return false;
}

struct destination *destination_of_domain(struct delivery *delivery, const struct route *route,
                                          struct slice domain)
{
    struct slice key = join_key(delivery, route, domain);
    struct destination *d = find_destination(delivery, key);
    if (d == NULL) {
        if (!make_room(delivery)) return NULL;
        d = make_destination(delivery, key, route, domain);
    }
    d->is_named = true;
    d->used_ns = loop_now_ns(delivery->loop);
    list_remove(&d->dormant);
    list_push_back(&delivery->destinations_dormant, &d->dormant);
    return d;
}

/* A host that is down is remembered until it may be tried again: else each message would. */
static uint64_t remembered_until_ns(const struct destination *d)
{
    uint64_t until_ns = d->used_ns + DESTINATION_LINGER_MS * NS_PER_MS;
    until_ns = MAX(until_ns, d->search.down_until_ns);
    struct host *host;
    LIST_FOR_EACH(host, &d->hosts, struct host, node)
    {
        until_ns = MAX(until_ns, host->down_until_ns);
    }
    return until_ns;
}

void destinations_sweep(struct delivery *delivery)
{
    uint64_t now_ns = loop_now_ns(delivery->loop);
    struct destination *d;
    LIST_FOR_EACH(d, &delivery->destinations_dormant, struct destination, dormant)
    {
        if (d->used_ns + DESTINATION_LINGER_MS * NS_PER_MS > now_ns) continue;
        if (is_dormant(d) && remembered_until_ns(d) <= now_ns) destination_forget(d);
    }
}

void destination_forget(struct destination *d)
{
    if (d->is_by_mx && !is_dormant(d) && !d->delivery->is_stopping) return;
    d->is_named = false;
    close_resting(d);
    free_if_done(d);
}

void destination_reconfigured(struct destination *d)
{
    d->ask_after_ns = d->share_until_ns = 0; /* limits may be others now */
    if (find_suspension(d) != NULL) close_resting(d);
    match(d);
}

static uint32_t waiting_max(const struct destination *d)
{
    size_t used = d->delivery->parcels.count;
    size_t room = used < DELIVERY_MESSAGES_MAX ? DELIVERY_MESSAGES_MAX - used : 0;
    return (uint32_t)MAX(2 * room, (size_t)DESTINATION_WAITING_MIN);
}

void destination_submit(struct destination *d, struct attempt *attempt)
{
    if (d->waiting_count >= waiting_max(d)) {
        postpone(d, attempt);
        return;
    }
    list_push_back(&d->waiting, &attempt->wait);
    d->waiting_count++;
    match(d);
}

void destination_resubmit(struct destination *d, struct attempt *attempt)
{
    attempt->is_retried = true;
    list_push_front(&d->waiting, &attempt->wait);
    d->waiting_count++;
    close_resting(d);
}

void destination_client_rests(struct destination *d, struct client *client)
{
    if (must_yield(d, client)) {
        client_quit(client);
        match(d);
        return;
    }
    list_push_front(&d->idle, &client->node);
    match(d);
    if (list_is_empty(&client->node)) return; /* it has work */
    bool is_wanted = slots_are_wanted(&d->slots);
    if (!d->is_named || (is_wanted && d->share == 0) || find_suspension(d) != NULL)
        client_quit(client);
    else if (is_wanted)
        client_rest_shortly(client, DESTINATION_SPARE_MS);
}

void destination_client_gone(struct destination *d, struct client *client)
{
    list_remove(&client->all);
    d->client_count--;
    slots_give(&d->slots);
    match(d);
    free_if_done(d);
}

void destination_stop(struct destination *d, bool is_final)
{
    ASSERT(d->delivery->is_stopping);
    d->is_named = false;
    struct attempt *attempt;
    while ((attempt = pop_waiting(d)) != NULL)
        attempt_end(attempt);
    struct client *client;
    LIST_FOR_EACH(client, &d->clients, struct client, all)
    {
        client_stop(client, is_final);
    }
    slots_wait_cancel(&d->slots);
    timer_disarm(&d->rate_timer);
    destination_hosts_stop(d);
    free_if_done(d);
}
