/* gateway.c - what one core owns but its thread, from open to close.
 *
 *   running --drain--> sessions end --> deliveries end --> the loop stops
 *
 * Each arrow of the drain is a callback of the part that ended. */
#include "server/core/gateway.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define SUBMISSION_COUNT 4096
#define INPUT_COUNT 256
#define LARGE_RESERVE_DIVISOR 4
#define TICKETS_PERIOD_MS 60000
#define BLOCKS_MIN 16u /* of each size, however little memory a core is given */
/* What the store holds in memory, the delivery half must be able to hold: else it would have to
 * write the rest back. */
#define MEMORY_MESSAGES_MAX DELIVERY_MESSAGES_MAX

struct gateway {
    struct gateway_options options;
    struct loop *loop;
    struct blocks *blocks;
    struct queue *queue;
    struct resolver *resolver;
    struct ingress *ingress;
    struct delivery *delivery;
    const struct generation *generation; /* in force */
    char *why;                           /* of gateway_open(), while it runs */
    size_t why_cap;
    struct timer tickets_timer;
    uint64_t drain_timeout_ms;
    uint64_t drain_started_ns;
};

/* --- the two halves and the queue, wired --- */

static void on_message(void *owner, struct message *message)
{
    struct gateway *gateway = owner;
    delivery_take(gateway->delivery, message);
}

static void on_spill(void *owner)
{
    struct gateway *gateway = owner;
    delivery_lease_soon(gateway->delivery, 0);
}

/* An operator's edit made something due. */
static void on_due(void *owner, uint64_t due_ms)
{
    struct gateway *gateway = owner;
    if (gateway->delivery == NULL) return;
    delivery_try_hosts(gateway->delivery);
    delivery_lease_soon(gateway->delivery, due_ms);
}

static void on_queue_fatal(void *owner, int err)
{
    struct gateway *gateway = owner;
    gateway->options.on_fatal(gateway->options.owner, err);
}

static void on_delivery_stopped(void *owner)
{
    struct gateway *gateway = owner;
    resolver_stop(gateway->resolver);
    loop_stop(gateway->loop);
}

static void on_ingress_drained(void *owner)
{
    struct gateway *gateway = owner;
    uint64_t passed_ms = (loop_now_ns(gateway->loop) - gateway->drain_started_ns) / NS_PER_MS;
    uint64_t left_ms = gateway->drain_timeout_ms - MIN(passed_ms, gateway->drain_timeout_ms);
    delivery_stop(gateway->delivery, left_ms, on_delivery_stopped, gateway);
}

static struct resolver_options resolver_options_of(const struct gateway *gateway,
                                                   const struct config *config)
{
    return (struct resolver_options){
        .loop = gateway->loop,
        .servers = config->resolver.servers,
        .server_count = config->resolver.server_count,
        .trusts_ad = config->resolver.trusts_ad,
        .timeout_ms = config->resolver.timeout_ms,
        .tries = config->resolver.tries,
        .hostname = config->node.hostname,
    };
}

/* A context brings its ticket keys up to date with each handshake; this is for when there is none:
 * a key that is to be forgotten must not stay because nobody connects. */
static void on_tickets_timer(struct timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, tickets_timer);
    const struct ingress_security *security =
        generation_security(gateway->generation, gateway->options.index);
    for (size_t i = 0; i < gateway->generation->config->listener_count; i++) {
        if (security[i].tls != NULL) tls_context_refresh(security[i].tls);
    }
    timer_arm(gateway->loop, timer, TICKETS_PERIOD_MS);
}

/* --- open --- */

static int open_blocks(struct gateway *gateway)
{
    uint64_t bytes = gateway->generation->config->node.memory / gateway->options.count;
    struct blocks_options options = {
        .small_count = (uint32_t)(bytes / 2 / BLOCK_SMALL_BYTES),
        .large_count = (uint32_t)(bytes / 2 / BLOCK_LARGE_BYTES),
    };
    options.small_count = MAX(options.small_count, BLOCKS_MIN);
    options.large_count = MAX(options.large_count, BLOCKS_MIN);
    options.large_reserve_count = options.large_count / LARGE_RESERVE_DIVISOR;
    return blocks_create(&options, &gateway->blocks);
}

static int open_queue(struct gateway *gateway)
{
    const struct config *config = gateway->generation->config;
    const struct queue_options options = {
        .loop = gateway->loop,
        .blocks = gateway->blocks,
        .spool = gateway->options.spool,
        .core_index = gateway->options.index,
        .core_count = gateway->options.count,
        .segment_bytes = gateway->options.segment_bytes,
        .free_bytes_min = config->spool.min_free_bytes,
        .free_percent_min = config->spool.min_free_percent,
        .memory_messages_max = MEMORY_MESSAGES_MAX,
        .on_fatal = on_queue_fatal,
        .on_due = on_due,
        .owner = gateway,
    };
    return queue_open(&options, &gateway->queue, gateway->why, gateway->why_cap);
}

