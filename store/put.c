/* put.c - accepting messages. */
#include "store/put.h"

#include "store/crc32c.h"
#include "store/queue_internal.h"

#include <stdlib.h>

static void begin_commit(struct put *put);
static void check_wait(struct put *put);

/* --- blocks and their places --- */

static void release_slot(struct put *put, struct put_slot *slot)
{
    void *block = slot->write.block;
    slot->state = SLOT_EMPTY;
    slot->write.block = NULL;
    if (put->filling == slot) put->filling = NULL;
    block_put(put->queue->blocks, block);
}

static struct put_slot *slot_of_index(struct put *put, uint32_t index)
{
    for (unsigned i = 0; i < PUT_BLOCKS_INFLIGHT_MAX; i++)
        if (put->slots[i].state != SLOT_EMPTY && put->slots[i].index == index)
            return &put->slots[i];
    return NULL;
}

/* Gives up every place of the body. */
static void drop_extents(struct put *put)
{
    struct segments *segments = &put->shard->segments;
    for (uint32_t i = 0; i < put->extents_cap; i++) {
        if (put->extents[i].bytes > 0) segments_drop(segments, &put->extents[i]);
        put->extents[i].bytes = 0;
    }
    for (unsigned i = 0; i < PUT_BLOCKS_INFLIGHT_MAX; i++)
        if (put->slots[i].state == SLOT_WRITTEN)
            segments_drop(segments, &put->slots[i].write.extent);
}

/* Frees all that is not being written. */
static void release_idle_slots(struct put *put)
{
    for (unsigned i = 0; i < PUT_BLOCKS_INFLIGHT_MAX; i++)
        if (put->slots[i].state != SLOT_EMPTY && put->slots[i].state != SLOT_WRITING)
            release_slot(put, &put->slots[i]);
}

static void destroy(struct put *put)
{
    ASSERT(put->writes_inflight == 0);
    ASSERT(!put->waiter.is_waiting);
    free(put->extents);
    slab_put(&put->queue->puts, put);
}

static void forget_stored(struct put *put)
{
    if (put->stored == NULL) return;
    if (!put->is_spilled) put->queue->memory_count--;
    stored_free(put->stored);
    put->stored = NULL;
}

/* The end of a message that cannot be stored. Runs from the loop only. */
static void fail(struct put *put, int err)
{
    ASSERT(err < 0);
    ASSERT(put->writes_inflight == 0);
    drop_extents(put);
    release_idle_slots(put);
    forget_stored(put);
    put->state = PUT_FAILED;
    put->err = err;
    counter_add(&put->queue->counters.aborts, 1);
    struct ring_op *op = put->finish_op;
    put->finish_op = NULL;
    op->result = err;
    op->done(op); /* may end the put */
}

/* --- streaming --- */

/* Room for the place of block `index`. */
static bool grow_extents(struct put *put, uint32_t index)
{
    if (index < put->extents_cap) return true;
    uint32_t cap = MAX(put->extents_cap * 2, 16u);
    struct extent *extents = realloc(put->extents, cap * sizeof(*extents));
    if (extents == NULL) return false;
    memset(extents + put->extents_cap, 0, (cap - put->extents_cap) * sizeof(*extents));
    put->extents = extents;
    put->extents_cap = cap;
    return true;
}

static void start_write(struct put_slot *slot, bool is_synced,
                        void (*done)(struct write *write, int err))
{
    struct write *write = &slot->write;
    slot->state = SLOT_WRITING;
    slot->put->writes_inflight++;
    write->is_synced = is_synced;
    write->extent.crc32c = crc32c(0, write->block, write->extent.bytes);
    write->done = done;
    disk_writer_add(&slot->put->shard->writer, write);
    queue_note_work(slot->put->queue);
}

static void write_last(struct put *put);

