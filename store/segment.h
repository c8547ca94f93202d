/* segment.h - the segment files of one shard: numbered, preallocated, written front to back, and
 * used again when nothing in them is alive.
 *
 *     making -> free -> active -> used -> free, or removed when enough are free
 *
 * A segment is used again only when no committed record names a byte of it (`live`, as of the last
 * commit), no write or uncommitted message has a place in it (`pending`), and nobody reads from it
 * (`users`). New files are made ahead of need, by operations of the loop. Core thread. */
#pragma once

#include "ring/loop.h"
#include "store/record.h"

#define SEGMENT_SPARE_MIN 1    /* free ones to have at hand besides the active */
#define SEGMENT_FREE_MAX 8     /* more are deleted */
#define SEGMENT_HANDLES_MAX 64 /* open files; more only while they are in use */
#define SEGMENT_ZERO_BYTES (1u << 20)

enum segment_state {
    SEGMENT_MAKING,  /* a temporary file still */
    SEGMENT_OPENING, /* free, but without a handle yet */
    SEGMENT_FREE,
    SEGMENT_ACTIVE, /* places are given out in it */
    SEGMENT_USED,
    SEGMENT_REMOVING,
};

struct segments;

struct segment {
    struct list node; /* among the free */
    struct segments *owner;
    uint32_t number;
    enum segment_state state;
    bool is_missing; /* records name it, but there is no file */
    int file;
    uint64_t bytes;
    uint64_t live;
    uint32_t pending, users;
    uint64_t scanned_live; /* `live` when compaction found no more to move */
    struct ring_op op;     /* opening, removing */
    bool is_syncing;
    struct ring_op sync_op;
    struct list sync_running, sync_waiting; /* struct segment_wait */
};

/* Who waits for a sync that begins after now. */
struct segment_wait {
    struct list node;
    void (*done)(struct segment_wait *wait, int err);
};

struct segments_options {
    struct loop *loop;
    const char *directory; /* borrowed for the life of the segments */
    unsigned shard;
    uint64_t segment_bytes;
    bool is_direct; /* O_DIRECT */
    /* A free segment has come, or the last try to make one has failed. */
    void (*on_change)(void *owner);
    /* A sync has failed. */
    void (*on_fatal)(void *owner, int err);
    void *owner;
};

struct segment_maker {
    struct segment *segment; /* NULL: nothing is being made */
    unsigned step;
    int file;
    uint64_t at;
    int err;
    struct ring_op op;
    struct iovec zeros;
};

struct segments {
    struct segments_options options;
    struct segment **by_number;
    uint32_t number_cap;
    struct list free;
    uint32_t free_count, opening_count, used_count, open_count, removing_count;
    struct segment *active;
    uint64_t active_at;
    int directory_file;
    void *zeros;
    struct segment_maker maker;
    int make_err; /* of the last try; 0 after a success */
    bool is_closing;
};

/* Reads the directory; `live_of` tells the bytes alive in a number (0: none). Deletes leftovers of
 * files that were being made. Blocking. Segments become free in later turns of the loop. */
MUST_USE int segments_open(struct segments *segments, const struct segments_options *options,
                           uint64_t (*live_of)(void *owner, uint32_t number),
                           uint32_t number_count);
/* Stops making; true when nothing of it is in flight any more. */
bool segments_stop(struct segments *segments);
/* After segments_stop(). Closes the files; the loop has to turn once more. */
void segments_close(struct segments *segments);

/* Sees that a free segment is at hand or on its way; tries again after a failure. */
void segments_prepare(struct segments *segments);
/* A place for `room` bytes (a multiple of BLOCK_ALIGN) behind the one given out before. 0;
 * -ERR_AGAIN: a segment is on its way; or why none can be made. */
MUST_USE int segments_allocate(struct segments *segments, uint32_t room,
                               struct segment **segment_out, uint64_t *offset_out);
/* What became of an allocated place: a committed record names it; or it is given up. */
void segments_commit(struct segments *segments, const struct extent *extent);
void segments_drop(struct segments *segments, const struct extent *extent);
/* The committed record that named it is gone. */
void segments_release(struct segments *segments, const struct extent *extent);

/* NULL: no record should name that number. */
struct segment *segments_find(const struct segments *segments, uint32_t number);
void segment_path(const struct segment *segment, char *out, size_t cap);
int segment_open_flags(const struct segments *segments);
/* While held, the handle stays open and the segment is not used again. */
void segment_hold(struct segment *segment);
void segment_unhold(struct segment *segment);
/* A reader has opened the file: takes the handle, or closes it when there is one already. */
void segment_adopt(struct segment *segment, int file);
/* fdatasync; several that wait share one. -ERR_FAILED_SYNC after on_fatal(). */
void segment_sync(struct segment *segment, struct segment_wait *wait);

/* segment_make.c */
void segment_make(struct segments *segments);
/* Puts a finished segment among the free. */
void segment_set_free(struct segment *segment);
struct segment *segment_add(struct segments *segments, uint32_t number, enum segment_state state);
void segment_forget(struct segment *segment);
