/* body.c - reading a body, one extent at a time, the next one ahead.
 *
 * Blocks that are still in memory are handed out as they are. Others are read directly from their
 * segment and must pass their checksum before a byte of them is seen. While the caller sends one
 * piece the next is read. */
#include "store/queue_internal.h"

#include "store/crc32c.h"

#define PATH_CAP 4200

enum ahead_state {
    AHEAD_NONE,
    AHEAD_BLOCK,   /* waits for a block */
    AHEAD_READING, /* the file is being opened or read */
    AHEAD_READY,
    AHEAD_FAILED,
    AHEAD_CLOSING, /* reading still, but nobody wants it */
};

static void start_read(struct body_reader *reader, struct segment *segment);

static const struct extent *next_extent(const struct body_reader *reader)
{
    ASSERT(reader->extent_next < reader->message->extent_count);
    return &reader->message->extents[reader->extent_next];
}

static bool is_in_memory(const struct body_reader *reader)
{
    return reader->message->blocks[reader->extent_next] != NULL;
}

static struct segment *segment_of(const struct body_reader *reader)
{
    return segments_find(&reader->message->shard->segments, next_extent(reader)->segment);
}

/* Hands out the next extent, whose bytes are at `data`. What lies behind the body's end is cut. */
static void hand_out(struct body_reader *reader, const void *data)
{
    uint64_t bytes = MIN((uint64_t)next_extent(reader)->bytes, reader->bytes_left);
    reader->bytes = slice_of(data, (size_t)bytes);
    reader->bytes_left -= bytes;
    reader->extent_next++;
}

static void release_ahead(struct body_reader *reader)
{
    block_put(reader->queue->blocks, reader->ahead);
    reader->ahead = NULL;
}

/* --- reading ahead --- */

static void start_ahead(struct body_reader *reader);

static void take_ahead(struct body_reader *reader)
{
    ASSERT(reader->ahead_state == AHEAD_READY);
    reader->current = reader->ahead;
    reader->ahead = NULL;
    reader->ahead_state = AHEAD_NONE;
    hand_out(reader, reader->current);
    start_ahead(reader);
}

static void end_read(struct body_reader *reader, int err)
{
    struct ring_op *op = reader->op;
    reader->op = NULL;
    if (reader->ahead_state == AHEAD_CLOSING) {
        release_ahead(reader);
        reader->ahead_state = AHEAD_NONE;
        err = 0;
    } else if (err != 0) {
        release_ahead(reader);
        reader->ahead_state = AHEAD_FAILED;
        reader->ahead_err = err;
    } else {
        reader->ahead_state = AHEAD_READY;
        if (op != NULL) take_ahead(reader);
    }
    if (op == NULL) return;
    op->result = err;
    op->done(op);
}

static int mark_corrupt(struct body_reader *reader, const char *what)
{
    struct message *message = reader->message;
    message_alarm("body_corrupt", message->id, what);
    stored_of(message)->is_body_corrupt = true;
    return -ERR_CORRUPT;
}

static int check_ahead(struct body_reader *reader)
{
    const struct extent *extent = next_extent(reader);
    if (crc32c(0, reader->ahead, extent->bytes) == extent->crc32c) return 0;
    return mark_corrupt(reader, "its checksum does not fit");
}

static void on_read(struct ring_op *op)
{
    struct body_reader *reader = CONTAINER_OF(op, struct body_reader, read_op);
    struct segment *segment = segment_of(reader);
    bool is_wanted = reader->ahead_state != AHEAD_CLOSING;
    int err = op->result < 0 ? op->result : 0;
    if (op->result > 0) {
        /* Direct reads begin at whole units, so a partly read one is read again. */
        uint32_t bytes = reader->ahead_bytes + (uint32_t)op->result;
        bool is_whole = bytes >= next_extent(reader)->bytes;
        uint32_t before = reader->ahead_bytes;
        reader->ahead_bytes = is_whole ? bytes : bytes / BLOCK_ALIGN * BLOCK_ALIGN;
        if (!is_whole && reader->ahead_bytes == before) {
            err = -ERR_IO;
        } else if (!is_whole && is_wanted) {
            start_read(reader, segment);
            return;
        }
    }
    if (err == 0 && is_wanted)
        err =
            op->result == 0 ? mark_corrupt(reader, "the file ends before it") : check_ahead(reader);
    segment_unhold(segment);
    end_read(reader, err);
}

