/* settle.c - the delivery side of the queue: leasing, and what became of messages.
 *
 * A message that is owned by the delivery half has its record as it was when it was put or leased;
 * after a crash it is simply due again. Only queue_update(), queue_settle() and queue_set_aside()
 * change that, in the transaction of one batch. */
#include "store/edit.h"
#include "store/queue_internal.h"

#include <stdlib.h>

/* It stays on the disk as it was, and is due again after the next start. */
static void log_lost(const struct stored *stored, int err)
{
    if (err == -ERR_FAILED_SYNC) return; /* said once, for all */
    message_alarm("settle_failed", stored->message.id, err_str(err));
}

/* The message leaves memory. */
static void end_message(struct queue *queue, struct stored *stored)
{
    ASSERT(queue->memory_count > 0);
    queue->memory_count--;
    queue_free_message(queue, stored);
}

static void end_settle(struct stored *stored, int result)
{
    struct queue *queue = stored->message.shard->queue;
    struct ring_op *op = stored->op;
    if (result != 0) log_lost(stored, result);
    end_message(queue, stored);
    if (op == NULL) return;
    op->result = result;
    op->done(op);
}

static void drop_blocks(struct queue *queue, struct message *message)
{
    for (uint32_t i = 0; i < message->extent_count; i++) {
        block_put(queue->blocks, message->blocks[i]);
        message->blocks[i] = NULL;
    }
}

/* --- deleting --- */

static void on_deleted(struct job *job)
{
    struct stored *stored = CONTAINER_OF(job, struct stored, job);
    struct message *message = &stored->message;
    if (job->result == 0) {
        for (uint32_t i = 0; i < message->extent_count; i++)
            segments_release(&message->shard->segments, &message->extents[i]);
    }
    end_settle(stored, job->result);
}

static void submit_delete(struct stored *stored)
{
    stored->job.kind = JOB_DELETE;
    stored->job.done = on_deleted;
    shard_submit_lazily(stored->message.shard, &stored->job);
}

/* --- keeping --- */

static void on_replaced(struct job *job)
{
    struct replacement *replacement = CONTAINER_OF(job, struct replacement, job);
    struct stored *stored = replacement->stored;
    struct ring_op *op = replacement->op;
    int result = job->result;
    free(replacement);
    if (stored != NULL) {
        end_settle(stored, result);
        return;
    }
    op->result = result;
    op->done(op);
}

static struct record_head head_of(const struct message *message, enum record_state state)
{
    return (struct record_head){
        .state = state,
        .form = message->envelope.form,
        .id = message->id,
        .due_ms = DUE_NEVER, /* the committer sets it */
        .received_ms = message->envelope.received_ms,
        .body_bytes = message->body_bytes,
        .trace_bytes = message->envelope.trace_bytes,
        .extent_count = message->extent_count,
        .recipient_count = message->envelope.recipient_count,
    };
}

/* The record as it is now: the caller may change the message, and free its replies, meanwhile. */
static int make_replacement(struct message *message, enum record_state state,
                            struct replacement **replacement_out)
{
    *replacement_out = NULL;
    size_t bytes = record_bytes(&message->envelope, message->extent_count);
    if (bytes == 0) return -ERR_TOO_LARGE;
    struct replacement *replacement = malloc(sizeof(*replacement) + bytes);
    if (replacement == NULL) return -ERR_MEMORY;

    *replacement = (struct replacement){.id = message->id,
                                        .old_due_ms = stored_of(message)->due_ms,
                                        .due_ms = DUE_NEVER,
                                        .state = state,
                                        .record_bytes = bytes};
    struct record_head head = head_of(message, state);
    if (!record_write(replacement->record, bytes, &head, &message->envelope, message->extents)) {
        free(replacement);
        return -ERR_TOO_LARGE;
    }
    replacement->job.kind = JOB_REPLACE;
    replacement->job.done = on_replaced;
    *replacement_out = replacement;
    return 0;
}

void queue_update(struct queue *queue, struct message *message, struct ring_op *op)
{
    struct replacement *replacement;
    int err = make_replacement(message, RECORD_QUEUED, &replacement);
    if (err != 0) {
        loop_defer(queue->loop, op, err);
        return;
    }
    replacement->keeps_due = true;
    replacement->op = op;
    shard_submit(message->shard, &replacement->job);
}

/* Takes the message back into the given state. */
static void keep(struct queue *queue, struct message *message, enum record_state state,
                 uint64_t due_ms, struct ring_op *op)
{
    struct stored *stored = stored_of(message);
    struct replacement *replacement;
    int err = make_replacement(message, state, &replacement);
    if (err == -ERR_TOO_LARGE) {
        /* What next hops said may have made it so; their words are not worth the message. */
        for (uint32_t i = 0; i < message->envelope.recipient_count; i++)
            message->envelope.recipients[i].reply.len = 0;
        err = make_replacement(message, state, &replacement);
    }
    if (err != 0) {
        /* It would be due for nobody until the next start: so the process starts anew. */
        log_lost(stored, err);
        end_message(queue, stored);
        if (op != NULL) loop_defer(queue->loop, op, err);
        queue_set_fatal(queue, err);
        return;
    }
    replacement->due_ms = due_ms;
    replacement->stored = stored;
    stored->op = op;
    shard_submit(message->shard, &replacement->job);
}

