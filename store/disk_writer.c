/* disk_writer.c - runs of blocks to the active segment.
 *
 * Happy path: take waiting blocks, give each its place, one writev; when it has completed (and,
 * where RWF_DSYNC is the slower way, fdatasync too) the blocks are done. A short write goes on
 * where it stopped. No room fails the blocks of the run; a failed sync is fatal and never tried
 * again. */
#include "store/disk_writer.h"

#include "ring/base/crash_point.h"
#include "ring/base/log.h"
#include "ring/base/memory.h"
#include "ring/blocks.h"

#include <stdlib.h>

static void start_run(struct write_run *run);

/* --- the end of a run --- */

static void tell(struct disk_writer *writer, struct write *write, int err)
{
    if (write->is_synced) {
        ASSERT(writer->synced_count > 0);
        writer->synced_count--;
    }
    write->done(write, err);
}

/* The blocks leave the run before the first done(), which may add others. */
static void end_run(struct write_run *run, int err)
{
    struct disk_writer *writer = run->writer;
    struct segment *segment = run->segment;
    struct list ended;
    list_init(&ended);
    list_append_all(&ended, &run->writes);
    run->segment = NULL;
    writer->inflight--;

    segment_hold(segment);
    struct list *node;
    while ((node = list_pop_front(&ended)) != NULL) {
        struct write *write = LIST_ENTRY(node, struct write, node);
        if (err != 0) segments_drop(writer->segments, &write->extent);
        tell(writer, write, err);
    }
    segment_unhold(segment);
}

static void note_duration(struct write_run *run)
{
    histogram_add(run->writer->sync_duration, loop_now_ns(run->writer->loop) - run->start_ns);
}

static void on_run_synced(struct segment_wait *wait, int err)
{
    struct write_run *run = CONTAINER_OF(wait, struct write_run, sync);
    if (err == 0) note_duration(run);
    end_run(run, err);
}

static void complete_run(struct write_run *run)
{
    CRASH_POINT("body_written");
    if (run->is_synced && run->writer->method == SYNC_FDATASYNC) {
        run->sync.done = on_run_synced;
        segment_sync(run->segment, &run->sync);
        return;
    }
    if (run->is_synced) note_duration(run);
    end_run(run, 0);
}

static bool is_want_of_room(int err)
{
    return err == -ERR_FULL || err == -EDQUOT || err == -ERR_TOO_LARGE;
}

/* What a failed write means: for want of room only these messages fail; but a write that should
 * have reached the disk and did not is a failed sync. */
static void fail_run(struct write_run *run, int err)
{
    struct segments *segments = run->writer->segments;
    log_text(LOG_ERROR, "write_failed", "shard %u, segment %u: %s", segments->options.shard,
             run->segment->number, err_str(err));
    bool is_dsync = run->is_synced && run->writer->method == SYNC_DSYNC;
    if (is_want_of_room(err)) {
        end_run(run, err == -EDQUOT ? -ERR_FULL : err);
    } else if (is_dsync) {
        segments->options.on_fatal(segments->options.owner, -ERR_FAILED_SYNC);
        end_run(run, -ERR_FAILED_SYNC);
    } else {
        end_run(run, -ERR_IO);
    }
}

/* --- writing --- */

/* Passes over the pieces that are written. Direct writes begin at whole units: a partly written
 * one is written again. */
static void advance(struct write_run *run, uint64_t bytes)
{
    bytes = bytes / BLOCK_ALIGN * BLOCK_ALIGN;
    run->bytes_done += bytes;
    if (bytes > 0) run->tries = 0;
    while (bytes > 0) {
        struct iovec *piece = &run->pieces[run->piece_next];
        size_t step = MIN(bytes, piece->iov_len);
        piece->iov_base = (char *)piece->iov_base + step;
        piece->iov_len -= step;
        bytes -= step;
        if (piece->iov_len == 0) run->piece_next++;
    }
}

static void on_written(struct ring_op *op)
{
    struct write_run *run = CONTAINER_OF(op, struct write_run, op);
    bool is_interrupted = op->result == -EINTR || op->result == -ERR_AGAIN;
    if (op->result < 0 && !is_interrupted) {
        fail_run(run, op->result);
        return;
    }
    if (op->result > 0) advance(run, MIN((uint64_t)op->result, run->bytes - run->bytes_done));
    if (run->bytes_done == run->bytes)
        complete_run(run);
    else if (++run->tries > WRITE_TRIES_MAX)
        fail_run(run, -ERR_IO);
    else
        start_run(run);
}

static void start_run(struct write_run *run)
{
    struct disk_writer *writer = run->writer;
    ASSERT(run->piece_next < run->piece_count);
    run->op.done = on_written;
    loop_writev(writer->loop, run->segment->file, run->pieces + run->piece_next,
                run->piece_count - run->piece_next, run->offset + run->bytes_done,
                run->is_synced && writer->method == SYNC_DSYNC, &run->op);
}

/* --- gathering --- */

