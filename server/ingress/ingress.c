/* ingress.c - the listeners of one core, the limits on connections, and the drain. */
#include "server/ingress/ingress.h"

#include "server/ingress/session.h"

#include <stdlib.h>

#define LISTEN_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */
#define SESSIONS_PER_CHUNK 64
#define TRANSACTIONS_PER_CHUNK 64
#define SESSION_ID_BITS 12 /* sessions a millisecond, before ids run ahead of the clock */

static void on_drained(struct ring_op *op)
{
    struct ingress *ingress = CONTAINER_OF(op, struct ingress, drained_op);
    ingress->drained(ingress->options.owner);
}

static void on_drain_timer(struct timer *timer)
{
    struct ingress *ingress = CONTAINER_OF(timer, struct ingress, drain_timer);
    struct session *s;
    LIST_FOR_EACH(s, &ingress->sessions, struct session, node)
    {
        session_abort(s);
    }
}

struct ingress *ingress_create(const struct ingress_options *options)
{
    struct ingress *ingress = xcalloc(1, sizeof(*ingress));
    size_t sessions_max = options->session_count_max;
    ingress->options = *options;
    /* Output being sent and output being written: two buffers a connection at most. */
    conn_host_init(&ingress->host, options->loop, 2 * sessions_max);
    slab_init(&ingress->sessions_slab, sizeof(struct session), SESSIONS_PER_CHUNK, sessions_max);
    slab_init(&ingress->transactions_slab, sizeof(struct transaction), TRANSACTIONS_PER_CHUNK,
              sessions_max);
    list_init(&ingress->sessions);
    timer_init(&ingress->drain_timer, on_drain_timer);
    ingress->drained_op.done = on_drained;
    /* Ids of sessions name them in the log: unique over cores and, nearly, over restarts. */
    ingress->session_next = (loop_wall_ms(options->loop) << SESSION_ID_BITS) + options->core_index;
    ingress->listener_count = options->config->listener_count;
    ingress->listeners = xcalloc(ingress->listener_count, sizeof(*ingress->listeners));
    for (size_t i = 0; i < ingress->listener_count; i++) {
        ingress->listeners[i].ingress = ingress;
        ingress->listeners[i].index = (uint16_t)i;
    }
    return ingress;
}

/* Says why to a connection that is not let in, as far as its socket takes it at once. */
struct refusal {
    struct ring_op send_op, close_op;
    struct loop *loop;
    int socket;
};

static void refusal_on_closed(struct ring_op *op)
{
    free(CONTAINER_OF(op, struct refusal, close_op));
}

static void refusal_on_sent(struct ring_op *op)
{
    struct refusal *refusal = CONTAINER_OF(op, struct refusal, send_op);
    refusal->close_op.done = refusal_on_closed;
    loop_close(refusal->loop, refusal->socket, &refusal->close_op);
}

static void refuse(struct ingress_listener *listener, int socket, enum reply_id id)
{
    struct refusal *refusal = xcalloc(1, sizeof(*refusal));
    struct slice line = reply_line(id);
    counter_add(&listener->counters.rejections[id], 1);
    counter_add(&listener->counters.replies[REPLY_TO_CONNECT][ingress_code_index(reply_code(id))],
                1);
    refusal->loop = listener->ingress->options.loop;
    refusal->socket = socket;
    refusal->send_op.done = refusal_on_sent;
    loop_send(refusal->loop, socket, line.data, line.len, &refusal->send_op);
}

/* Counts the connection against the listener's and, unless who it is is still to be said, the
 * client's limit. */
static bool let_in(struct ingress_listener *listener, const struct endpoint *peer, bool has_proxy,
                   enum reply_id *refusal_out)
{
    struct ingress *ingress = listener->ingress;
    const struct config_listener *config = &ingress->options.config->listeners[listener->index];
    uint64_t *open = &ingress->options.shared->listener_connections[listener->index];
    if (__atomic_fetch_add(open, 1, __ATOMIC_RELAXED) >= config->limits.connections) {
        __atomic_fetch_sub(open, 1, __ATOMIC_RELAXED);
        counter_add(&listener->counters.refused_full, 1);
        *refusal_out = REPLY_TOO_MANY_CONNECTIONS;
        return false;
    }
    if (!has_proxy && !clients_enter(ingress->options.shared->clients, peer,
                                     config->limits.connections_per_client)) {
        __atomic_fetch_sub(open, 1, __ATOMIC_RELAXED);
        counter_add(&listener->counters.refused_client, 1);
        *refusal_out = REPLY_TOO_MANY_FROM_CLIENT;
        return false;
    }
    return true;
}

static void leave(struct ingress_listener *listener, const struct endpoint *peer, bool has_proxy)
{
    const struct ingress_shared *shared = listener->ingress->options.shared;
    __atomic_fetch_sub(&shared->listener_connections[listener->index], 1, __ATOMIC_RELAXED);
    if (!has_proxy) clients_leave(shared->clients, peer);
}