/* Of what is to be tried or reported; DUE_NEVER: nothing is. */
static uint64_t earliest_due(const struct envelope *envelope)
{
    uint64_t due_ms = DUE_NEVER;
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        const struct recipient *recipient = &envelope->recipients[i];
        if (recipient->state == RECIPIENT_QUEUED || recipient->report != REPORT_NONE)
            due_ms = MIN(due_ms, MIN(recipient->next_ms, DUE_NEVER - 1));
    }
    return due_ms;
}

void queue_settle(struct queue *queue, struct message *message, struct ring_op *op)
{
    ASSERT(message->envelope.recipient_count > 0);
    struct stored *stored = stored_of(message);
    enum record_state state = RECORD_QUEUED;
    bool is_removed = edits_apply(queue, message, &state);
    uint64_t due_ms = is_removed ? DUE_NEVER : earliest_due(&message->envelope);

    drop_blocks(queue, message);
    if (due_ms == DUE_NEVER) {
        stored->op = op;
        submit_delete(stored);
    } else if (stored->is_body_corrupt) {
        queue_set_aside(queue, message, op);
    } else {
        keep(queue, message, state, state == RECORD_QUEUED ? due_ms : DUE_NEVER, op);
    }
}

void queue_set_aside(struct queue *queue, struct message *message, struct ring_op *op)
{
    message_alarm("message_corrupt", message->id, "kept, not delivered: its body is damaged");
    counter_add(&queue->counters.corrupt_found, 1);
    drop_blocks(queue, message);
    keep(queue, message, RECORD_CORRUPT, DUE_NEVER, op);
}

void queue_put_back(struct queue *queue, struct message *message)
{
    uint64_t due_ms = MIN(earliest_due(&message->envelope), DUE_NEVER - 1);
    drop_blocks(queue, message);
    keep(queue, message, RECORD_QUEUED, due_ms, NULL);
}

void queue_return(struct queue *queue, struct message *message)
{
    end_message(queue, stored_of(message));
}

/* --- leasing --- */

static void lease_next_shard(struct queue *queue);

static void end_lease(struct queue *queue, int err)
{
    struct lease *lease = queue->lease;
    queue->lease = NULL;
    queue->memory_count -= queue->lease_reserved - queue->lease_count;
    lease->next_due_ms = queue->lease_next_due_ms;
    lease->op.result = queue->lease_count > 0 || err == 0 ? (int)queue->lease_count : err;
    lease->op.done(&lease->op);
}

/* What an earlier run left in delivery has no time of its own: it is late by a restart. */
static void note_lag(struct queue *queue, uint64_t due_ms)
{
    uint64_t now_ms = loop_wall_ms(queue->loop);
    if (due_ms != 0) counter_set(&queue->counters.due_lag_ms, now_ms - MIN(now_ms, due_ms));
}

static void on_leased(struct job *job)
{
    struct queue *queue = CONTAINER_OF(job, struct queue, lease_job.job);
    struct lease_result *result = &queue->lease_job.result;
    struct shard *shard = queue->shards[queue->lease_shard];
    queue->lease_next_due_ms = MIN(queue->lease_next_due_ms, result->next_due_ms);
    queue->lease_count += result->count;
    struct list *node;
    while ((node = list_pop_front(&result->messages)) != NULL) {
        struct message *message = LIST_ENTRY(node, struct message, node);
        message->shard = shard;
        note_lag(queue, stored_of(message)->due_ms);
        list_push_back(&queue->lease->messages, &message->node);
    }
    queue->lease_shard = (queue->lease_shard + 1) % queue->shard_count;
    queue->lease_asked++;
    bool is_full = queue->lease_count >= queue->lease_reserved;
    if (job->result != 0 || (is_full && queue->lease_asked < queue->shard_count))
        queue->lease_next_due_ms = 0; /* the others were not asked, or this one did not say */
    if (job->result != 0 || is_full || queue->lease_asked == queue->shard_count)
        end_lease(queue, job->result);
    else
        lease_next_shard(queue);
}

static void lease_next_shard(struct queue *queue)
{
    struct lease_job *job = &queue->lease_job;
    job->job.kind = JOB_LEASE;
    job->job.done = on_leased;
    job->now_ms = loop_wall_ms(queue->loop);
    job->count_max = queue->lease_reserved - queue->lease_count;
    list_init(&job->result.messages);
    job->result.count = 0;
    job->result.next_due_ms = UINT64_MAX;
    shard_submit(queue->shards[queue->lease_shard], &job->job);
}

void queue_lease(struct queue *queue, struct lease *lease)
{
    ASSERT(queue->lease == NULL);
    ASSERT(lease->count_max > 0);
    list_init(&lease->messages);
    queue->lease = lease;
    queue->lease_asked = 0;
    queue->lease_count = 0;
    queue->lease_next_due_ms = UINT64_MAX;
    /* Reserved at once: what is accepted meanwhile must not fill the same places. */
    uint32_t memory_max = queue->options.memory_messages_max;
    uint32_t room = memory_max - MIN(queue->memory_count, memory_max);
    queue->lease_reserved = MIN(lease->count_max, room);
    queue->memory_count += queue->lease_reserved;
    if (queue->lease_reserved > 0) {
        lease_next_shard(queue);
        return;
    }
    queue->lease = NULL;
    lease->next_due_ms = 0; /* later */
    loop_defer(queue->loop, &lease->op, 0);
}