static void on_streamed(struct write *write, int err)
{
    struct put_slot *slot = CONTAINER_OF(write, struct put_slot, write);
    struct put *put = slot->put;
    put->writes_inflight--;
    bool is_body = put->state == PUT_OPEN || put->state == PUT_DRAINING;
    is_body = is_body && slot->index < put->block_count;
    if (err != 0 && put->err == 0) put->err = err;
    if (err == 0 && is_body)
        put->extents[slot->index] = write->extent;
    else if (err == 0)
        segments_drop(&put->shard->segments, &write->extent);
    release_slot(put, slot);

    if (put->state == PUT_ABORTED) {
        if (put->writes_inflight == 0) destroy(put);
    } else if (put->state == PUT_DRAINING) {
        if (put->writes_inflight == 0) write_last(put);
    } else {
        check_wait(put);
    }
}

/* Blocks that are not being written yet are among the last ones of the body. */
static uint32_t first_unwritten(const struct put *put)
{
    uint32_t count = put->block_count;
    return count > PUT_BLOCKS_INFLIGHT_MAX ? count - PUT_BLOCKS_INFLIGHT_MAX : 0;
}

/* Sends the full blocks on their way, in the order of the body. */
static void stream_full(struct put *put)
{
    put->is_streaming = true;
    for (uint32_t index = first_unwritten(put); index < put->block_count; index++) {
        struct put_slot *slot = slot_of_index(put, index);
        if (slot == NULL || slot->state != SLOT_FULL) continue;
        if (grow_extents(put, index))
            start_write(slot, false, on_streamed);
        else if (put->err == 0)
            put->err = -ERR_MEMORY;
    }
}

static unsigned count_full(const struct put *put)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PUT_BLOCKS_INFLIGHT_MAX; i++)
        if (put->slots[i].state == SLOT_FULL) count++;
    return count;
}

/* --- the window --- */

static void *get_block(struct put *put)
{
    struct blocks *blocks = put->queue->blocks;
    bool is_small = put->block_count == 0 && put->size_hint <= PUT_LARGE_HINT_BYTES;
    enum block_size first = is_small ? BLOCK_SMALL : BLOCK_LARGE;
    void *block = block_get(blocks, first, BLOCK_FOR_INPUT);
    if (block != NULL) return block;
    return block_get(blocks, first == BLOCK_SMALL ? BLOCK_LARGE : BLOCK_SMALL, BLOCK_FOR_INPUT);
}

static struct put_slot *empty_slot(struct put *put)
{
    for (unsigned i = 0; i < PUT_BLOCKS_INFLIGHT_MAX; i++)
        if (put->slots[i].state == SLOT_EMPTY) return &put->slots[i];
    return NULL;
}

/* Makes a block ready to be filled. False: none is free, or the body is too long. */
static bool open_slot(struct put *put)
{
    ASSERT(put->filling == NULL);
    struct put_slot *slot = empty_slot(put);
    if (slot == NULL) return false;
    if (put->block_count == RECORD_EXTENTS_MAX) {
        put->err = -ERR_TOO_LARGE;
        return false;
    }
    void *block = get_block(put);
    if (block == NULL) return false;

    slot->write.block = block;
    slot->write.extent.bytes = 0;
    slot->index = put->block_count++;
    slot->state = SLOT_FILLING;
    put->filling = slot;
    return true;
}

static size_t room_in(const struct put *put, const struct put_slot *slot)
{
    return block_bytes(put->queue->blocks, slot->write.block) - slot->write.extent.bytes;
}

static void end_wait(struct put *put, int result)
{
    struct ring_op *op = put->wait_op;
    put->wait_op = NULL;
    blocks_wait_cancel(put->queue->blocks, &put->waiter);
    loop_defer(put->queue->loop, op, result);
}

static void on_block_free(struct blocks_waiter *waiter)
{
    check_wait(CONTAINER_OF(waiter, struct put, waiter));
}

