/* sim_file.c - the loop's files: real ones, whose operations take their time, in any order.
 *
 * An operation is carried out when its time has come, not when it is started: until then a crash
 * leaves nothing of it, and sim_file_crash() lets it leave a part. */
#include "tests/support/sim/sim_file.h"

#include "tests/support/sim/sim_internal.h"

#include "ring/base/err.h"
#include "ring/base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_BYTES 512

static int result_of(ssize_t result)
{
    return result < 0 ? -errno : (int)result;
}

static struct sim_pending *pend(struct loop *loop, struct ring_op *op,
                                void (*carry_out)(struct sim_pending *pending))
{
    struct sim_pending *pending = sim_pend(loop, op, carry_out);
    sim_after(&pending->event, sim_between(sim_faults.disk_min_ns, sim_faults.disk_max_ns));
    return pending;
}

/* --- open, close --- */

static void do_open(struct sim_pending *p)
{
    int fd = sim_chance(sim_faults.open_error) ? -1 : open(p->path, p->flags | O_CLOEXEC, p->mode);
    sim_complete(p, fd < 0 ? (errno != 0 ? -errno : -ENFILE) : fd);
}

void loop_open(struct loop *loop, const char *path, int flags, uint32_t mode, struct ring_op *op)
{
    errno = 0;
    struct sim_pending *pending = pend(loop, op, do_open);
    pending->path = xstrdup(path);
    pending->flags = flags;
    pending->mode = mode;
}

static void do_close(struct sim_pending *p)
{
    sim_complete(p, result_of(close(p->file)));
}

void loop_close(struct loop *loop, int file, struct ring_op *op)
{
    if (sim_net_close(loop, file)) {
        if (op != NULL) loop_defer(loop, op, 0);
        return;
    }
    struct sim_pending *pending = pend(loop, op, do_close);
    pending->file = file;
}

/* --- reads and writes --- */

static size_t cut(size_t bytes, uint32_t chance)
{
    /* In whole sectors: what direct reads and writes allow. */
    if (bytes <= SECTOR_BYTES || !sim_chance(chance)) return bytes;
    return SECTOR_BYTES * (1 + sim_below((bytes - 1) / SECTOR_BYTES));
}

static void do_read(struct sim_pending *p)
{
    size_t bytes = cut(p->bytes, sim_faults.short_read);
    sim_complete(p, result_of(pread(p->file, p->into, bytes, (off_t)p->offset)));
}

void loop_read(struct loop *loop, int file, void *into, size_t bytes, uint64_t offset,
               struct ring_op *op)
{
    struct sim_pending *pending = pend(loop, op, do_read);
    pending->file = file;
    pending->into = into;
    pending->bytes = bytes;
    pending->offset = offset;
}

/* Writes the first `bytes` of the pieces. */
static int write_some(struct sim_pending *p, size_t bytes, int flags)
{
    struct iovec *pieces = xcalloc(p->piece_count, sizeof(pieces[0]));
    uint32_t count = 0;
    for (size_t left = bytes; left > 0 && count < p->piece_count; count++) {
        pieces[count] = p->pieces[count];
        pieces[count].iov_len = MIN(pieces[count].iov_len, left);
        left -= pieces[count].iov_len;
    }
    int result = result_of(pwritev2(p->file, pieces, (int)count, (off_t)p->offset, flags));
    free(pieces);
    return result;
}

static void do_write(struct sim_pending *p)
{
    if (sim_chance(sim_faults.write_error)) {
        sim_complete(p, sim_faults.write_errno != 0 ? -sim_faults.write_errno : -EIO);
        return;
    }
    if (sim_chance(sim_faults.lost_write)) {
        sim_complete(p, (int)p->bytes);
        return;
    }
    sim_complete(
        p, write_some(p, cut(p->bytes, sim_faults.short_write), p->is_synced ? RWF_DSYNC : 0));
}

void loop_writev(struct loop *loop, int file, const struct iovec *pieces, uint32_t count,
                 uint64_t offset, bool is_synced, struct ring_op *op)
{
    ASSERT(count > 0 && count <= LOOP_IOV_MAX);
    struct sim_pending *pending = pend(loop, op, do_write);
    pending->file = file;
    pending->pieces = pieces;
    pending->piece_count = count;
    pending->offset = offset;
    pending->is_synced = is_synced;
    for (uint32_t i = 0; i < count; i++)
        pending->bytes += pieces[i].iov_len;
}

void sim_file_crash(struct loop *loop)
{
    struct sim_pending *p;
    LIST_FOR_EACH(p, &loop->pending, struct sim_pending, node)
    {
        if (p->carry_out != do_write) continue;
        uint64_t sectors = p->bytes / SECTOR_BYTES;
        uint64_t written = sim_below(sectors + 1) * SECTOR_BYTES;
        if (written > 0) (void)!write_some(p, written, 0);
    }
}

static void do_sync(struct sim_pending *p)
{
    if (sim_chance(sim_faults.sync_error)) {
        sim_complete(p, -EIO);
        return;
    }
    sim_complete(p, result_of(p->is_synced ? fsync(p->file) : fdatasync(p->file)));
}

void loop_sync(struct loop *loop, int file, bool with_metadata, struct ring_op *op)
{
    struct sim_pending *pending = pend(loop, op, do_sync);
    pending->file = file;
    pending->is_synced = with_metadata;
}

static void do_allocate(struct sim_pending *p)
{
    sim_complete(p, result_of(fallocate(p->file, 0, (off_t)p->offset, (off_t)p->bytes)));
}

void loop_allocate(struct loop *loop, int file, uint64_t offset, uint64_t bytes, struct ring_op *op)
{
    struct sim_pending *pending = pend(loop, op, do_allocate);
    pending->file = file;
    pending->offset = offset;
    pending->bytes = bytes;
}

/* --- names --- */

static void do_rename(struct sim_pending *p)
{
    sim_complete(p, result_of(rename(p->path, p->path_to)));
}

void loop_rename(struct loop *loop, const char *from, const char *to, struct ring_op *op)
{
    struct sim_pending *pending = pend(loop, op, do_rename);
    pending->path = xstrdup(from);
    pending->path_to = xstrdup(to);
}

static void do_link(struct sim_pending *p)
{
    sim_complete(p, result_of(link(p->path, p->path_to)));
}

void loop_link(struct loop *loop, const char *from, const char *to, struct ring_op *op)
{
    struct sim_pending *pending = pend(loop, op, do_link);
    pending->path = xstrdup(from);
    pending->path_to = xstrdup(to);
}

static void do_unlink(struct sim_pending *p)
{
    sim_complete(p, result_of(unlink(p->path)));
}

void loop_unlink(struct loop *loop, const char *path, struct ring_op *op)
{
    pend(loop, op, do_unlink)->path = xstrdup(path);
}

static void do_mkdir(struct sim_pending *p)
{
    sim_complete(p, result_of(mkdir(p->path, p->mode)));
}

void loop_mkdir(struct loop *loop, const char *path, uint32_t mode, struct ring_op *op)
{
    struct sim_pending *pending = pend(loop, op, do_mkdir);
    pending->path = xstrdup(path);
    pending->mode = mode;
}
