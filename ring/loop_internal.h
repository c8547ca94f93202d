/* loop_internal.h - what the files of the loop share; nobody else includes it.
 *
 * loop.c turns, loop_setup.c makes and ends, loop_socket.c and loop_file.c start operations,
 * loop_explain.c words why a kernel refused. */
#pragma once

#include "ring/base/counter.h"
#include "ring/loop.h"

#include <liburing.h>
#include <time.h>

/* A handle with this bit is an index into the ring's own file table; without it, a descriptor of
 * the process. Descriptors stay far below the bit: the kernel caps fs.nr_open at 2^30. */
#define HANDLE_DIRECT (1 << 30)

/* user_data is the address of a ring_op with one of these in its low bits, or one of the internal
 * values below. While the operation is in flight, op->input remembers the tag (for cancel), and
 * op->result a descriptor where the tag needs one. */
enum op_tag {
    TAG_PLAIN,   /* the kernel's result is the caller's */
    TAG_ACCEPT,  /* the result is an index of the file table */
    TAG_CONNECT, /* the result is the descriptor in op->result, or that is closed */
};
#define TAG_MASK 3u

enum internal_data { DATA_IGNORE, DATA_WAKE, DATA_INTERNAL_END };

/* A sleeping loop is woken by a write to its eventfd; one that runs needs none. */
enum wake_state { WAKE_RUNNING, WAKE_ASLEEP, WAKE_ASKED };

/* More accepts in flight than this are refused, so that each of them finds a place in the file
 * table: the kernel drops an accepted connection that finds none. */
#define LOOP_ACCEPTS_MAX LOOP_SOCKETS_SPARE

/* Paths, addresses and message headers live until the kernel has taken the submission
 * (IORING_FEAT_SUBMIT_STABLE), so they need no owner: one buffer, empty after each submission. */
#define LOOP_SCRATCH_BYTES 65536

struct deferred {
    struct ring_op *op;
    int result;
};

struct deferred_list {
    struct deferred *items;
    uint32_t count, cap;
};

struct loop {
    struct io_uring ring;
    bool is_ring_made, is_stopping;

    /* The provided buffers. */
    struct io_uring_buf_ring *inputs;
    char *input_memory;
    uint32_t input_count;

    uint32_t inflight;     /* of the callers, deferred ones included */
    uint32_t accept_count; /* accepts in flight */
    uint32_t socket_count; /* accepted and not closed */
    uint32_t socket_count_max;

    struct deferred_list deferred, deferred_now;
    struct list hooks;
    struct timer_wheel *timers;
    struct mailbox *mailbox;

    uint64_t now_ns, turn_end_ns;
    uint64_t wall_ahead_ns, wall_read_ns; /* wall clock minus now_ns, and when that was read */
    clockid_t cpu_clock;

    char *scratch;
    size_t scratch_used;

    int wake_fd;
    /* Written by other threads; on a line of its own. */
    _Alignas(64) int wake_state;
    uint64_t stall_ns;
};

/* Never NULL: submits when the queue is full. */
struct io_uring_sqe *loop_sqe(struct loop *loop);
/* `bytes` that stay until the next submission, aligned for any object; the next loop_sqe() will not
 * submit. One piece an operation. */
void *loop_scratch(struct loop *loop, size_t bytes);
/* The last step of every start, after the entry was prepared. */
void loop_start(struct loop *loop, struct io_uring_sqe *sqe, enum op_tag tag, struct ring_op *op);

/* The descriptor field of an entry for `file`; loop_start_on() sets the flag that goes with it. */
static inline int loop_fd(int file)
{
    ASSERT(file >= 0);
    return file & ~HANDLE_DIRECT;
}
static inline void loop_start_on(struct loop *loop, struct io_uring_sqe *sqe, int file,
                                 struct ring_op *op)
{
    if ((file & HANDLE_DIRECT) != 0) sqe->flags |= IOSQE_FIXED_FILE;
    loop_start(loop, sqe, TAG_PLAIN, op);
}

/* Watches the eventfd; again when the kernel ended the watch. */
void loop_watch_wake(struct loop *loop);
void loop_read_clocks(struct loop *loop);

/* What is known when the kernel refused a ring. */
struct loop_refusal {
    int err;               /* -ERR_* */
    int seccomp_mode;      /* of /proc/self/status: 2 is a filter; -1 unknown */
    int io_uring_disabled; /* the sysctl; -1: this kernel has none */
    const char *release;   /* uname -r */
    uint64_t memlock_bytes;
};

/* One line with the cause and the remedy. Pure. */
void loop_explain(const struct loop_refusal *refusal, char *why, size_t why_cap);
/* Gathers the facts of this process and words them. */
void loop_explain_here(int err, char *why, size_t why_cap);
