/* disk_writer.h - gathers the blocks of one turn of the loop and writes them in one go.
 *
 * Places are given out when a run is put together, not before, so all blocks of a run are
 * neighbours in one segment and go down with one write. Durable writes (the ends of messages) and
 * plain ones (the middle of a large message, which is synced before its commit) are not mixed: a
 * flush is paid for the former only. Core thread. */
#pragma once

#include "ring/base/counter.h"
#include "store/segment.h"
#include "store/spool.h"

#define WRITE_PIECES_MANY 32              /* in a run: the next one waits for it */
#define WRITE_RUNS_MAX 2                  /* in flight; meanwhile the next one gathers */
#define WRITE_SYNCED_BYTES_MAX (8u << 20) /* in one durable run */
#define WRITE_PLAIN_BYTES_MAX (1u << 20)  /* in one plain run: others wait behind it */
#define WRITE_TRIES_MAX 16                /* without progress */

/* A block on its way to the disk. The block is the writer's until done(). */
struct write {
    struct list node;
    void *block;
    bool is_synced;
    /* In: bytes and crc32c. Out, when err is 0: the place, which is the receiver's to commit or
     * drop. */
    struct extent extent;
    void (*done)(struct write *write, int err);
};

struct disk_writer;

struct write_run {
    struct disk_writer *writer;
    struct segment *segment; /* NULL: not in use */
    struct list writes;
    bool is_synced;
    uint64_t offset, bytes, bytes_done;
    uint64_t start_ns;
    unsigned tries;
    uint32_t piece_count, piece_next;
    struct iovec pieces[LOOP_IOV_MAX];
    struct ring_op op;
    struct segment_wait sync;
};

struct disk_writer {
    struct loop *loop;
    struct segments *segments;
    enum sync_method method;
    struct histogram *sync_duration;
    struct list synced, plain; /* waiting */
    struct write_run *runs;    /* WRITE_RUNS_MAX */
    uint32_t inflight;
    uint32_t synced_count; /* durable writes that wait or are in flight */
    int fatal;
};

void disk_writer_init(struct disk_writer *writer, struct loop *loop, struct segments *segments,
                      enum sync_method method, struct histogram *sync_duration);
/* Nothing may be on its way. */
void disk_writer_finish(struct disk_writer *writer);
/* done() comes from a later turn. */
void disk_writer_add(struct disk_writer *writer, struct write *write);
/* Starts what can be started: at the end of a turn. */
void disk_writer_flush(struct disk_writer *writer);
/* A sync has failed: everything that waits, and everything that comes, fails. */
void disk_writer_set_fatal(struct disk_writer *writer, int err);
/* Ends of messages that will be on the disk soon. */
static inline uint32_t disk_writer_synced_count(const struct disk_writer *writer)
{
    return writer->synced_count;
}
bool disk_writer_is_idle(const struct disk_writer *writer);
