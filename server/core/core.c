/* core.c - one core from start to end.
 *
 *   starting --ok--> running --drain--> sessions end --> deliveries end --> queue closed --> ended
 *
 * Each arrow of the drain is a callback of the part that ended. The queue is closed last, by the
 * core's own thread, after the loop has stopped. */
#include "server/core/core.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "ring/mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define SUBMISSION_COUNT 4096
#define INPUT_COUNT 256
#define LOG_SINK_BYTES (1u << 20)
#define LARGE_RESERVE_DIVISOR 4
#define TICKETS_PERIOD_MS 60000
#define BLOCKS_MIN 16u /* of each size, however little memory a core is given */
/* What the store holds in memory, the delivery half must be able to hold: else it would have to
 * write the rest back. */
#define MEMORY_MESSAGES_MAX DELIVERY_MESSAGES_MAX

struct reconfigure_mail {
    struct mail mail;
    struct core *core;
    const struct generation *generation;
};

struct core {
    struct core_options options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_started;  /* under the lock: the thread has succeeded or failed to start */
    bool is_released; /* under the lock: nobody looks at the core any more */
    int start_err;
    char *why;
    size_t why_cap;

    struct loop *loop;
    struct blocks *blocks;
    struct queue *queue;
    struct resolver *resolver;
    struct ingress *ingress;
    struct delivery *delivery;
    const struct generation *generation; /* in force */
    struct timer tickets_timer;

    struct mail drain_mail;
    uint64_t drain_timeout_ms;
    uint64_t drain_started_ns;
    bool is_draining;
};

/* --- the two halves and the queue, wired --- */

static void on_message(void *owner, struct message *message)
{
    struct core *core = owner;
    delivery_take(core->delivery, message);
}

static void on_spill(void *owner)
{
    struct core *core = owner;
    delivery_lease_soon(core->delivery, 0);
}

/* An operator's edit made something due. */
static void on_due(void *owner, uint64_t due_ms)
{
    struct core *core = owner;
    if (core->delivery == NULL) return;
    delivery_try_hosts(core->delivery);
    delivery_lease_soon(core->delivery, due_ms);
}

static void on_queue_fatal(void *owner, int err)
{
    struct core *core = owner;
    core->options.on_fatal(core->options.owner, err);
}

static void on_delivery_stopped(void *owner)
{
    struct core *core = owner;
    resolver_stop(core->resolver);
    loop_stop(core->loop);
}

static void on_ingress_drained(void *owner)
{
    struct core *core = owner;
    uint64_t passed_ms = (loop_now_ns(core->loop) - core->drain_started_ns) / NS_PER_MS;
    uint64_t left_ms = core->drain_timeout_ms - MIN(passed_ms, core->drain_timeout_ms);
    delivery_stop(core->delivery, left_ms, on_delivery_stopped, core);
}

static void on_drain(struct mail *mail)
{
    struct core *core = CONTAINER_OF(mail, struct core, drain_mail);
    core->drain_started_ns = loop_now_ns(core->loop);
    ingress_drain(core->ingress, core->drain_timeout_ms, on_ingress_drained);
}

static struct resolver_options resolver_options_of(const struct core *core,
                                                   const struct config *config)
{
    return (struct resolver_options){
        .loop = core->loop,
        .servers = config->resolver.servers,
        .server_count = config->resolver.server_count,
        .trusts_ad = config->resolver.trusts_ad,
        .timeout_ms = config->resolver.timeout_ms,
        .tries = config->resolver.tries,
        .hostname = config->node.hostname,
    };
}

static void on_reconfigure(struct mail *mail)
{
    struct reconfigure_mail *reconfigure = CONTAINER_OF(mail, struct reconfigure_mail, mail);
    struct core *core = reconfigure->core;
    const struct generation *generation = reconfigure->generation;
    free(reconfigure);
    ingress_reconfigure(core->ingress, generation->config, generation->routing,
                        generation_security(generation, core->options.index));
    const struct resolver_options resolving = resolver_options_of(core, generation->config);
    resolver_reconfigure(core->resolver, &resolving);
    delivery_reconfigure(core->delivery, generation->config, generation->routing);
    generation_release(core->generation, core->options.index);
    core->generation = generation;
    core->options.on_reconfigured(core->options.owner);
}

/* A context brings its ticket keys up to date with each handshake; this is for when there is none:
 * a key that is to be forgotten must not stay because nobody connects. */
