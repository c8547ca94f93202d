/* core.c - the thread of one core, and its mails from the control thread.
 *
 * The gateway is closed last, by the core's own thread, after the loop has stopped and nobody looks
 * at the core any more. */
#include "server/core/core.h"

#include "ring/base/memory.h"
#include "ring/mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define LOG_SINK_BYTES (1u << 20)

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

    struct gateway *gateway;

    struct mail drain_mail;
    uint64_t drain_timeout_ms;
    bool is_draining;
};

static void on_drain(struct mail *mail)
{
    struct core *core = CONTAINER_OF(mail, struct core, drain_mail);
    gateway_drain(core->gateway, core->drain_timeout_ms);
}

static void on_reconfigure(struct mail *mail)
{
    struct reconfigure_mail *reconfigure = CONTAINER_OF(mail, struct reconfigure_mail, mail);
    struct core *core = reconfigure->core;
    gateway_reconfigure(core->gateway, reconfigure->generation);
    free(reconfigure);
    core->options.on_reconfigured(core->options.owner);
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

static int open_gateway(struct core *core)
{
    const struct core_options *options = &core->options;
    const struct gateway_options gateway = {
        .index = options->index,
        .count = options->count,
        .generation = options->generation,
        .spool = options->spool,
        .shared = options->shared,
        .slots = options->slots,
        .addresses = options->addresses,
        .session_count_max = options->session_count_max,
        .on_fatal = options->on_fatal,
        .owner = options->owner,
    };
    return gateway_open(&gateway, &core->gateway, core->why, core->why_cap);
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

    int err = open_gateway(core);
    if (err != 0) {
        log_thread_stop();
        tell_started(core, err);
        return NULL;
    }
    gateway_start(core->gateway);
    tell_started(core, 0);
    err = loop_run(gateway_loop(core->gateway));
    if (err == 0) err = gateway_settle(core->gateway);
    if (err != 0) {
        log_text(LOG_ERROR, "loop_failed", "the loop of core %u cannot wait: %s",
                 core->options.index, err_str(err));
        core->options.on_fatal(core->options.owner, err);
    }
    core->options.on_stopped(core->options.owner);
    wait_released(core); /* its counters are served until the last core has stopped */
    if (err == 0) gateway_close(core->gateway);
    log_thread_stop();
    return NULL;
}

int core_start(const struct core_options *options, struct core **core_out, char *why,
               size_t why_cap)
{
    struct core *core = xcalloc(1, sizeof(*core));
    core->options = *options;
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
    mailbox_post(mailbox_of(gateway_loop(core->gateway)), &mail->mail);
}

void core_drain(struct core *core, uint64_t timeout_ms)
{
    if (core->is_draining) return;
    core->is_draining = true;
    core->drain_timeout_ms = timeout_ms;
    mailbox_post(mailbox_of(gateway_loop(core->gateway)), &core->drain_mail);
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
    return gateway_view(core->gateway);
}
