/* queue_internal.h - the queue of a core, as the files of its face share it: queue.c, put.c,
 * body.c, settle.c. */
#pragma once

#include "ring/base/clock.h"
#include "ring/base/map.h"
#include "ring/base/memory.h"
#include "ring/timer.h"
#include "store/queue.h"
#include "store/shard.h"

#define PUTS_MAX 65536 /* messages being accepted at once on one core */
#define QUEUE_TICK_MS 1000

struct queue {
    struct queue_options options;
    struct loop *loop;
    struct blocks *blocks;
    struct shard **shards;
    unsigned shard_count;
    struct slab puts;
    uint32_t memory_count; /* messages that the puts and the delivery half hold */
    struct loop_hook hook;
    uint64_t flushed_ns; /* the turn in which the hook ran last */
    struct ring_op kick_op;
    bool is_kicked;
    struct timer timer;
    bool is_closing;
    int fatal;
    struct queue_counters counters;
    struct map edits;   /* of messages in delivery */
    void *edit_applied; /* the last one that was carried out: its words are in a message */

    /* The one lease. */
    struct lease *lease;
    struct lease_job lease_job;
    unsigned lease_shard, lease_asked; /* the next one to ask, and how many were */
    uint64_t lease_next_due_ms;
    uint32_t lease_reserved, lease_count; /* places in memory for it; used */
};

/* Work was added that the hook has to see: when that ran in this turn already, there will be
 * another turn. */
void queue_note_work(struct queue *queue);
/* All shards, once; tells the owner. */
void queue_set_fatal(struct queue *queue, int err);
/* The counters that come from the committers' totals. */
void queue_sum_state(struct queue *queue);
/* Gives back the blocks of a message in memory and frees it. */
void queue_free_message(struct queue *queue, struct stored *stored);
