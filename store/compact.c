/* compact.c - moving extents out of nearly empty segments.
 *
 * Scan (committer) -> read each -> write each -> change the records (committer) -> scan on. The
 * old place is given up only when the record with the new one is committed; the committer refuses
 * the change when the message was leased, changed or deleted meanwhile, and then the new place is
 * given up instead. */
#include "store/compact.h"

#include "ring/base/log.h"
#include "store/crc32c.h"
#include "store/queue_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define PATH_CAP 4200

/* One extent on its way. */
struct mover {
    struct compactor *compactor;
    struct ring_op read_op;
    struct write write;
    struct move_job job;
};

struct compactor {
    struct shard *shard;
    struct segment *segment; /* being emptied, held; NULL: idle */
    struct scan_job scan;
    struct mover movers[INDEX_FIND_MAX];
    unsigned moving; /* movers in flight */
    bool is_wanted;  /* free segments are few: go on until they are enough */
    bool is_short;   /* a block, room or the index was lacking: later */
    bool is_stopping;
};

static void scan(struct compactor *compactor);

/* --- which segment --- */

static bool is_sparse(const struct segment *segment)
{
    return segment->state == SEGMENT_USED && !segment->is_missing && segment->pending == 0 &&
           segment->live > 0 && segment->live != segment->scanned_live &&
           segment->live < segment->bytes / 100 * COMPACT_LIVE_PERCENT;
}

static struct segment *pick(const struct segments *segments)
{
    struct segment *emptiest = NULL;
    for (uint32_t number = 0; number < segments->number_cap; number++) {
        struct segment *segment = segments->by_number[number];
        if (segment == NULL || !is_sparse(segment)) continue;
        if (emptiest == NULL || segment->live < emptiest->live) emptiest = segment;
    }
    return emptiest;
}

static void end_segment(struct compactor *compactor)
{
    struct segment *segment = compactor->segment;
    compactor->segment = NULL;
    if (!compactor->is_short) segment->scanned_live = segment->live;
    segment_unhold(segment);
    if (!compactor->is_short) compactor_run(compactor);
}

/* --- one extent --- */

static void end_move(struct mover *mover)
{
    struct compactor *compactor = mover->compactor;
    block_put(compactor->shard->queue->blocks, mover->write.block);
    mover->write.block = NULL;
    ASSERT(compactor->moving > 0);
    if (--compactor->moving > 0) return;
    bool goes_on = !compactor->is_stopping && !compactor->is_short;
    if (goes_on && !compactor->scan.find.is_end)
        scan(compactor);
    else
        end_segment(compactor);
}

static void on_moved(struct job *job)
{
    struct mover *mover = CONTAINER_OF(job, struct mover, job.job);
    struct shard *shard = mover->compactor->shard;
    if (job->result == 0) {
        segments_commit(&shard->segments, &mover->job.move.to);
        segments_release(&shard->segments, &mover->job.move.from);
        counter_add(&shard->queue->counters.compacted_messages, 1);
    } else {
        segments_drop(&shard->segments, &mover->job.move.to);
    }
    end_move(mover);
}

static void on_written(struct write *write, int err)
{
    struct mover *mover = CONTAINER_OF(write, struct mover, write);
    if (err != 0) {
        mover->compactor->is_short = true;
        end_move(mover);
        return;
    }
    mover->job.move.to = write->extent;
    mover->job.job.kind = JOB_MOVE;
    mover->job.job.done = on_moved;
    shard_submit(mover->compactor->shard, &mover->job.job);
}

static void on_read(struct ring_op *op)
{
    struct mover *mover = CONTAINER_OF(op, struct mover, read_op);
    struct compactor *compactor = mover->compactor;
    const struct extent_move *move = &mover->job.move;
    uint32_t bytes = move->from.bytes;
    bool is_read = op->result >= 0 && (uint32_t)op->result >= bytes;
    if (!is_read || crc32c(0, mover->write.block, bytes) != move->from.crc32c) {
        /* Not touched: the alarm is raised when the message is read for its delivery, and a message
         * that was deleted meanwhile has the right to look like this. */
        end_move(mover);
        return;
    }
    mover->write.is_synced = true;
    mover->write.extent = (struct extent){.bytes = bytes, .crc32c = move->from.crc32c};
    mover->write.done = on_written;
    disk_writer_add(&compactor->shard->writer, &mover->write);
    queue_note_work(compactor->shard->queue);
}

