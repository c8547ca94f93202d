/* destination.c - matches waiting attempts with connections, and keeps count of both.
 *
 * Every event ends in match(): attempts go to resting clients, missing clients are opened within
 * the limits, and what nobody can serve is deferred. */
#include "server/delivery/destination.h"

#include "server/delivery/client.h"
#include "server/delivery/delivery_internal.h"

#include <stdlib.h>

static bool destination_match(const struct map_node *node, struct slice key)
{
    const struct destination *d = CONTAINER_OF(node, const struct destination, node);
    return slice_eq(slice_of(d->key, d->key_len), key);
}

/* --- hosts --- */

struct host *destination_pick_host(struct destination *d)
{
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    for (size_t i = 0; i < d->host_count; i++) {
        struct host *host = &d->hosts[i];
        if (host->is_proven) return host;
        /* At the very first, nothing is known against the host: its probe is worth waiting for. */
        if (host->is_probed && host->failures == 0) return NULL;
        if (!host->is_probed && host->down_until_ns <= now_ns) return host;
    }
    return NULL;
}

void destination_host_works(struct destination *d, struct host *host)
{
    ASSERT(host >= d->hosts && host < d->hosts + d->host_count);
    host->is_proven = true;
    host->failures = 0;
    host->down_until_ns = 0;
}

void destination_host_failed(struct destination *d, struct host *host, struct slice reason)
{
    ASSERT(host >= d->hosts && host < d->hosts + d->host_count);
    const struct config *config = d->delivery->config;
    uint64_t now_ns = loop_now_ns(d->delivery->loop);
    d->reason_len = MIN(reason.len, (size_t)MESSAGE_REPLY_BYTES_MAX);
    memcpy(d->reason, reason.data, d->reason_len);
    host->is_proven = false;
    if (host->down_until_ns > now_ns) return; /* several connections failed at the same time */

    uint64_t down_ms = MIN((uint64_t)HOST_DOWN_MS_FIRST, config->delivery.retry.first_ms);
    for (uint32_t i = 0; i < host->failures && down_ms < config->delivery.retry.max_ms; i++)
        down_ms *= 2;
    down_ms = MIN(down_ms, config->delivery.retry.max_ms);
    host->down_until_ns = now_ns + down_ms * NS_PER_MS;
    if (host->failures < UINT32_MAX) host->failures++;
}

/* --- matching --- */

static struct attempt *pop_waiting(struct destination *d)
{
    struct list *node = list_pop_front(&d->waiting);
    if (node == NULL) return NULL;
    d->waiting_count--;
    return LIST_ENTRY(node, struct attempt, wait);
}

static void serve_resting(struct destination *d)
{
    while (!list_is_empty(&d->waiting) && !list_is_empty(&d->idle)) {
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
    struct attempt *attempt;
    while ((attempt = pop_waiting(d)) != NULL) {
        attempt_result_rest(attempt, OUTCOME_DEFERRED, reason, NULL);
        attempt_end(attempt);
    }
}

static void match(struct destination *d)
{
    serve_resting(d);
    bool waits_for_slot = open_missing(d);
    /* Work comes and goes from one moment to the next; the wish for a slot does not. But it must
     * not outlive the use for one: who has a wish is waited for by others. */
    bool is_brief = list_is_empty(&d->waiting) && loop_now_ns(d->delivery->loop) < d->ask_after_ns;
    if (!waits_for_slot && !is_brief) slots_wait_cancel(&d->slots);
    if (!list_is_empty(&d->waiting) && d->client_count == 0 && !waits_for_slot) defer_waiting(d);
}

/* --- life --- */

/* Frees it when nothing needs it; the last call of every event but those of a living client. */
static void free_if_done(struct destination *d)
{
    struct delivery *delivery = d->delivery;
    if (d->is_named || d->client_count > 0 || !list_is_empty(&d->waiting)) return;
    if (!slots_leave(&d->slots)) return; /* slots_changed() comes and looks again */
    map_remove(&delivery->destinations, &d->node);
    list_remove(&d->all);
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

static void close_resting(struct destination *d)
{
    while (!list_is_empty(&d->idle)) {
        client_quit(LIST_ENTRY(d->idle.next, struct client, node));
    }
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

/* The bytes of the addresses with their ports: the same list has the same key on every core. */
static char *make_key(const struct endpoint *hosts, size_t host_count, size_t *len_out)
{
    size_t cap = host_count * ENDPOINT_TEXT_MAX + host_count;
    struct buf key = {xmalloc(MAX(cap, (size_t)1)), 0, cap, false};
    for (size_t i = 0; i < host_count; i++) {
        endpoint_write(&hosts[i], &key);
        buf_append_char(&key, ' ');
    }
    ASSERT(!key.is_short);
    *len_out = key.len;
    return key.data;
}

static struct destination *make_destination(struct delivery *delivery, struct slice key,
                                            const struct endpoint *hosts, size_t host_count)
{
    struct destination *d = xcalloc(1, sizeof(*d) + host_count * sizeof(d->hosts[0]));
    d->delivery = delivery;
    d->key = slice_to_cstr(key);
    d->key_len = key.len;
    d->reason = xmalloc(MESSAGE_REPLY_BYTES_MAX);
    list_init(&d->waiting);
    list_init(&d->idle);
    list_init(&d->clients);
    d->host_count = host_count;
    for (size_t i = 0; i < host_count; i++)
        d->hosts[i].endpoint = hosts[i];
    slots_join(delivery->slots, key, delivery->loop, slots_changed, &d->slots);
    map_insert(&delivery->destinations, slice_of(d->key, d->key_len), &d->node);
    list_push_back(&delivery->destination_list, &d->all);
    return d;
}

struct destination *destination_get(struct delivery *delivery, const struct endpoint *hosts,
                                    size_t host_count)
{
    size_t key_len = 0;
    char *text = make_key(hosts, host_count, &key_len);
    struct slice key = slice_of(text, key_len);
    struct map_node *node = map_find(&delivery->destinations, key, destination_match);
    struct destination *d = node != NULL ? CONTAINER_OF(node, struct destination, node)
                                         : make_destination(delivery, key, hosts, host_count);
    free(text);
    d->is_named = true;
    return d;
}

void destination_forget(struct destination *d)
{
    d->is_named = false;
    close_resting(d);
    free_if_done(d);
}

void destination_reconfigured(struct destination *d)
{
    d->ask_after_ns = d->share_until_ns = 0; /* limits may be others now */
    match(d);
}

void destination_submit(struct destination *d, struct attempt *attempt)
{
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
    if (!d->is_named || (is_wanted && d->share == 0))
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
    free_if_done(d);
}