static void on_tickets_timer(struct timer *timer)
{
    struct core *core = CONTAINER_OF(timer, struct core, tickets_timer);
    const struct ingress_security *security =
        generation_security(core->generation, core->options.index);
    for (size_t i = 0; i < core->generation->config->listener_count; i++) {
        if (security[i].tls != NULL) tls_context_refresh(security[i].tls);
    }
    timer_arm(core->loop, timer, TICKETS_PERIOD_MS);
}

/* --- start --- */

static void pin(const struct core *core)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
    if ((unsigned)CPU_COUNT(&allowed) < core->options.count) return;
    unsigned nth = 0;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || nth++ != core->options.index) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof(one), &one); /* better placement only: failing is fine */
        return;
    }
}

static int open_blocks(struct core *core)
{
    uint64_t bytes = core->generation->config->node.memory / core->options.count;
    struct blocks_options options = {
        .small_count = (uint32_t)(bytes / 2 / BLOCK_SMALL_BYTES),
        .large_count = (uint32_t)(bytes / 2 / BLOCK_LARGE_BYTES),
    };
    options.small_count = MAX(options.small_count, BLOCKS_MIN);
    options.large_count = MAX(options.large_count, BLOCKS_MIN);
    options.large_reserve_count = options.large_count / LARGE_RESERVE_DIVISOR;
    return blocks_create(&options, &core->blocks);
}

static int open_queue(struct core *core)
{
    const struct config *config = core->generation->config;
    const struct queue_options options = {
        .loop = core->loop,
        .blocks = core->blocks,
        .spool = core->options.spool,
        .core_index = core->options.index,
        .core_count = core->options.count,
        .free_bytes_min = config->spool.min_free_bytes,
        .free_percent_min = config->spool.min_free_percent,
        .memory_messages_max = MEMORY_MESSAGES_MAX,
        .on_fatal = on_queue_fatal,
        .on_due = on_due,
        .owner = core,
    };
    return queue_open(&options, &core->queue, core->why, core->why_cap);
}

static int open_halves(struct core *core)
{
    const struct core_options *options = &core->options;
    core->delivery = delivery_create(&(struct delivery_options){
        .loop = core->loop,
        .blocks = core->blocks,
        .queue = core->queue,
        .config = core->generation->config,
        .routing = core->generation->routing,
        .slots = options->slots,
        .resolver = core->resolver,
    });
    core->ingress = ingress_create(&(struct ingress_options){
        .loop = core->loop,
        .queue = core->queue,
        .resolver = core->resolver,
        .config = core->generation->config,
        .routing = core->generation->routing,
        .security = generation_security(core->generation, options->index),
        .shared = options->shared,
        .core_index = options->index,
        .core_count = options->count,
        .session_count_max = options->session_count_max,
        .on_message = on_message,
        .on_spill = on_spill,
        .owner = core,
    });
    const struct endpoint *failed = NULL;
    int err = ingress_listen(core->ingress, options->addresses, &failed);
    if (err != 0) {
        char text[ENDPOINT_TEXT_MAX] = "";
        struct buf name = {text, 0, sizeof(text) - 1, false};
        endpoint_write(failed, &name);
        snprintf(core->why, core->why_cap, "cannot listen on %s: %s", text, err_str(err));
    }
    return err;
}

static int open_all(struct core *core)
{
    const struct loop_options options = {
        .submission_count = SUBMISSION_COUNT,
        .socket_count_max = core->options.session_count_max + CORE_REFUSALS_MAX,
        .input_count = INPUT_COUNT,
    };
    int err = loop_create(&options, &core->loop, core->why, core->why_cap);
    if (err != 0) return err;
    err = open_blocks(core);
    if (err != 0) {
        snprintf(core->why, core->why_cap, "node.memory: %s", err_str(err));
        return err;
    }
    const struct resolver_options resolving = resolver_options_of(core, core->generation->config);
    err = resolver_create(&resolving, &core->resolver, core->why, core->why_cap);
    if (err != 0) return err;
    err = open_queue(core);
    return err != 0 ? err : open_halves(core);
}

/* --- end --- */

/* Listeners that close, and files of the queue that are being made, end on their own. */
static int settle_loop(struct core *core)
{
    int err = 0;
    while (err == 0 && loop_inflight(core->loop) > 0)
        err = loop_turn(core->loop, true);
    return err;
}