static bool start_move(struct compactor *compactor, struct mover *mover,
                       const struct extent_move *found)
{
    struct queue *queue = compactor->shard->queue;
    void *block = block_get(queue->blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    if (block == NULL) return false;
    mover->job.move = *found;
    mover->write.block = block;
    mover->read_op.done = on_read;
    compactor->moving++;
    loop_read(queue->loop, compactor->segment->file, block,
              ROUND_UP((size_t)found->from.bytes, (size_t)BLOCK_ALIGN),
              (uint64_t)found->from.at * BLOCK_ALIGN, &mover->read_op);
    return true;
}

/* --- the scan --- */

static void on_scanned(struct job *job)
{
    struct compactor *compactor = CONTAINER_OF(job, struct compactor, scan.job);
    const struct extent_find *find = &compactor->scan.find;
    if (job->result != 0) compactor->is_short = true;
    bool goes_on = job->result == 0 && !compactor->is_stopping;
    for (uint32_t i = 0; goes_on && i < find->count; i++) {
        goes_on = start_move(compactor, &compactor->movers[i], &find->found[i]);
        if (!goes_on) compactor->is_short = true;
    }
    if (compactor->moving > 0) return;
    if (goes_on && !find->is_end)
        scan(compactor);
    else
        end_segment(compactor);
}

static void scan(struct compactor *compactor)
{
    compactor->scan.job.kind = JOB_SCAN;
    compactor->scan.job.done = on_scanned;
    shard_submit(compactor->shard, &compactor->scan.job);
}

/* --- starting --- */

static void begin(struct compactor *compactor)
{
    compactor->scan.find = (struct extent_find){.segment = compactor->segment->number};
    scan(compactor);
}

static void on_opened(struct ring_op *op)
{
    struct compactor *compactor = CONTAINER_OF(op, struct compactor, movers[0].read_op);
    compactor->moving--;
    if (op->result >= 0) segment_adopt(compactor->segment, op->result);
    if (op->result < 0 || compactor->is_stopping) {
        compactor->is_short = true;
        end_segment(compactor);
        return;
    }
    begin(compactor);
}

void compactor_run(struct compactor *compactor)
{
    struct segments *segments = &compactor->shard->segments;
    if (compactor->segment != NULL || compactor->is_stopping) return;
    if (compactor->shard->fatal != 0) return;
    uint32_t free_count = segments->free_count;
    if (free_count >= COMPACT_FREE_COUNT) compactor->is_wanted = false;
    if (free_count <= SEGMENT_SPARE_MIN) compactor->is_wanted = true;
    struct segment *segment = compactor->is_wanted ? pick(segments) : NULL;
    if (segment == NULL) return;

    segment_hold(segment);
    compactor->segment = segment;
    compactor->is_short = false;
    if (segment->file != LOOP_FILE_NONE) {
        begin(compactor);
        return;
    }
    char path[PATH_CAP];
    segment_path(segment, path, sizeof(path));
    compactor->moving++;
    compactor->movers[0].read_op.done = on_opened;
    loop_open(compactor->shard->queue->loop, path, segment_open_flags(segments), 0,
              &compactor->movers[0].read_op);
}

struct compactor *compactor_create(struct shard *shard)
{
    struct compactor *compactor = xcalloc(1, sizeof(*compactor));
    compactor->shard = shard;
    for (unsigned i = 0; i < INDEX_FIND_MAX; i++)
        compactor->movers[i].compactor = compactor;
    return compactor;
}

bool compactor_stop(struct compactor *compactor)
{
    compactor->is_stopping = true;
    return compactor->segment == NULL;
}

void compactor_destroy(struct compactor *compactor)
{
    if (compactor == NULL) return;
    ASSERT(compactor->segment == NULL);
    free(compactor);
}