/* A listener for proxies talks to nobody else; guessing would let clients claim any address. */
static void turn_away(struct ingress_listener *listener, int socket, const struct endpoint *peer)
{
    struct ingress *ingress = listener->ingress;
    counter_add(&listener->counters.proxy_refused, 1);
    if (log_begin(LOG_INFO, "proxy_refused")) {
        char text[ENDPOINT_TEXT_MAX];
        struct buf name = {text, 0, sizeof(text), false};
        endpoint_write(peer, &name);
        log_str("listener", ingress->options.config->listeners[listener->index].name);
        log_slice("peer", buf_slice(&name));
        log_str("reason", "the peer is not in proxy_protocol.from");
        log_end();
    }
    loop_close(ingress->options.loop, socket, NULL);
}

static void on_accepted(void *owner, int socket, const struct endpoint *peer)
{
    struct ingress_listener *listener = owner;
    struct ingress *ingress = listener->ingress;
    const struct config_listener *config = &ingress->options.config->listeners[listener->index];
    enum reply_id refusal = REPLY_SHUTTING_DOWN;
    bool is_refused = false;
    bool has_proxy = proxy_is_expected(config, peer, &is_refused);
    if (is_refused) {
        turn_away(listener, socket, peer);
        return;
    }
    if (!ingress->is_draining && let_in(listener, peer, has_proxy, &refusal)) {
        bool has_room = ingress->session_count < ingress->options.session_count_max;
        if (has_room && session_start(ingress, listener, socket, peer, has_proxy)) return;
        counter_add(&listener->counters.refused_resources, 1);
        leave(listener, peer, has_proxy);
        refusal = REPLY_NO_RESOURCES;
    }
    if (has_proxy || config->tls.mode == LISTENER_TLS_IMPLICIT)
        loop_close(ingress->options.loop, socket, NULL); /* what is said in clear is not heard */
    else
        refuse(listener, socket, refusal);
}

int ingress_listen(struct ingress *ingress, struct endpoint *addresses,
                   const struct endpoint **failed_out)
{
    const struct config *config = ingress->options.config;
    for (size_t i = 0; i < ingress->listener_count; i++) {
        struct ingress_listener *listener = &ingress->listeners[i];
        size_t count = config->listeners[i].address_count;
        listener->sockets = xcalloc(count, sizeof(struct listener *));
        for (; listener->socket_count < count; listener->socket_count++, addresses++) {
            struct listener **socket = &listener->sockets[listener->socket_count];
            int err = listener_start(ingress->options.loop, addresses, LISTEN_BACKLOG, on_accepted,
                                     listener, socket);
            if (err != 0) {
                *failed_out = addresses;
                return err;
            }
            *addresses = *listener_address(*socket);
        }
    }
    return 0;
}

void ingress_reconfigure(struct ingress *ingress, const struct config *config,
                         const struct routing *routing, const struct ingress_security *security)
{
    ASSERT(config->listener_count == ingress->listener_count);
    ingress->options.config = config;
    ingress->options.routing = routing;
    ingress->options.security = security;
}

void ingress_drain(struct ingress *ingress, uint64_t timeout_ms, void (*drained)(void *owner))
{
    ASSERT(!ingress->is_draining);
    ingress->is_draining = true;
    ingress->drained = drained;
    for (size_t i = 0; i < ingress->listener_count; i++) {
        struct ingress_listener *listener = &ingress->listeners[i];
        for (size_t j = 0; j < listener->socket_count; j++)
            listener_stop(listener->sockets[j]);
        listener->socket_count = 0;
    }
    struct session *s;
    LIST_FOR_EACH(s, &ingress->sessions, struct session, node)
    {
        session_drain(s);
    }
    timer_arm(ingress->options.loop, &ingress->drain_timer, timeout_ms);
    if (ingress->session_count > 0) return;
    ingress->is_drained_told = true;
    loop_defer(ingress->options.loop, &ingress->drained_op, 0);
}

void ingress_destroy(struct ingress *ingress)
{
    if (ingress == NULL) return;
    ASSERT(ingress->session_count == 0);
    timer_disarm(&ingress->drain_timer);
    for (size_t i = 0; i < ingress->listener_count; i++)
        free(ingress->listeners[i].sockets);
    free(ingress->listeners);
    slab_finish(&ingress->sessions_slab);
    slab_finish(&ingress->transactions_slab);
    conn_host_finish(&ingress->host);
    free(ingress);
}

const struct ingress_listener_counters *ingress_counters(const struct ingress *ingress,
                                                         size_t listener_index)
{
    ASSERT(listener_index < ingress->listener_count);
    return &ingress->listeners[listener_index].counters;
}

const struct histogram *ingress_accept_duration(const struct ingress *ingress)
{
    return &ingress->accept_duration;
}