static void close_all(struct core *core)
{
    timer_disarm(&core->tickets_timer);
    ingress_destroy(core->ingress);
    delivery_destroy(core->delivery);
    resolver_destroy(core->resolver);
    queue_close(core->queue);
    blocks_destroy(core->blocks);
    loop_destroy(core->loop);
    generation_release(core->generation, core->options.index);
}

/* After a failed start: what was opened ends as it does in a drain, only at once. */
static void unwind(struct core *core)
{
    if (core->ingress != NULL) {
        ingress_drain(core->ingress, 0, on_ingress_drained);
        int err = loop_run(core->loop);
        if (err == 0) err = settle_loop(core);
        ASSERT(err == 0);
    }
    close_all(core);
}

static void tell_started(struct core *core, int err)
{
    pthread_mutex_lock(&core->lock);
    core->is_started = true;
    core->start_err = err;
    pthread_cond_signal(&core->changed);
    pthread_mutex_unlock(&core->lock);
}

static void wait_released(struct core *core)
{
    pthread_mutex_lock(&core->lock);
    while (!core->is_released)
        pthread_cond_wait(&core->changed, &core->lock);
    pthread_mutex_unlock(&core->lock);
}

static void *core_main(void *argument)
{
    struct core *core = argument;
    char name[16];
    snprintf(name, sizeof(name), "core %u", core->options.index);
    pthread_setname_np(pthread_self(), name);
    log_thread_start(LOG_SINK_BYTES);
    pin(core);

    int err = open_all(core);
    if (err != 0) {
        unwind(core);
        log_thread_stop();
        tell_started(core, err);
        return NULL;
    }
    delivery_start(core->delivery);
    timer_arm(core->loop, &core->tickets_timer, TICKETS_PERIOD_MS);
    tell_started(core, 0);
    err = loop_run(core->loop);
    if (err == 0) err = settle_loop(core);
    if (err != 0) {
        log_text(LOG_ERROR, "loop_failed", "the loop of core %u cannot wait: %s",
                 core->options.index, err_str(err));
        core->options.on_fatal(core->options.owner, err);
    }
    core->options.on_stopped(core->options.owner);
    wait_released(core); /* its counters are served until the last core has stopped */
    if (err == 0) close_all(core);
    log_thread_stop();
    return NULL;
}

int core_start(const struct core_options *options, struct core **core_out, char *why,
               size_t why_cap)
{
    struct core *core = xcalloc(1, sizeof(*core));
    core->options = *options;
    core->generation = options->generation;
    timer_init(&core->tickets_timer, on_tickets_timer);
    core->why = why;
    core->why_cap = why_cap;
    core->drain_mail.deliver = on_drain;
    pthread_mutex_init(&core->lock, NULL);
    pthread_cond_init(&core->changed, NULL);
    *core_out = NULL;
    int err = -pthread_create(&core->thread, NULL, core_main, core);
    if (err != 0) {
        snprintf(why, why_cap, "cannot start a thread: %s", err_str(err));
        free(core);
        return err;
    }
    pthread_mutex_lock(&core->lock);
    while (!core->is_started)
        pthread_cond_wait(&core->changed, &core->lock);
    err = core->start_err;
    pthread_mutex_unlock(&core->lock);
    core->why = NULL; /* only valid during the start */
    if (err != 0) {
        core_join(core);
        return err;
    }
    *core_out = core;
    return 0;
}

void core_reconfigure(struct core *core, const struct generation *generation)
{
    struct reconfigure_mail *mail = xcalloc(1, sizeof(*mail));
    mail->mail.deliver = on_reconfigure;
    mail->core = core;
    mail->generation = generation;
    mailbox_post(mailbox_of(core->loop), &mail->mail);
}

void core_drain(struct core *core, uint64_t timeout_ms)
{
    if (core->is_draining) return;
    core->is_draining = true;
    core->drain_timeout_ms = timeout_ms;
    mailbox_post(mailbox_of(core->loop), &core->drain_mail);
}

void core_join(struct core *core)
{
    if (core == NULL) return;
    pthread_mutex_lock(&core->lock);
    core->is_released = true;
    pthread_cond_signal(&core->changed);
    pthread_mutex_unlock(&core->lock);
    pthread_join(core->thread, NULL);
    pthread_cond_destroy(&core->changed);
    pthread_mutex_destroy(&core->lock);
    free(core);
}

struct admin_core core_view(const struct core *core)
{
    return (struct admin_core){
        .loop = core->loop,
        .queue = core->queue,
        .ingress = core->ingress,
        .delivery = core->delivery,
        .resolver = core->resolver,
    };
}
