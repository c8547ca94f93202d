/* queue.c - the queue of a core: its shards, its gate, its counters. */
#include "store/edit.h"
#include "store/queue_internal.h"

#include "ring/base/log.h"
#include "store/put.h"

#include <stdio.h>
#include <stdlib.h>

void queue_note_work(struct queue *queue)
{
    if (queue->flushed_ns != loop_now_ns(queue->loop) || queue->is_kicked) return;
    queue->is_kicked = true;
    loop_defer(queue->loop, &queue->kick_op, 0);
}

#define PUTS_CHUNK 16 /* allocated at once */

static void on_kick(struct ring_op *op)
{
    struct queue *queue = CONTAINER_OF(op, struct queue, kick_op);
    queue->is_kicked = false;
}

static void on_turn_end(struct loop_hook *hook)
{
    struct queue *queue = CONTAINER_OF(hook, struct queue, hook);
    for (unsigned i = 0; i < queue->shard_count; i++)
        shard_flush(queue->shards[i]);
    queue->flushed_ns = loop_now_ns(queue->loop);
}

static void on_timer(struct timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, timer);
    for (unsigned i = 0; i < queue->shard_count; i++)
        shard_tick(queue->shards[i]);
    queue_sum_state(queue);
    timer_arm(queue->loop, &queue->timer, QUEUE_TICK_MS);
}

/* The earlier of two times, of which 0 is none. */
static uint64_t older(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0) return a + b;
    return MIN(a, b);
}

void queue_sum_state(struct queue *queue)
{
    struct committer_state sum = {.free_bytes = UINT64_MAX};
    uint64_t segments_free = 0, segments_used = 0;
    bool is_full = false;
    for (unsigned i = 0; i < queue->shard_count; i++) {
        const struct shard *shard = queue->shards[i];
        sum.queued += shard->state.queued;
        sum.held += shard->state.held;
        sum.corrupt += shard->state.corrupt;
        sum.body_bytes += shard->state.body_bytes;
        sum.oldest.queued_ms = older(sum.oldest.queued_ms, shard->state.oldest.queued_ms);
        sum.oldest.held_ms = older(sum.oldest.held_ms, shard->state.oldest.held_ms);
        sum.oldest.corrupt_ms = older(sum.oldest.corrupt_ms, shard->state.oldest.corrupt_ms);
        sum.free_bytes = MIN(sum.free_bytes, shard->state.free_bytes);
        segments_free += shard->segments.free_count;
        segments_used += shard->segments.used_count;
        is_full = is_full || committer_is_full(shard->committer);
    }
    struct queue_counters *counters = &queue->counters;
    counter_set(&counters->queued, sum.queued);
    counter_set(&counters->held, sum.held);
    counter_set(&counters->corrupt, sum.corrupt);
    counter_set(&counters->body_bytes, sum.body_bytes);
    counter_set(&counters->oldest_queued_ms, sum.oldest.queued_ms);
    counter_set(&counters->oldest_held_ms, sum.oldest.held_ms);
    counter_set(&counters->oldest_corrupt_ms, sum.oldest.corrupt_ms);
    counter_set(&counters->free_bytes, sum.free_bytes);
    counter_set(&counters->segments_free, segments_free);
    counter_set(&counters->segments_used, segments_used);
    counter_set(&counters->memory_messages, queue->memory_count);
    counter_set(&counters->is_full, is_full ? 1 : 0);
}

void queue_set_fatal(struct queue *queue, int err)
{
    if (queue->fatal != 0) return;
    queue->fatal = err;
    log_text(LOG_ERROR, "queue_failed", "%s: no message is accepted any more", err_str(err));
    for (unsigned i = 0; i < queue->shard_count; i++)
        shard_set_fatal(queue->shards[i], err);
    if (queue->options.on_fatal != NULL) queue->options.on_fatal(queue->options.owner, err);
}

int queue_gate(const struct queue *queue)
{
    /* New messages go to the first shard. */
    return committer_is_full(queue->shards[0]->committer) ? -ERR_FULL : 0;
}

const struct queue_counters *queue_counters(const struct queue *queue)
{
    return &queue->counters;
}

void queue_free_message(struct queue *queue, struct stored *stored)
{
    struct message *message = &stored->message;
    for (uint32_t i = 0; i < message->extent_count; i++) {
        block_put(queue->blocks, message->blocks[i]);
        message->blocks[i] = NULL;
    }
    stored_free(stored);
}

/* --- opening and closing --- */

static int open_shards(struct queue *queue, char *why, size_t why_cap)
{
    const struct queue_options *options = &queue->options;
    unsigned total = spool_shard_count(options->spool);
    queue->shards = xcalloc(total, sizeof(struct shard *));
    for (unsigned number = options->core_index; number < total; number += options->core_count) {
        struct shard *shard;
        int err = shard_open(queue, number, &shard, why, why_cap);
        if (err != 0) return err;
        queue->shards[queue->shard_count++] = shard;
    }
    if (queue->shard_count > 0) return 0;
    snprintf(why, why_cap, "there is no shard for core %u", options->core_index);
    return -ERR_NOT_FOUND;
}

int queue_open(const struct queue_options *options, struct queue **queue_out, char *why,
               size_t why_cap)
{
    ASSERT(options->core_index < options->core_count);
    ASSERT(options->segment_bytes % SEGMENT_ZERO_BYTES == 0);
    *queue_out = NULL;

    struct queue *queue = xcalloc(1, sizeof(*queue));
    queue->options = *options;
    queue->loop = options->loop;
    queue->blocks = options->blocks;
    queue->kick_op.done = on_kick;
    queue->hook.run = on_turn_end;
    slab_init(&queue->puts, sizeof(struct put), PUTS_CHUNK, PUTS_MAX);
    edits_init(queue);
    list_init(&queue->hook.node);
    timer_init(&queue->timer, on_timer);
    int err = open_shards(queue, why, why_cap);
    if (err != 0) {
        queue_close(queue);
        return err;
    }
    loop_hook_add(queue->loop, &queue->hook);
    queue->flushed_ns = loop_now_ns(queue->loop); /* this turn, the hook does not run any more */
    timer_arm(queue->loop, &queue->timer, QUEUE_TICK_MS);
    queue_sum_state(queue);
    *queue_out = queue;
    return 0;
}

void queue_close(struct queue *queue)
{
    if (queue == NULL) return;
    ASSERT(queue->lease == NULL);
    timer_disarm(&queue->timer);
    queue->is_closing = true;
    /* The last blocks of ended puts are still on their way to the disk. */
    for (unsigned i = 0; i < queue->shard_count; i++) {
        while (!disk_writer_is_idle(&queue->shards[i]->writer)) {
            shard_flush(queue->shards[i]);
            int err = loop_turn(queue->loop, true);
            ASSERT(err == 0);
        }
    }
    loop_hook_remove(&queue->hook);
    while (queue->is_kicked) {
        int err = loop_turn(queue->loop, false);
        ASSERT(err == 0);
    }
    for (; queue->shard_count > 0; queue->shard_count--)
        shard_close(queue->shards[queue->shard_count - 1]);
    slab_finish(&queue->puts);
    edits_finish(queue);
    free(queue->edit_applied);
    free(queue->shards);
    free(queue);
}