/* Ends the wait for room when there is some, or never will be. */
static void check_wait(struct put *put)
{
    if (put->wait_op == NULL) return;
    if (put->err == 0 && put->filling == NULL && !open_slot(put) && put->err == 0) {
        /* The pool is empty, so what this put has in memory must leave it too: puts that waited
         * for each other would wait for ever. */
        if (count_full(put) > 0) stream_full(put);
        if (put->err == 0) {
            if (empty_slot(put) != NULL && !put->waiter.is_waiting)
                blocks_wait(put->queue->blocks, &put->waiter);
            return;
        }
    }
    end_wait(put, put->err);
}

/* --- the face: while the body comes --- */

int queue_put_begin(struct queue *queue, uint64_t size_hint, struct put **put_out)
{
    *put_out = NULL;
    if (queue->fatal != 0) return -ERR_FAILED_SYNC;
    if (queue_gate(queue) != 0) return -ERR_FULL;
    struct put *put = slab_get(&queue->puts);
    if (put == NULL) return -ERR_AGAIN;

    memset(put, 0, sizeof(*put));
    put->queue = queue;
    put->shard = queue->shards[0];
    put->size_hint = size_hint;
    put->waiter.ready = on_block_free;
    put->waiter.use = BLOCK_FOR_INPUT;
    for (unsigned i = 0; i < PUT_BLOCKS_INFLIGHT_MAX; i++) {
        put->slots[i].put = put;
        list_init(&put->slots[i].write.node);
    }
    if (!open_slot(put)) {
        slab_put(&queue->puts, put);
        return -ERR_AGAIN;
    }
    put->id = shard_next_id(put->shard);
    *put_out = put;
    return 0;
}

uint64_t queue_put_id(const struct put *put)
{
    return put->id;
}

char *queue_put_space(struct put *put, size_t *bytes_out)
{
    ASSERT(put->state == PUT_OPEN);
    *bytes_out = 0;
    if (put->err != 0) return NULL;
    if (put->filling == NULL && !open_slot(put)) return NULL;
    struct put_slot *slot = put->filling;
    *bytes_out = room_in(put, slot);
    return (char *)slot->write.block + slot->write.extent.bytes;
}

void queue_put_advance(struct put *put, size_t bytes)
{
    ASSERT(put->state == PUT_OPEN);
    if (bytes == 0) return;
    struct put_slot *slot = put->filling;
    ASSERT(slot != NULL);
    ASSERT(bytes <= room_in(put, slot));
    slot->write.extent.bytes += (uint32_t)bytes;
    put->advanced += bytes;
    if (room_in(put, slot) > 0) return;

    slot->state = SLOT_FULL;
    put->filling = NULL;
    if (put->is_streaming || count_full(put) >= PUT_STREAM_BLOCKS) stream_full(put);
}

void queue_put_wait(struct put *put, struct ring_op *op)
{
    ASSERT(put->state == PUT_OPEN);
    ASSERT(put->wait_op == NULL);
    put->wait_op = op;
    check_wait(put);
}

/* --- the end of the body --- */

static uint32_t bytes_of_block(struct put *put, uint32_t index)
{
    const struct put_slot *slot = slot_of_index(put, index);
    return slot != NULL ? slot->write.extent.bytes : put->extents[index].bytes;
}

/* The last block leaves the body. When it is being written, its completion gives up its place. */
static void drop_last_block(struct put *put)
{
    uint32_t index = --put->block_count;
    struct put_slot *slot = slot_of_index(put, index);
    if (slot != NULL && slot->state != SLOT_WRITING) {
        release_slot(put, slot);
    } else if (slot == NULL) {
        segments_drop(&put->shard->segments, &put->extents[index]);
        put->extents[index].bytes = 0;
    }
}

/* What was advanced past the body (the end-of-data mark) is cut off; where it has been written
 * already, readers stop before it. */
