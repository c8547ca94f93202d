/* loop_file.c - starts operations on disk files.
 *
 * Reads and writes run inline where the file system can; the others go to the kernel's worker
 * threads, whose number loop_create() caps. */
#include "ring/loop.h"

#include "ring/loop_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

static const char *copy_path(struct loop *loop, const char *path)
{
    size_t bytes = strlen(path) + 1;
    return memcpy(loop_scratch(loop, bytes), path, bytes);
}

/* Two paths in one piece of scratch: taking the second could otherwise submit, and so give up the
 * first. */
static const char *copy_paths(struct loop *loop, const char *from, const char *to,
                              const char **to_out)
{
    size_t from_bytes = strlen(from) + 1, to_bytes = strlen(to) + 1;
    char *copy = loop_scratch(loop, from_bytes + to_bytes);
    memcpy(copy, from, from_bytes);
    *to_out = memcpy(copy + from_bytes, to, to_bytes);
    return copy;
}

/* False, and the operation fails, for paths that no kernel would take. */
static bool paths_fit(struct loop *loop, const char *path, const char *other, struct ring_op *op)
{
    if (strlen(path) < PATH_MAX && strlen(other) < PATH_MAX) return true;
    loop_defer(loop, op, -ENAMETOOLONG);
    return false;
}

void loop_open(struct loop *loop, const char *path, int flags, uint32_t mode, struct ring_op *op)
{
    if (!paths_fit(loop, path, "", op)) return;
    path = copy_path(loop, path);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_openat(sqe, AT_FDCWD, path, flags | O_CLOEXEC, mode);
    loop_start(loop, sqe, TAG_PLAIN, op);
}

void loop_read(struct loop *loop, int file, void *into, size_t bytes, uint64_t offset,
               struct ring_op *op)
{
    ASSERT(bytes <= INT32_MAX);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_read(sqe, loop_fd(file), into, (unsigned)bytes, offset);
    loop_start_on(loop, sqe, file, op);
}

void loop_writev(struct loop *loop, int file, const struct iovec *pieces, uint32_t count,
                 uint64_t offset, bool is_synced, struct ring_op *op)
{
    ASSERT(count > 0 && count <= LOOP_IOV_MAX);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_writev2(sqe, loop_fd(file), pieces, count, offset, is_synced ? RWF_DSYNC : 0);
    loop_start_on(loop, sqe, file, op);
}

void loop_sync(struct loop *loop, int file, bool with_metadata, struct ring_op *op)
{
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_fsync(sqe, loop_fd(file), with_metadata ? 0 : IORING_FSYNC_DATASYNC);
    loop_start_on(loop, sqe, file, op);
}

void loop_allocate(struct loop *loop, int file, uint64_t offset, uint64_t bytes, struct ring_op *op)
{
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_rw(IORING_OP_FALLOCATE, sqe, loop_fd(file), NULL, 0, offset);
    sqe->addr = bytes; /* io_uring_prep_fallocate() takes off_t; the kernel checks the range */
    loop_start_on(loop, sqe, file, op);
}

void loop_rename(struct loop *loop, const char *from, const char *to, struct ring_op *op)
{
    if (!paths_fit(loop, from, to, op)) return;
    from = copy_paths(loop, from, to, &to);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_renameat(sqe, AT_FDCWD, from, AT_FDCWD, to, 0);
    loop_start(loop, sqe, TAG_PLAIN, op);
}

void loop_link(struct loop *loop, const char *from, const char *to, struct ring_op *op)
{
    if (!paths_fit(loop, from, to, op)) return;
    from = copy_paths(loop, from, to, &to);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_linkat(sqe, AT_FDCWD, from, AT_FDCWD, to, 0);
    loop_start(loop, sqe, TAG_PLAIN, op);
}

void loop_unlink(struct loop *loop, const char *path, struct ring_op *op)
{
    if (!paths_fit(loop, path, "", op)) return;
    path = copy_path(loop, path);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_unlinkat(sqe, AT_FDCWD, path, 0);
    loop_start(loop, sqe, TAG_PLAIN, op);
}

void loop_mkdir(struct loop *loop, const char *path, uint32_t mode, struct ring_op *op)
{
    if (!paths_fit(loop, path, "", op)) return;
    path = copy_path(loop, path);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_mkdirat(sqe, AT_FDCWD, path, mode);
    loop_start(loop, sqe, TAG_PLAIN, op);
}
