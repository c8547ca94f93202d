/* segment_make.c - makes a segment file ahead of need.
 *
 *     open N.new -> allocate -> zero-fill -> fsync -> rename to N.seg -> fsync of the directory
 *
 * fallocate() alone would leave unwritten extents, so that the first write of every place changes
 * metadata and its sync waits for the journal; zeros written once keep that away for ever. Only a
 * whole file gets its name: whatever is called .seg can be used. */
#include "store/segment.h"

#include "ring/base/crash_point.h"
#include "ring/base/log.h"
#include "ring/blocks.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PATH_CAP 4200

static void start_open(struct segments *segments);
static void start_allocate(struct segments *segments);
static void start_zero(struct segments *segments);
static void start_sync(struct segments *segments);
static void start_rename(struct segments *segments);
static void start_open_directory(struct segments *segments);
static void start_sync_directory(struct segments *segments);

/* Each step starts one operation; the next begins when it has succeeded. */
static void (*const steps[])(struct segments *segments) = {
    start_open,   start_allocate,       start_zero,           start_sync,
    start_rename, start_open_directory, start_sync_directory,
};

static void new_path(const struct segments *segments, char *out, size_t cap)
{
    segment_path(segments->maker.segment, out, cap);
    size_t len = strlen(out);
    snprintf(out + len - 4, 5, ".new");
}

static void end(struct segments *segments)
{
    struct segment_maker *maker = &segments->maker;
    struct segment *segment = maker->segment;
    maker->segment = NULL;
    segments->make_err = maker->err;
    if (maker->err == 0) {
        CRASH_POINT("segment_made");
        segment->file = maker->file;
        segments->open_count++;
        segment_set_free(segment);
        return;
    }
    log_text(LOG_WARN, "segment_not_made", "shard %u, segment %u: %s", segments->options.shard,
             segment->number, err_str(maker->err));
    segment_forget(segment);
    segments->options.on_change(segments->options.owner);
}

static void on_unlinked(struct ring_op *op)
{
    end(CONTAINER_OF(op, struct segments, maker.op));
}

/* Under either name: which one it has depends on how far it came. */
static void on_failed_unlinked(struct ring_op *op)
{
    struct segments *segments = CONTAINER_OF(op, struct segments, maker.op);
    char path[PATH_CAP];
    segment_path(segments->maker.segment, path, sizeof(path));
    op->done = on_unlinked;
    loop_unlink(segments->options.loop, path, op);
}

static void fail(struct segments *segments, int err)
{
    struct segment_maker *maker = &segments->maker;
    maker->err = err == -EDQUOT ? -ERR_FULL : err;
    if (maker->file != LOOP_FILE_NONE) loop_close(segments->options.loop, maker->file, NULL);
    maker->file = LOOP_FILE_NONE;
    char path[PATH_CAP];
    new_path(segments, path, sizeof(path));
    maker->op.done = on_failed_unlinked;
    loop_unlink(segments->options.loop, path, &maker->op);
}

static void next_step(struct segments *segments)
{
    struct segment_maker *maker = &segments->maker;
    maker->step++;
    if (maker->step == ARRAY_LEN(steps))
        end(segments);
    else
        steps[maker->step](segments);
}

static void on_step(struct ring_op *op)
{
    struct segments *segments = CONTAINER_OF(op, struct segments, maker.op);
    if (op->result < 0)
        fail(segments, op->result);
    else if (segments->is_closing)
        fail(segments, -ERR_CANCELED);
    else
        next_step(segments);
}

static void on_open(struct ring_op *op)
{
    struct segments *segments = CONTAINER_OF(op, struct segments, maker.op);
    if (op->result >= 0) segments->maker.file = op->result;
    on_step(op);
}

static void start_open(struct segments *segments)
{
    char path[PATH_CAP];
    new_path(segments, path, sizeof(path));
    segments->maker.op.done = on_open;
    loop_open(segments->options.loop, path, segment_open_flags(segments) | O_CREAT | O_TRUNC, 0600,
              &segments->maker.op);
}

static void on_allocate(struct ring_op *op)
{
    if (op->result == -EOPNOTSUPP) op->result = 0; /* the zeros allocate as well */
    on_step(op);
}

static void start_allocate(struct segments *segments)
{
    segments->maker.op.done = on_allocate;
    loop_allocate(segments->options.loop, segments->maker.file, 0, segments->options.segment_bytes,
                  &segments->maker.op);
}

static void on_zero(struct ring_op *op)
{
    struct segments *segments = CONTAINER_OF(op, struct segments, maker.op);
    struct segment_maker *maker = &segments->maker;
    /* A short write goes on at the last whole block: zeros may be written twice. */
    if (op->result == -EINTR || op->result == -ERR_AGAIN)
        op->result = 0;
    else if (op->result >= 0 && op->result < BLOCK_ALIGN)
        op->result = -ERR_IO;
    if (op->result > 0) maker->at += (uint64_t)op->result / BLOCK_ALIGN * BLOCK_ALIGN;
    if (op->result >= 0 && maker->at < segments->options.segment_bytes && !segments->is_closing)
        start_zero(segments);
    else
        on_step(op);
}

static void start_zero(struct segments *segments)
{
    struct segment_maker *maker = &segments->maker;
    uint64_t left = segments->options.segment_bytes - maker->at;
    maker->zeros.iov_base = segments->zeros;
    maker->zeros.iov_len = MIN(left, (uint64_t)SEGMENT_ZERO_BYTES);
    maker->op.done = on_zero;
    loop_writev(segments->options.loop, maker->file, &maker->zeros, 1, maker->at, false,
                &maker->op);
}

static void start_sync(struct segments *segments)
{
    segments->maker.op.done = on_step;
    loop_sync(segments->options.loop, segments->maker.file, true, &segments->maker.op);
}

static void start_rename(struct segments *segments)
{
    char from[PATH_CAP], to[PATH_CAP];
    CRASH_POINT("segment_zeroed");
    new_path(segments, from, sizeof(from));
    segment_path(segments->maker.segment, to, sizeof(to));
    segments->maker.op.done = on_step;
    loop_rename(segments->options.loop, from, to, &segments->maker.op);
}

static void on_open_directory(struct ring_op *op)
{
    struct segments *segments = CONTAINER_OF(op, struct segments, maker.op);
    if (op->result >= 0) segments->directory_file = op->result;
    on_step(op);
}

static void start_open_directory(struct segments *segments)
{
    if (segments->directory_file != LOOP_FILE_NONE) {
        next_step(segments);
        return;
    }
    segments->maker.op.done = on_open_directory;
    loop_open(segments->options.loop, segments->options.directory,
              O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, &segments->maker.op);
}

static void start_sync_directory(struct segments *segments)
{
    segments->maker.op.done = on_step;
    loop_sync(segments->options.loop, segments->directory_file, true, &segments->maker.op);
}

static uint32_t unused_number(const struct segments *segments)
{
    uint32_t number = 1;
    while (segments_find(segments, number) != NULL)
        number++;
    return number;
}

void segment_make(struct segments *segments)
{
    struct segment_maker *maker = &segments->maker;
    ASSERT(maker->segment == NULL);
    uint32_t number = unused_number(segments);
    if (number > RECORD_SEGMENT_MAX) {
        segments->make_err = -ERR_FULL;
        return;
    }
    maker->segment = segment_add(segments, number, SEGMENT_MAKING);
    maker->file = LOOP_FILE_NONE;
    maker->step = 0;
    maker->at = 0;
    maker->err = 0;
    steps[0](segments);
}