static void trim(struct put *put, uint64_t body_bytes)
{
    uint64_t excess = put->advanced - body_bytes;
    while (put->block_count > 0) {
        uint32_t bytes = bytes_of_block(put, put->block_count - 1);
        if (excess < bytes) break;
        excess -= bytes;
        drop_last_block(put);
    }
    if (excess == 0) return;
    struct put_slot *slot = slot_of_index(put, put->block_count - 1);
    if (slot != NULL && (slot->state == SLOT_FILLING || slot->state == SLOT_FULL))
        slot->write.extent.bytes -= (uint32_t)excess;
}

static int make_stored(struct put *put, uint64_t body_bytes, const struct envelope *envelope)
{
    struct queue *queue = put->queue;
    uint32_t memory_max = queue->options.memory_messages_max;
    put->is_spilled = queue->memory_count >= memory_max;
    struct record_head head = {
        .state = RECORD_QUEUED,
        .form = envelope->form,
        .id = put->id,
        .due_ms = put->is_spilled ? MAX(loop_wall_ms(queue->loop), 1) : 0,
        .received_ms = envelope->received_ms,
        .body_bytes = body_bytes,
        .trace_bytes = envelope->trace_bytes,
        .extent_count = put->block_count,
        .recipient_count = envelope->recipient_count,
    };
    int err = stored_create(&head, envelope, &put->stored);
    if (err != 0) return err;
    put->stored->message.shard = put->shard;
    if (!put->is_spilled) queue->memory_count++;
    return 0;
}

static void on_last_written(struct write *write, int err)
{
    struct put_slot *slot = CONTAINER_OF(write, struct put_slot, write);
    struct put *put = slot->put;
    ASSERT(put->state == PUT_WRITING);
    put->writes_inflight--;
    if (err != 0) {
        if (put->err == 0) put->err = err;
        release_slot(put, slot);
    } else {
        slot->state = SLOT_WRITTEN;
    }
    if (put->writes_inflight == 0) begin_commit(put);
}

/* Writes the blocks that are still in memory only. Those of a streamed message are synced
 * together with the others afterwards. */
static void write_last(struct put *put)
{
    if (put->err != 0) {
        fail(put, put->err);
        return;
    }
    put->state = PUT_WRITING;
    for (uint32_t index = first_unwritten(put); index < put->block_count; index++) {
        struct put_slot *slot = slot_of_index(put, index);
        if (slot != NULL) start_write(slot, !put->is_streaming, on_last_written);
    }
    if (put->writes_inflight == 0) begin_commit(put);
}

static void on_committed(struct job *job);

static void submit(struct put *put)
{
    put->state = PUT_COMMITTING;
    put->stored->message.owner = put;
    put->stored->job.kind = JOB_PUT;
    put->stored->job.done = on_committed;
    shard_submit(put->shard, &put->stored->job);
}

static void on_synced(struct segment_wait *wait, int err);

/* Syncs the segments of a streamed message one after the other, then commits. Its blocks went into
 * each segment in one stretch, so neighbours tell where the next one begins. */
static void sync_next(struct put *put)
{
    const struct message *message = &put->stored->message;
    uint32_t i = put->sync_next;
    while (i > 0 && i < message->extent_count &&
           message->extents[i].segment == message->extents[i - 1].segment)
        i++;
    if (i >= message->extent_count) {
        submit(put);
        return;
    }
    put->sync_next = i + 1;
    put->sync.done = on_synced;
    segment_sync(segments_find(&put->shard->segments, message->extents[i].segment), &put->sync);
}

static void on_synced(struct segment_wait *wait, int err)
{
    struct put *put = CONTAINER_OF(wait, struct put, sync);
    if (err != 0)
        fail(put, err);
    else
        sync_next(put);
}

/* Every write has ended. */
static void begin_commit(struct put *put)
{
    if (put->err != 0) {
        fail(put, put->err);
        return;
    }
    for (uint32_t i = 0; i < put->block_count; i++) {
        const struct put_slot *slot = slot_of_index(put, i);
        stored_set_extent(put->stored, i, slot != NULL ? &slot->write.extent : &put->extents[i]);
    }
    if (!put->is_streaming) {
        submit(put);
        return;
    }
    put->state = PUT_SYNCING;
    put->sync_next = 0;
    sync_next(put);
}