static void start_read(struct body_reader *reader, struct segment *segment)
{
    const struct extent *extent = next_extent(reader);
    uint64_t offset = (uint64_t)extent->at * BLOCK_ALIGN + reader->ahead_bytes;
    size_t bytes = ROUND_UP((size_t)extent->bytes, (size_t)BLOCK_ALIGN) - reader->ahead_bytes;
    reader->read_op.done = on_read;
    loop_read(reader->queue->loop, segment->file, (char *)reader->ahead + reader->ahead_bytes,
              bytes, offset, &reader->read_op);
}

static void on_opened(struct ring_op *op)
{
    struct body_reader *reader = CONTAINER_OF(op, struct body_reader, read_op);
    struct segment *segment = segment_of(reader);
    if (op->result >= 0) segment_adopt(segment, op->result);
    if (op->result < 0 || reader->ahead_state == AHEAD_CLOSING) {
        int err = op->result;
        if (err == -ERR_NOT_FOUND) err = mark_corrupt(reader, "its file is missing");
        segment_unhold(segment);
        end_read(reader, MIN(err, 0));
        return;
    }
    start_read(reader, segment);
}

/* A segment that nothing is known of, or without a file, fails in the next turn like a read. */
static void on_missing(struct ring_op *op)
{
    struct body_reader *reader = CONTAINER_OF(op, struct body_reader, read_op);
    end_read(reader, mark_corrupt(reader, "its file is missing"));
}

static void open_and_read(struct body_reader *reader)
{
    struct loop *loop = reader->queue->loop;
    struct segment *segment = segment_of(reader);
    reader->ahead_state = AHEAD_READING;
    reader->ahead_bytes = 0;
    if (segment == NULL || segment->is_missing) {
        reader->read_op.done = on_missing;
        loop_defer(loop, &reader->read_op, 0);
        return;
    }
    segment_hold(segment);
    if (segment->file != LOOP_FILE_NONE) {
        start_read(reader, segment);
        return;
    }
    char path[PATH_CAP];
    segment_path(segment, path, sizeof(path));
    reader->read_op.done = on_opened;
    loop_open(loop, path, segment_open_flags(segment->owner), 0, &reader->read_op);
}

static void on_block_free(struct blocks_waiter *waiter)
{
    struct body_reader *reader = CONTAINER_OF(waiter, struct body_reader, waiter);
    ASSERT(reader->ahead_state == AHEAD_BLOCK);
    reader->ahead_state = AHEAD_NONE;
    start_ahead(reader);
}

/* Begins to read the next extent. Without a free block only a caller who waits is worth waiting. */
static void start_ahead(struct body_reader *reader)
{
    if (reader->ahead_state != AHEAD_NONE || reader->bytes_left == 0 || is_in_memory(reader))
        return;
    struct blocks *blocks = reader->queue->blocks;
    reader->ahead = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_DELIVERY);
    if (reader->ahead != NULL) {
        open_and_read(reader);
    } else if (reader->op != NULL) {
        reader->ahead_state = AHEAD_BLOCK;
        reader->waiter.ready = on_block_free;
        reader->waiter.use = BLOCK_FOR_DELIVERY;
        blocks_wait(blocks, &reader->waiter);
    }
}

/* --- the face --- */

void body_open(struct body_reader *reader, struct queue *queue, struct message *message)
{
    *reader =
        (struct body_reader){.message = message, .queue = queue, .bytes_left = message->body_bytes};
}

static void release_current(struct body_reader *reader)
{
    block_put(reader->queue->blocks, reader->current);
    reader->current = NULL;
    reader->bytes = SLICE("");
}

bool body_read(struct body_reader *reader, struct ring_op *op)
{
    ASSERT(reader->op == NULL);
    release_current(reader);
    if (reader->bytes_left == 0) return true;
    if (is_in_memory(reader)) {
        hand_out(reader, reader->message->blocks[reader->extent_next]);
        start_ahead(reader);
        return true;
    }
    if (reader->ahead_state == AHEAD_READY) {
        take_ahead(reader);
        return true;
    }
    if (reader->ahead_state == AHEAD_FAILED) {
        loop_defer(reader->queue->loop, op, reader->ahead_err);
        return false;
    }
    reader->op = op;
    start_ahead(reader);
    return false;
}

bool body_close(struct body_reader *reader, struct ring_op *op)
{
    release_current(reader);
    reader->op = NULL;
    reader->bytes_left = 0;
    if (reader->ahead_state == AHEAD_READING) {
        reader->ahead_state = AHEAD_CLOSING;
        reader->op = op;
        return false;
    }
    if (reader->ahead_state == AHEAD_BLOCK)
        blocks_wait_cancel(reader->queue->blocks, &reader->waiter);
    release_ahead(reader);
    reader->ahead_state = AHEAD_NONE;
    return true;
}
