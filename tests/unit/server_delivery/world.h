/* world.h - a core's worth of the real thing for tests: loop, blocks, spool, queue and delivery, in
 * a directory of its own. */
#pragma once

#include "server/delivery/delivery.h"
#include "tests/support/test.h"
#include "tests/unit/server_delivery/fake_server.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "ring/timer.h"

#include <ftw.h>

#define WORLD_ROUTES_MAX 6
#define WORLD_HOSTS_MAX 3
#define WORLD_WAIT_MS 10000

struct world {
    char dir[1024];
    struct loop *loop;
    struct blocks *blocks;
    struct spool *spool;
    struct queue *queue;
    struct config config;
    struct config_route routes[WORLD_ROUTES_MAX];
    struct config_host hosts[WORLD_ROUTES_MAX][WORLD_HOSTS_MAX];
    char *domains[WORLD_ROUTES_MAX];
    struct routing *routing;
    struct resolver *resolver;
    struct delivery_slots *slots;
    struct delivery *delivery;
    struct timer tick;
    bool is_fatal;
    FILE *log; /* what the code under test logs, which is gone from the queue */
    int stderr_copy;
};

static inline void world_tick(struct timer *timer)
{
    struct world *w = CONTAINER_OF(timer, struct world, tick);
    timer_arm(w->loop, timer, 5);
}

static inline void world_on_fatal(void *owner, int err)
{
    struct world *w = owner;
    w->is_fatal = true;
    printf("the queue is broken: %s\n", err_str(err));
}

static inline void world_fail(const char *what, const char *why)
{
    printf("%s: %s\n", what, why);
    exit(1);
}

static inline void world_open_queue(struct world *w)
{
    char why[512] = "";
    if (spool_open(w->dir, &w->spool, why, sizeof(why)) != 0) world_fail("spool_open", why);
    if (spool_make_shards(w->spool, 1) != 0) world_fail("spool_make_shards", "");
    struct queue_options options = {
        .loop = w->loop,
        .blocks = w->blocks,
        .spool = w->spool,
        .core_count = 1,
        .segment_bytes = 16u << 20,
        .map_bytes_max = 64u << 20,
        .memory_messages_max = 1000,
        .on_fatal = world_on_fatal,
        .owner = w,
    };
    if (queue_open(&options, &w->queue, why, sizeof(why)) != 0) world_fail("queue_open", why);
}

/* The lines of the log go to standard error as long as no thread of its own writes them. */
static inline void world_catch_log(struct world *w)
{
    char path[sizeof(w->dir) + 8];
    snprintf(path, sizeof(path), "%s/log", w->dir);
    w->log = fopen(path, "w+e");
    if (w->log == NULL) world_fail("fopen", path);
    fflush(stderr);
    w->stderr_copy = dup(2);
    dup2(fileno(w->log), 2);
}

static inline void world_release_log(struct world *w)
{
    dup2(w->stderr_copy, 2);
    close(w->stderr_copy);
    fclose(w->log);
}

/* What the last line of this event has for `key`, without quotes; "" when there is none. */
static inline const char *world_logged(struct world *w, const char *event, const char *key)
{
    static char line[8192], found[1024];
    char event_word[64], key_word[64];
    snprintf(event_word, sizeof(event_word), " %s ", event);
    snprintf(key_word, sizeof(key_word), " %s=", key);
    found[0] = '\0';
    rewind(w->log);
    while (fgets(line, sizeof(line), w->log) != NULL) {
        const char *at = strstr(line, event_word) != NULL ? strstr(line, key_word) : NULL;
        if (at == NULL) continue;
        at += strlen(key_word);
        bool is_quoted = *at == '"';
        size_t len = strcspn(at + is_quoted, is_quoted ? "\"" : " \n");
        snprintf(found, sizeof(found), "%.*s", (int)len, at + is_quoted);
    }
    return found;
}

/* Nobody answers there: tests that look names up have a server of their own. */
static inline void world_open_resolver(struct world *w)
{
    static struct endpoint server;
    char why[512] = "";
    CHECK(endpoint_parse(SLICE("127.0.0.1:9"), &server));
    const struct resolver_options options = {
        .loop = w->loop,
        .servers = &server,
        .server_count = 1,
        .timeout_ms = 200,
        .tries = 1,
        .hostname = "gw.test",
    };
    if (resolver_create(&options, &w->resolver, why, sizeof(why)) != 0)
        world_fail("resolver_create", why);
}

