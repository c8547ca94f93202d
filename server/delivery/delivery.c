/* delivery.c - the face of the sending half: routes, life, counters.
 *
 * The table of routes is made anew for every configuration; destinations and the counters of routes
 * are found again by their keys. A stop goes: no new messages, what waits is given back, clients
 * end, those after their final dot get `grace_ms`; each end asks delivery_check_stopped(). */
#include "server/delivery/delivery.h"

#include "ring/base/clock.h"
#include "ring/mailbox.h"
#include "server/delivery/client_internal.h"
#include "server/delivery/delivery_internal.h"
#include "server/delivery/destination.h"
#include "server/delivery/parcel.h"

#include <stdlib.h>
#include <sys/random.h>

#define PARCELS_A_CHUNK 64
#define ATTEMPTS_A_CHUNK 32
#define CLIENTS_A_CHUNK 16
#define STUFFINGS_A_CHUNK 4

/* --- routes --- */

static struct delivery_route_counters *counters_of(struct delivery *delivery, const char *name)
{
    const struct delivery_route_counters *at = delivery->route_counters;
    for (; at != NULL; at = at->next) {
        /* Only this thread writes the list, and what it points to is its own memory. */
        if (strcmp(at->name, name) == 0) return (struct delivery_route_counters *)(uintptr_t)at;
    }
    struct delivery_route_counters *made = xcalloc(1, sizeof(*made));
    made->name = xstrdup(name);
    made->next = delivery->route_counters;
    __atomic_store_n(&delivery->route_counters, made, __ATOMIC_RELEASE);
    return made;
}

static void make_routes(struct delivery *delivery)
{
    const struct config *config = delivery->config;
    delivery->routes = xcalloc(config->route_count, sizeof(delivery->routes[0]));
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *from = &config->routes[i];
        struct route *route = &delivery->routes[i];
        route->config = from;
        route->counters = counters_of(delivery, from->name);
        bool has_hosts = from->action == ACTION_SMTP || from->action == ACTION_LMTP;
        if (has_hosts || from->action == ACTION_MX) {
            route->key = destination_route_key(from, &route->key_len);
        }
        if (has_hosts) route->destination = destination_of_route(delivery, route);
    }
    delivery->route_count = config->route_count;
}

static void free_routes(struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->route_count; i++)
        free(delivery->routes[i].key);
    free(delivery->routes);
    delivery->routes = NULL;
    delivery->route_count = 0;
}

const struct route *delivery_find_route(const struct delivery *delivery, struct slice address,
                                        bool is_authenticated)
{
    const struct config_route *found = routing_find(delivery->routing, address, is_authenticated);
    if (found == NULL) return NULL;
    size_t at = (size_t)(found - delivery->config->routes);
    ASSERT(at < delivery->config->route_count);
    return &delivery->routes[at];
}

/* --- life --- */

static void on_stop_op(struct ring_op *op)
{
    struct delivery *delivery = CONTAINER_OF(op, struct delivery, stop_op);
    delivery->stopped(delivery->stopped_owner);
}

static void on_grace_over(struct timer *timer)
{
    struct delivery *delivery = CONTAINER_OF(timer, struct delivery, grace_timer);
    struct destination *destination;
    LIST_FOR_EACH(destination, &delivery->destination_list, struct destination, all)
    {
        destination_stop(destination, true);
    }
}

static void on_sweep(struct timer *timer)
{
    struct delivery *delivery = CONTAINER_OF(timer, struct delivery, sweep_timer);
    destinations_sweep(delivery);
    timer_arm(delivery->loop, timer, DELIVERY_SWEEP_MS);
}

struct delivery *delivery_create(const struct delivery_options *options)
{
    struct delivery *delivery = xcalloc(1, sizeof(*delivery));
    delivery->loop = options->loop;
    delivery->queue = options->queue;
    delivery->config = options->config;
    delivery->routing = options->routing;
    delivery->slots = options->slots;
    delivery->resolver = options->resolver;
    delivery->hop_contexts = hop_contexts_create();
    delivery->bounces = bounces_create(delivery);
    /* A connection has at most one output buffer to append to and one that is being sent. */
    conn_host_init(&delivery->conns, options->loop, 2 * (size_t)DELIVERY_CLIENTS_MAX);
    map_init(&delivery->destinations);
    list_init(&delivery->destination_list);
    list_init(&delivery->destinations_dormant);
    timer_init(&delivery->sweep_timer, on_sweep);
    slab_init(&delivery->parcels, sizeof(struct parcel), PARCELS_A_CHUNK, DELIVERY_MESSAGES_MAX);
    slab_init(&delivery->attempts, sizeof(struct attempt), ATTEMPTS_A_CHUNK, DELIVERY_ATTEMPTS_MAX);
    slab_init(&delivery->clients, sizeof(struct client), CLIENTS_A_CHUNK, DELIVERY_CLIENTS_MAX);
    slab_init(&delivery->stuffings, sizeof(struct client_stuffing), STUFFINGS_A_CHUNK,
              DELIVERY_CLIENTS_MAX);
    schedule_init(&delivery->schedule, delivery);
    maildirs_init(&delivery->maildirs, delivery);
    timer_init(&delivery->grace_timer, on_grace_over);
    delivery->stop_op.done = on_stop_op;
    /* Two cores or two runs must not retry in step; without entropy the clock will do. */
    if (getrandom(&delivery->jitter.state, sizeof(delivery->jitter.state), GRND_NONBLOCK) !=
        (ssize_t)sizeof(delivery->jitter.state)) {
        delivery->jitter.state = clock_monotonic_ns();
    }
    make_routes(delivery);
    return delivery;
}