static int open_halves(struct gateway *gateway)
{
    const struct gateway_options *options = &gateway->options;
    gateway->delivery = delivery_create(&(struct delivery_options){
        .loop = gateway->loop,
        .blocks = gateway->blocks,
        .queue = gateway->queue,
        .config = gateway->generation->config,
        .routing = gateway->generation->routing,
        .slots = options->slots,
        .resolver = gateway->resolver,
    });
    gateway->ingress = ingress_create(&(struct ingress_options){
        .loop = gateway->loop,
        .queue = gateway->queue,
        .resolver = gateway->resolver,
        .config = gateway->generation->config,
        .routing = gateway->generation->routing,
        .security = generation_security(gateway->generation, options->index),
        .shared = options->shared,
        .core_index = options->index,
        .core_count = options->count,
        .session_count_max = options->session_count_max,
        .on_message = on_message,
        .on_spill = on_spill,
        .owner = gateway,
    });
    const struct endpoint *failed = NULL;
    int err = ingress_listen(gateway->ingress, options->addresses, &failed);
    if (err != 0) {
        char text[ENDPOINT_TEXT_MAX] = "";
        struct buf name = {text, 0, sizeof(text) - 1, false};
        endpoint_write(failed, &name);
        snprintf(gateway->why, gateway->why_cap, "cannot listen on %s: %s", text, err_str(err));
    }
    return err;
}

static int open_all(struct gateway *gateway)
{
    const struct loop_options options = {
        .submission_count = SUBMISSION_COUNT,
        .socket_count_max = gateway->options.session_count_max + GATEWAY_REFUSALS_MAX,
        .input_count = INPUT_COUNT,
    };
    int err = loop_create(&options, &gateway->loop, gateway->why, gateway->why_cap);
    if (err != 0) return err;
    err = open_blocks(gateway);
    if (err != 0) {
        snprintf(gateway->why, gateway->why_cap, "node.memory: %s", err_str(err));
        return err;
    }
    const struct resolver_options resolving =
        resolver_options_of(gateway, gateway->generation->config);
    err = resolver_create(&resolving, &gateway->resolver, gateway->why, gateway->why_cap);
    if (err != 0) return err;
    err = open_queue(gateway);
    return err != 0 ? err : open_halves(gateway);
}

static void unwind(struct gateway *gateway);

int gateway_open(const struct gateway_options *options, struct gateway **gateway_out, char *why,
                 size_t why_cap)
{
    struct gateway *gateway = xcalloc(1, sizeof(*gateway));
    gateway->options = *options;
    gateway->generation = options->generation;
    gateway->why = why;
    gateway->why_cap = why_cap;
    timer_init(&gateway->tickets_timer, on_tickets_timer);
    int err = open_all(gateway);
    gateway->why = NULL;
    if (err != 0) {
        unwind(gateway);
        gateway = NULL;
    }
    *gateway_out = gateway;
    return err;
}

void gateway_start(struct gateway *gateway)
{
    delivery_start(gateway->delivery);
    timer_arm(gateway->loop, &gateway->tickets_timer, TICKETS_PERIOD_MS);
}

const struct generation *gateway_reconfigure(struct gateway *gateway,
                                             const struct generation *generation)
{
    const struct generation *before = gateway->generation;
    ingress_reconfigure(gateway->ingress, generation->config, generation->routing,
                        generation_security(generation, gateway->options.index));
    const struct resolver_options resolving = resolver_options_of(gateway, generation->config);
    resolver_reconfigure(gateway->resolver, &resolving);
    delivery_reconfigure(gateway->delivery, generation->config, generation->routing);
    generation_release(before, gateway->options.index);
    gateway->generation = generation;
    return before;
}

/* --- end --- */

void gateway_drain(struct gateway *gateway, uint64_t timeout_ms)
{
    gateway->drain_timeout_ms = timeout_ms;
    gateway->drain_started_ns = loop_now_ns(gateway->loop);
    ingress_drain(gateway->ingress, timeout_ms, on_ingress_drained);
}

int gateway_settle(struct gateway *gateway)
{
    int err = 0;
    while (err == 0 && loop_inflight(gateway->loop) > 0)
        err = loop_turn(gateway->loop, true);
    return err;
}

void gateway_close(struct gateway *gateway)
{
    if (gateway == NULL) return;
    timer_disarm(&gateway->tickets_timer);
    ingress_destroy(gateway->ingress);
    delivery_destroy(gateway->delivery);
    resolver_destroy(gateway->resolver);
    queue_close(gateway->queue);
    blocks_destroy(gateway->blocks);
    loop_destroy(gateway->loop);
    generation_release(gateway->generation, gateway->options.index);
    free(gateway);
}

/* After a failed open: what was opened ends as it does in a drain, only at once. */
static void unwind(struct gateway *gateway)
{
    if (gateway->ingress != NULL) {
        gateway_drain(gateway, 0);
        int err = loop_run(gateway->loop);
        if (err == 0) err = gateway_settle(gateway);
        ASSERT(err == 0);
    }
    gateway_close(gateway);
}

struct loop *gateway_loop(const struct gateway *gateway)
{
    return gateway->loop;
}

struct admin_core gateway_view(const struct gateway *gateway)
{
    return (struct admin_core){
        .loop = gateway->loop,
        .queue = gateway->queue,
        .ingress = gateway->ingress,
        .delivery = gateway->delivery,
        .resolver = gateway->resolver,
    };
}