/* Everything but routes and delivery. */
static inline struct world *world_create(void)
{
    struct world *w = calloc(1, sizeof(*w));
    char why[512] = "";
    if (getcwd(w->dir, sizeof(w->dir) / 2) == NULL) world_fail("getcwd", strerror(errno));
    snprintf(w->dir + strlen(w->dir), sizeof(w->dir) / 2, "/delivery-test-XXXXXX");
    if (mkdtemp(w->dir) == NULL) world_fail("mkdtemp", strerror(errno));
    struct loop_options loop_options = {
        .submission_count = 256, .socket_count_max = 64, .input_count = 64};
    if (loop_create(&loop_options, &w->loop, why, sizeof(why)) != 0) world_fail("loop", why);
    struct blocks_options blocks_options = {
        .small_count = 1024, .large_count = 64, .large_reserve_count = 16};
    if (blocks_create(&blocks_options, &w->blocks) != 0) world_fail("blocks_create", "");
    world_catch_log(w);
    world_open_queue(w);
    timer_init(&w->tick, world_tick);
    timer_arm(w->loop, &w->tick, 5);

    static char hostname[] = "gw.test";
    w->config.node.hostname = hostname;
    w->config.routes = w->routes;
    w->config.delivery.retry.first_ms = 60000;
    w->config.delivery.retry.max_ms = 600000;
    w->config.delivery.retry.expire_ms = 86400000;
    w->config.delivery.retry.factor_percent = 200;
    w->config.delivery.per_destination.connections = 4;
    w->config.delivery.per_destination.messages_per_connection = 1000;
    w->config.delivery.per_destination.idle_ms = 5000;
    w->config.delivery.timeouts.connect_ms = 5000;
    w->config.delivery.timeouts.greeting_ms = 5000;
    w->config.delivery.timeouts.command_ms = 5000;
    w->config.delivery.timeouts.data_init_ms = 5000;
    w->config.delivery.timeouts.data_block_ms = 5000;
    w->config.delivery.timeouts.data_end_ms = 5000;
    w->slots = delivery_slots_create();
    world_open_resolver(w);
    return w;
}

static inline struct config_route *world_route(struct world *w, const char *domain,
                                               enum route_action action)
{
    size_t at = w->config.route_count++;
    struct config_route *route = &w->routes[at];
    char name[16];
    snprintf(name, sizeof(name), "route-%zu", at + 1);
    w->domains[at] = xstrdup(domain);
    *route = (struct config_route){.name = xstrdup(name), .action = action};
    route->domains = (struct config_list){&w->domains[at], 1};
    route->hosts = w->hosts[at];
    return route;
}

static inline void world_host(struct config_route *route, const struct fake *f)
{
    route->hosts[route->host_count++] = (struct config_host){.endpoint = f->at};
}

/* A route to one fake server, for smtp.test. */
static inline void world_route_to(struct world *w, const struct fake *f)
{
    world_host(world_route(w, "smtp.test", ACTION_SMTP), f);
}

static inline void world_start(struct world *w)
{
    w->routing = routing_create(&w->config);
    w->delivery = delivery_create(&(struct delivery_options){.loop = w->loop,
                                                             .blocks = w->blocks,
                                                             .queue = w->queue,
                                                             .config = &w->config,
                                                             .routing = w->routing,
                                                             .slots = w->slots,
                                                             .resolver = w->resolver});
    delivery_start(w->delivery);
}

static inline void world_turn(struct world *w)
{
    if (loop_turn(w->loop, true) != 0) world_fail("loop_turn", "");
}

/* Turns until `fact` or for WORLD_WAIT_MS. */
#define WORLD_WAIT(w, fact)                                                                        \
    do {                                                                                           \
        uint64_t until_ns = clock_monotonic_ns() + WORLD_WAIT_MS * NS_PER_MS;                      \
        while (!(fact) && clock_monotonic_ns() < until_ns)                                         \
            world_turn(w);                                                                         \
        CHECK(fact);                                                                               \
    } while (0)

static inline void world_pass(struct world *w, uint64_t ms)
{
    uint64_t until_ns = clock_monotonic_ns() + ms * NS_PER_MS;
    while (clock_monotonic_ns() < until_ns)
        world_turn(w);
}

struct world_op {
    struct ring_op op;
    bool is_done;
};

static inline void world_op_done(struct ring_op *op)
{
    CONTAINER_OF(op, struct world_op, op)->is_done = true;
}

static inline int world_op_wait(struct world *w, struct world_op *op)
{
    WORLD_WAIT(w, op->is_done);
    return op->op.result;
}

/* Accepts a message as the ingress does. Its recipients are separated by blanks; what is set in
 * `special` of its form, flags and sender is taken from there. */
static inline struct message *world_put_special(struct world *w, struct slice body,
                                                const char *recipients,
                                                const struct envelope *special)
{
    struct put *put;
    if (queue_put_begin(w->queue, body.len, &put) != 0) world_fail("queue_put_begin", "");
    size_t at = 0;
    while (at < body.len) {
        size_t room = 0;
        char *space = queue_put_space(put, &room);
        if (room == 0) {
            struct world_op op = {.op = {.done = world_op_done}};
            queue_put_wait(put, &op.op);
            if (world_op_wait(w, &op) != 0) world_fail("queue_put_wait", "");
            continue;
        }
        size_t bytes = MIN(room, body.len - at);
        memcpy(space, body.data + at, bytes);
        queue_put_advance(put, bytes);
        at += bytes;
    }
    struct recipient list[128] = {0};
    struct envelope envelope = *special;
    if (envelope.sender.len == 0) envelope.sender = SLICE("sender@from.test");
    envelope.helo = SLICE("client.test");
    envelope.client = SLICE("192.0.2.1");
    envelope.listener = SLICE("mx");
    envelope.received_ms = loop_wall_ms(w->loop);
    envelope.recipients = list;
    const char *from = recipients;
    while (*from != '\0') {
        size_t len = strcspn(from, " ");
        /* Notifications would be more messages than the test is about. */
        list[envelope.recipient_count].notify = DSN_NOTIFY_NEVER;
        list[envelope.recipient_count++].address = slice_of(from, len);
        from += len + (from[len] == ' ' ? 1 : 0);
    }
    struct world_op op = {.op = {.done = world_op_done}};
    queue_put_finish(put, body.len, &envelope, &op.op);
    int err = world_op_wait(w, &op);
    if (err != 0) world_fail("queue_put_finish", err_str(err));
    return queue_put_take(put);
}