void delivery_start(struct delivery *delivery)
{
    if (delivery->is_stopping) return;
    timer_arm(delivery->loop, &delivery->sweep_timer, DELIVERY_SWEEP_MS);
    schedule_start(&delivery->schedule);
}

void delivery_take(struct delivery *delivery, struct message *message)
{
    if (delivery->is_stopping) {
        queue_return(delivery->queue, message);
    } else {
        parcel_begin(delivery, message);
    }
}

void delivery_lease_soon(struct delivery *delivery, uint64_t due_ms)
{
    schedule_note(&delivery->schedule, due_ms);
}

void delivery_try_hosts(struct delivery *delivery)
{
    struct destination *destination;
    LIST_FOR_EACH(destination, &delivery->destination_list, struct destination, all)
    {
        destination_hosts_retry(destination);
    }
}

void delivery_reconfigure(struct delivery *delivery, const struct config *config,
                          const struct routing *routing)
{
    if (delivery->is_stopping) {
        /* Nothing is routed any more; limits and timeouts are still looked up. */
        delivery->config = config;
        delivery->routing = routing;
        return;
    }
    struct destination *destination;
    LIST_FOR_EACH(destination, &delivery->destination_list, struct destination, all)
    {
        destination->is_named = destination->is_by_mx;
    }
    free_routes(delivery);
    delivery->config = config;
    delivery->routing = routing;
    make_routes(delivery);
    LIST_FOR_EACH(destination, &delivery->destination_list, struct destination, all)
    {
        if (destination->is_named) {
            destination_reconfigured(destination);
        } else {
            destination_forget(destination);
        }
    }
}

void delivery_check_stopped(struct delivery *delivery)
{
    if (!delivery->is_stopping || delivery->is_stop_posted) return;
    bool is_empty = delivery->parcels.count == 0 && delivery->clients.count == 0 &&
                    delivery->maildirs.writers.count == 0 && delivery->destinations.count == 0 &&
                    bounces_is_idle(delivery->bounces) && !delivery->schedule.is_leasing;
    if (!is_empty) return;
    delivery->is_stop_posted = true;
    timer_disarm(&delivery->grace_timer);
    loop_defer(delivery->loop, &delivery->stop_op, 0);
}

void delivery_stop(struct delivery *delivery, uint64_t grace_ms, void (*stopped)(void *owner),
                   void *owner)
{
    ASSERT(!delivery->is_stopping);
    delivery->is_stopping = true;
    delivery->stopped = stopped;
    delivery->stopped_owner = owner;
    timer_disarm(&delivery->sweep_timer);
    schedule_stop(&delivery->schedule);
    maildirs_stop(&delivery->maildirs);
    struct destination *destination;
    LIST_FOR_EACH(destination, &delivery->destination_list, struct destination, all)
    {
        destination_stop(destination, false);
    }
    timer_arm(delivery->loop, &delivery->grace_timer, grace_ms);
    delivery_check_stopped(delivery);
}

static void free_route_counters(struct delivery *delivery)
{
    const struct delivery_route_counters *next = delivery->route_counters;
    while (next != NULL) {
        struct delivery_route_counters *counters =
            (struct delivery_route_counters *)(uintptr_t)next;
        next = counters->next;
        free(counters->name);
        free(counters);
    }
}

void delivery_destroy(struct delivery *delivery)
{
    if (delivery == NULL) return;
    /* One that was never started has destinations that are named and nothing else. */
    delivery->is_stopping = true;
    delivery->is_stop_posted = true;
    struct destination *destination;
    LIST_FOR_EACH(destination, &delivery->destination_list, struct destination, all)
    {
        destination_stop(destination, true);
    }
    ASSERT(delivery->destinations.count == 0);
    timer_disarm(&delivery->grace_timer);
    timer_disarm(&delivery->sweep_timer);
    bounces_destroy(delivery->bounces);
    hop_contexts_destroy(delivery->hop_contexts);
    suspensions_unref(delivery->suspensions);
    slab_finish(&delivery->parcels);
    slab_finish(&delivery->attempts);
    slab_finish(&delivery->clients);
    slab_finish(&delivery->stuffings);
    maildirs_finish(&delivery->maildirs);
    conn_host_finish(&delivery->conns);
    map_finish(&delivery->destinations);
    free_route_counters(delivery);
    free_routes(delivery);
    free(delivery->key.data);
    free(delivery);
}

/* --- suspensions --- */

struct suspend_mail {
    struct mail mail;
    struct delivery *delivery;
    struct suspensions *suspensions;
};

static void on_suspend(struct mail *mail)
{
    struct suspend_mail *suspend = CONTAINER_OF(mail, struct suspend_mail, mail);
    struct delivery *delivery = suspend->delivery;
    suspensions_unref(delivery->suspensions);
    delivery->suspensions = suspend->suspensions;
    free(suspend);
    if (delivery->is_stopping) return;
    struct destination *destination;
    LIST_FOR_EACH(destination, &delivery->destination_list, struct destination, all)
    {
        destination_reconfigured(destination);
    }
}

void delivery_suspend(struct delivery *delivery, struct suspensions *suspensions)
{
    struct suspend_mail *mail = xcalloc(1, sizeof(*mail));
    mail->mail.deliver = on_suspend;
    mail->delivery = delivery;
    mail->suspensions = suspensions_ref(suspensions);
    mailbox_post(mailbox_of(delivery->loop), &mail->mail);
}

/* --- counters --- */

const struct delivery_counters *delivery_counters(const struct delivery *delivery)
{
    return &delivery->counters;
}

const struct delivery_route_counters *delivery_routes(const struct delivery *delivery)
{
    return __atomic_load_n(&delivery->route_counters, __ATOMIC_ACQUIRE);
}
