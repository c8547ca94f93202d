/* core.h - one core: a thread with a gateway (gateway.h) on its loop.
 *
 * The process (process.h) starts the cores one after another, tells them to reconfigure and to
 * drain by mail, and joins them. Functions here are called by the control thread only. */
#pragma once

#include "server/core/gateway.h"

struct core;

struct core_options {
    unsigned index, count;
    const struct generation *generation; /* kept until on_reconfigured() */
    struct spool *spool;
    const struct ingress_shared *shared;
    struct delivery_slots *slots;
    struct endpoint *addresses; /* as ingress_listen() wants them; filled in by the first core */
    uint32_t session_count_max;
    /* The queue of this core cannot go on (queue_options.on_fatal). Runs on the core. */
    void (*on_fatal)(void *owner, int err);
    /* The core has gone over to another generation; its loop has ended after a drain: on the core.
     */
    void (*on_reconfigured)(void *owner);
    void (*on_stopped)(void *owner);
    void *owner;
};

/* Starts the thread and waits until it accepts. On failure nothing is left and `why` holds a line
 * for people. */
MUST_USE int core_start(const struct core_options *options, struct core **core_out, char *why,
                        size_t why_cap);
/* on_reconfigured() tells when no part of the core uses the old generation any more. */
void core_reconfigure(struct core *core, const struct generation *generation);
/* Stops accepting, lets open messages and deliveries end within `timeout_ms`, commits, stops. */
void core_drain(struct core *core, uint64_t timeout_ms);
/* Lets a core that has stopped close its queue, waits for the end of its thread, frees it. Nothing
 * may use core_view() any more. NULL is allowed. */
void core_join(struct core *core);
struct admin_core core_view(const struct core *core);