static void on_committed(struct job *job)
{
    struct stored *stored = CONTAINER_OF(job, struct stored, job);
    struct put *put = stored->message.owner;
    ASSERT(put->state == PUT_COMMITTING);
    stored->message.owner = NULL;
    if (job->result != 0) {
        fail(put, job->result);
        return;
    }
    for (uint32_t i = 0; i < stored->message.extent_count; i++)
        segments_commit(&put->shard->segments, &stored->message.extents[i]);
    counter_add(&put->queue->counters.puts, 1);
    put->state = PUT_DONE;
    struct ring_op *op = put->finish_op;
    put->finish_op = NULL;
    op->result = 0;
    op->done(op);
}

/* A put that failed before anything could be started: the answer comes with the next turn. */
static void fail_later(struct put *put, int err)
{
    struct ring_op *op = put->finish_op;
    put->finish_op = NULL;
    put->state = PUT_FAILED;
    put->err = err;
    counter_add(&put->queue->counters.aborts, 1);
    drop_extents(put);
    release_idle_slots(put);
    loop_defer(put->queue->loop, op, err);
}

void queue_put_finish(struct put *put, uint64_t body_bytes, const struct envelope *envelope,
                      struct ring_op *op)
{
    ASSERT(put->state == PUT_OPEN && put->wait_op == NULL);
    ASSERT(body_bytes <= put->advanced);
    put->finish_op = op;
    if (put->queue->fatal != 0) put->err = -ERR_FAILED_SYNC;
    if (put->err == 0) {
        trim(put, body_bytes);
        int err = make_stored(put, body_bytes, envelope);
        if (err != 0) put->err = err;
    }
    if (put->err != 0) {
        fail_later(put, put->err);
    } else if (put->writes_inflight > 0) {
        put->state = PUT_DRAINING;
    } else {
        /* Nothing fails inside this call: writes and the commit end in later turns. */
        write_last(put);
    }
}

/* The message keeps its body in memory while the pool is not too full. */
static void keep_blocks(struct put *put)
{
    struct blocks *blocks = put->queue->blocks;
    for (unsigned i = 0; i < PUT_BLOCKS_INFLIGHT_MAX; i++) {
        struct put_slot *slot = &put->slots[i];
        if (slot->state == SLOT_EMPTY) continue;
        ASSERT(slot->state == SLOT_WRITTEN);
        bool is_large = block_bytes(blocks, slot->write.block) == BLOCK_LARGE_BYTES;
        enum block_size size = is_large ? BLOCK_LARGE : BLOCK_SMALL;
        if (put->is_spilled || blocks_used(blocks, size) > blocks_total(blocks, size) / 2) {
            release_slot(put, slot);
            continue;
        }
        put->stored->message.blocks[slot->index] = slot->write.block;
        slot->write.block = NULL;
        slot->state = SLOT_EMPTY;
    }
}

struct message *queue_put_take(struct put *put)
{
    ASSERT(put->state == PUT_DONE);
    keep_blocks(put);
    struct stored *stored = put->stored;
    struct message *message = &stored->message;
    if (put->is_spilled) {
        stored_free(stored);
        message = NULL;
    } else {
        message->accepted_ns = loop_now_ns(put->queue->loop);
    }
    destroy(put);
    return message;
}

void queue_put_abort(struct put *put)
{
    if (put == NULL) return;
    ASSERT(put->state == PUT_OPEN || put->state == PUT_FAILED);
    if (put->wait_op != NULL) end_wait(put, -ERR_CANCELED);
    if (put->state == PUT_OPEN) {
        counter_add(&put->queue->counters.aborts, 1);
        drop_extents(put);
        release_idle_slots(put);
    }
    put->state = PUT_ABORTED;
    if (put->writes_inflight == 0) destroy(put);
}