static inline struct message *world_put(struct world *w, struct slice body, const char *recipients)
{
    return world_put_special(w, body, recipients, &(struct envelope){.is_8bit = false});
}

static inline void world_send_special(struct world *w, struct slice body, const char *recipients,
                                      const struct envelope *special)
{
    struct message *message = world_put_special(w, body, recipients, special);
    if (message != NULL) {
        delivery_take(w->delivery, message);
    } else {
        delivery_lease_soon(w->delivery, 0);
    }
}

static inline void world_send(struct world *w, struct slice body, const char *recipients)
{
    world_send_special(w, body, recipients, &(struct envelope){.is_8bit = false});
}

#define WORLD_COUNT(w, name) counter_get(&delivery_counters((w)->delivery)->name)
#define WORLD_RESULTS(w)                                                                           \
    (WORLD_COUNT(w, attempts_delivered) + WORLD_COUNT(w, attempts_deferred) +                      \
     WORLD_COUNT(w, attempts_failed))

/* What the queue's disk holds of its only message; empty when there is none. */
struct world_seen {
    unsigned messages, queued, delivered, failed;
    unsigned attempts;  /* of the last recipient */
    char replies[2048]; /* of all recipients, each with '|' */
};

static inline void world_see(void *owner, enum queue_item_state state, uint64_t due_ms,
                             const struct message *message)
{
    struct world_seen *seen = owner;
    (void)state, (void)due_ms;
    seen->messages++;
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++) {
        const struct recipient *recipient = &message->envelope.recipients[i];
        seen->queued += recipient->state == RECIPIENT_QUEUED;
        seen->delivered += recipient->state == RECIPIENT_DELIVERED;
        seen->failed += recipient->state == RECIPIENT_FAILED;
        seen->attempts = recipient->attempts;
        size_t len = strlen(seen->replies);
        snprintf(seen->replies + len, sizeof(seen->replies) - len, "%.*s|",
                 (int)recipient->reply.len, recipient->reply.data);
    }
}

static inline struct world_seen world_look(struct world *w)
{
    struct world_seen seen = {0};
    struct queue_page page = {.count_max = 1000, .item = world_see, .owner = &seen};
    if (queue_list(w->queue, &page) != 0) world_fail("queue_list", "");
    return seen;
}

static inline void world_set_true(void *owner)
{
    *(bool *)owner = true;
}

/* Stops delivery and closes the queue. */
static inline void world_stop_delivery(struct world *w, uint64_t grace_ms)
{
    bool is_stopped = false;
    delivery_stop(w->delivery, grace_ms, world_set_true, &is_stopped);
    CHECK(!is_stopped);
    WORLD_WAIT(w, is_stopped);
    delivery_destroy(w->delivery);
    w->delivery = NULL;
    routing_destroy(w->routing);
    w->routing = NULL;
}

static inline int world_remove(const char *path, const struct stat *stat, int type,
                               struct FTW *walk)
{
    (void)stat, (void)type, (void)walk;
    return remove(path);
}

static inline void world_destroy(struct world *w)
{
    if (w->delivery != NULL) world_stop_delivery(w, 200);
    CHECK(!w->is_fatal);
    delivery_slots_destroy(w->slots);
    queue_close(w->queue);
    spool_close(w->spool);
    CHECK_EQ("blocks", blocks_used(w->blocks, BLOCK_SMALL) + blocks_used(w->blocks, BLOCK_LARGE),
             0);
    timer_disarm(&w->tick);
    resolver_stop(w->resolver);
    uint64_t until_ns = clock_monotonic_ns() + 2000 * NS_PER_MS;
    while (loop_inflight(w->loop) > 0 && clock_monotonic_ns() < until_ns)
        if (loop_turn(w->loop, false) != 0) world_fail("loop_turn", "");
    CHECK_EQ("in flight", loop_inflight(w->loop), 0);
    resolver_destroy(w->resolver);
    blocks_destroy(w->blocks);
    loop_destroy(w->loop);
    for (size_t i = 0; i < w->config.route_count; i++) {
        free(w->routes[i].name);
        free(w->domains[i]);
    }
    world_release_log(w);
    nftw(w->dir, world_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
}
