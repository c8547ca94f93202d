/* put.h - one message on its way in: a window of blocks over its body.
 *
 *     OPEN -> DRAINING -> WRITING -> SYNCING -> COMMITTING -> DONE
 *
 * A message of a few blocks is written in one piece at its end and its blocks stay with it for the
 * delivery. A larger one streams: each block is written as soon as it is full and then given back,
 * so that memory stays flat; before its commit every segment it touched is synced. Any failure
 * goes to FAILED, with nothing left but what the owner ends with queue_put_abort(). */
#pragma once

#include "store/shard.h"

#define PUT_BLOCKS_INFLIGHT_MAX 4 /* blocks a put holds, being filled or written */
#define PUT_STREAM_BLOCKS 3       /* full ones at which it begins to stream */
#define PUT_LARGE_HINT_BYTES BLOCK_SMALL_BYTES

enum put_state {
    PUT_OPEN,
    PUT_DRAINING,   /* ended; streamed blocks are still being written */
    PUT_WRITING,    /* the last blocks are */
    PUT_SYNCING,    /* a streamed message: its segments are */
    PUT_COMMITTING, /* the committer has it */
    PUT_DONE,
    PUT_FAILED,
    PUT_ABORTED, /* nobody's any more; waits for its writes */
};

enum put_slot_state {
    SLOT_EMPTY,
    SLOT_FILLING,
    SLOT_FULL,
    SLOT_WRITING,
    SLOT_WRITTEN, /* the block is kept for the delivery */
};

/* A block in memory. */
struct put_slot {
    struct write write; /* block, and extent.bytes filled so far */
    struct put *put;
    uint32_t index; /* of the block in the body */
    enum put_slot_state state;
};

struct put {
    struct queue *queue;
    struct shard *shard;
    uint64_t id, size_hint;
    enum put_state state;
    int err; /* why the body cannot be stored */
    bool is_streaming;
    bool is_spilled; /* too many messages in memory: it stays on disk until it is leased */
    struct put_slot slots[PUT_BLOCKS_INFLIGHT_MAX];
    struct put_slot *filling; /* NULL: none */
    uint32_t block_count;     /* begun so far; after the end those that belong to the body */
    uint32_t writes_inflight;
    uint64_t advanced; /* bytes */
    /* Places of streamed blocks, by index; bytes == 0: that block was not streamed. */
    struct extent *extents;
    uint32_t extents_cap;
    uint32_t sync_next; /* extent to look at next for a segment to be synced */
    struct segment_wait sync;
    struct ring_op *wait_op, *finish_op;
    struct blocks_waiter waiter;
    struct stored *stored;
};