static void fail_waiting(struct disk_writer *writer, int err)
{
    struct list ended;
    list_init(&ended);
    list_append_all(&ended, &writer->synced);
    list_append_all(&ended, &writer->plain);
    struct list *node;
    while ((node = list_pop_front(&ended)) != NULL) {
        tell(writer, LIST_ENTRY(node, struct write, node), err);
    }
}

static struct write_run *idle_run(struct disk_writer *writer)
{
    for (unsigned i = 0; i < WRITE_RUNS_MAX; i++)
        if (writer->runs[i].segment == NULL) return &writer->runs[i];
    return NULL;
}

/* Gives `write` the next place of the run. False: it does not fit into the run's segment. */
static bool add_to_run(struct write_run *run, struct write *write, int *err_out)
{
    struct segment *segment;
    uint64_t offset;
    uint32_t room = (uint32_t)ROUND_UP(write->extent.bytes, (uint32_t)BLOCK_ALIGN);
    struct segments *segments = run->writer->segments;
    if (run->segment != NULL && segments->active_at + room > run->segment->bytes) return false;
    *err_out = segments_allocate(segments, room, &segment, &offset);
    if (*err_out != 0) return false;
    if (run->segment == NULL) {
        run->segment = segment;
        run->offset = offset;
    }
    ASSERT(run->segment == segment);
    ASSERT(run->offset + run->bytes == offset);

    write->extent.segment = segment->number;
    write->extent.at = (uint32_t)(offset / BLOCK_ALIGN);
    run->pieces[run->piece_count++] = (struct iovec){write->block, room};
    run->bytes += room;
    list_push_back(&run->writes, &write->node);
    return true;
}

/* A run of many messages that is on its way is worth waiting for: the next one then gathers as
 * many, and each costs less. After a small one, waiting would only leave the disk idle. */
static bool is_worth_waiting(const struct disk_writer *writer)
{
    for (unsigned i = 0; i < WRITE_RUNS_MAX; i++) {
        const struct write_run *run = &writer->runs[i];
        if (run->segment != NULL && run->is_synced && run->piece_count >= WRITE_PIECES_MANY)
            return true;
    }
    return false;
}

/* Puts a run together and starts it. False when nothing could be started. */
static bool gather(struct disk_writer *writer, struct list *waiting, bool is_synced)
{
    struct write_run *run = idle_run(writer);
    if (run == NULL || list_is_empty(waiting)) return false;
    if (is_synced && is_worth_waiting(writer)) return false;
    uint64_t bytes_max = is_synced ? WRITE_SYNCED_BYTES_MAX : WRITE_PLAIN_BYTES_MAX;
    run->bytes = run->bytes_done = 0;
    run->piece_count = run->piece_next = 0;
    run->tries = 0;
    run->is_synced = is_synced;

    int err = 0;
    while (!list_is_empty(waiting) && run->piece_count < LOOP_IOV_MAX && run->bytes < bytes_max) {
        struct list *node = waiting->next;
        list_remove(node);
        if (!add_to_run(run, LIST_ENTRY(node, struct write, node), &err)) {
            list_push_front(waiting, node);
            break;
        }
    }
    if (run->segment == NULL) {
        /* -ERR_AGAIN: a segment is being made, on_change() comes back here. */
        if (err != -ERR_AGAIN) fail_waiting(writer, err);
        return false;
    }
    writer->inflight++;
    run->start_ns = loop_now_ns(writer->loop);
    start_run(run);
    return true;
}

void disk_writer_flush(struct disk_writer *writer)
{
    if (writer->fatal != 0) {
        fail_waiting(writer, -ERR_FAILED_SYNC);
        return;
    }
    bool is_started = true;
    while (is_started)
        is_started = gather(writer, &writer->synced, true) || gather(writer, &writer->plain, false);
}

/* --- the outside --- */

void disk_writer_init(struct disk_writer *writer, struct loop *loop, struct segments *segments,
                      enum sync_method method, struct histogram *sync_duration)
{
    *writer = (struct disk_writer){
        .loop = loop, .segments = segments, .method = method, .sync_duration = sync_duration};
    list_init(&writer->synced);
    list_init(&writer->plain);
    writer->runs = xcalloc(WRITE_RUNS_MAX, sizeof(*writer->runs));
    for (unsigned i = 0; i < WRITE_RUNS_MAX; i++) {
        writer->runs[i].writer = writer;
        list_init(&writer->runs[i].writes);
    }
}

void disk_writer_finish(struct disk_writer *writer)
{
    ASSERT(disk_writer_is_idle(writer));
    free(writer->runs);
    writer->runs = NULL;
}

void disk_writer_add(struct disk_writer *writer, struct write *write)
{
    ASSERT(write->extent.bytes > 0 && write->extent.bytes <= BLOCK_LARGE_BYTES);
    ASSERT(write->done != NULL);
    if (write->is_synced) writer->synced_count++;
    list_push_back(write->is_synced ? &writer->synced : &writer->plain, &write->node);
}

void disk_writer_set_fatal(struct disk_writer *writer, int err)
{
    ASSERT(err != 0);
    writer->fatal = err;
}

bool disk_writer_is_idle(const struct disk_writer *writer)
{
    return writer->inflight == 0 && list_is_empty(&writer->synced) && list_is_empty(&writer->plain);
}
