/* loop.h - one event loop a core: operations in, completions out.
 *
 * This header is the seam of the project: everything that touches the kernel's asynchronous
 * interface is behind it (loop.c: io_uring). No io_uring type appears here, so that a simulated
 * loop can be linked in its place.
 *
 * A turn: wait for completions, run done() of each, run the expired timers, the mails and the
 * deferred operations, run the turn hooks; the wait of the next turn submits all that was started
 * meanwhile, so that a turn is one system call. All functions but
 * loop_wake() belong to the thread that created the loop.
 *
 * Files: sockets and disk files are named by a handle, an int >= 0 that only the loop understands.
 * A handle is owned by whoever opened or accepted it and ends with loop_close(). */
#pragma once

#include "ring/base/endpoint.h"
#include "ring/base/list.h"
#include "ring/op.h"

#include <sys/uio.h>

struct loop;

#define LOOP_FILE_NONE (-1)
#define LOOP_SOCKETS_SPARE 256 /* places of the socket table besides socket_count_max */
#define LOOP_INPUT_BYTES 8192  /* size of one provided input buffer */
#define LOOP_IOV_MAX 1024      /* pieces in one write */

struct loop_options {
    uint32_t submission_count; /* a power of two; the completion queue is 4 times that */
    uint32_t socket_count_max; /* accepted connections open at once */
    uint32_t input_count;      /* provided input buffers, a power of two */
};

/* Makes a loop for the calling thread. On failure *loop_out is NULL and `why`, of `why_cap` bytes,
 * holds one line for people: the cause (seccomp, container runtime, sysctl, memlock, kernel) and
 * what to do about it. */
MUST_USE int loop_create(const struct loop_options *options, struct loop **loop_out, char *why,
                         size_t why_cap);
/* No operation may be in flight. NULL is allowed. */
void loop_destroy(struct loop *loop);

/* Runs turns until loop_stop() and no operation that was asked to end is left. Returns 0, or
 * -ERR_* when the kernel refused a wait, which is fatal. */
MUST_USE int loop_run(struct loop *loop);
/* Runs one turn: waits when `may_wait` and nothing is ready. For tests and for the last turns of a
 * stop. */
MUST_USE int loop_turn(struct loop *loop, bool may_wait);
/* loop_run() returns at the end of this turn. */
void loop_stop(struct loop *loop);
/* Ends a wait of the loop. From any thread; coalesces. */
void loop_wake(struct loop *loop);
/* Operations started and not done. */
uint32_t loop_inflight(const struct loop *loop);

/* Monotonic time, read once a turn. */
uint64_t loop_now_ns(const struct loop *loop);
/* Milliseconds since 1970-01-01 UTC, read once a turn. */
uint64_t loop_wall_ms(const struct loop *loop);
/* Nanoseconds this loop's thread spent outside of waits, and the longest turn since the last
 * call of loop_take_stall_ns(). Any thread. */
uint64_t loop_busy_ns(const struct loop *loop);
uint64_t loop_take_stall_ns(struct loop *loop);

/* done() runs with this result after the call has returned: in this turn, before its hooks, or in
 * the next one, which then does not wait. */
void loop_defer(struct loop *loop, struct ring_op *op, int result);

/* A hook runs at the end of every turn, before what it starts is submitted. */
struct loop_hook {
    struct list node;
    void (*run)(struct loop_hook *hook);
};
void loop_hook_add(struct loop *loop, struct loop_hook *hook);
void loop_hook_remove(struct loop_hook *hook);

/* What the mailbox and the timer wheel are built on; nobody else needs them. */
struct timer_wheel *loop_timers(struct loop *loop);
struct mailbox *loop_mailbox(struct loop *loop);

/* --- sockets --- */

/* Opens a listening TCP socket with SO_REUSEPORT, TCP_NODELAY and keep-alive (both inherited by the
 * accepted). Blocking; for start. Returns a handle or -ERR_*. `bound_out` (may be NULL) gets the
 * real address, for port 0. */
MUST_USE int loop_listen(struct loop *loop, const struct endpoint *at, int backlog,
                         struct endpoint *bound_out);
/* Accepts one connection: the result is its handle. `peer_out` is the loop's until done().
 * -ENFILE/-EMFILE: out of handles, the connection stays in the backlog. */
void loop_accept(struct loop *loop, int listener, struct endpoint *peer_out, struct ring_op *op);
/* Makes a TCP socket and connects it: the result is its handle. `to` and `from` (NULL: any) are
 * copied. -ECONNREFUSED, -ETIMEDOUT ... as the kernel says. */
void loop_connect(struct loop *loop, const struct endpoint *to, const struct endpoint *from,
                  struct ring_op *op);
/* The same for a stream socket at a path of at most 107 bytes. */
void loop_connect_unix(struct loop *loop, const char *path, struct ring_op *op);
/* Waits once until a descriptor that is not the loop's (a library's) is ready for `events` of
 * poll(2): the result is what it is ready for. The descriptor may be closed meanwhile; then the
 * operation ends only when it is cancelled. */
void loop_poll(struct loop *loop, int fd, uint32_t events, struct ring_op *op);
/* Receives at most `bytes` into `into`: the result is the count, 0 at the end of the stream. */
void loop_recv(struct loop *loop, int socket, void *into, size_t bytes, struct ring_op *op);
/* Receives until cancelled, ended or out of buffers. Every done() with has_input brings a buffer
 * of `result` bytes that must be given back with loop_input_release(). The last done() has
 * has_more == false: 0 at the end of the stream, or -ERR_*. */
void loop_recv_multishot(struct loop *loop, int socket, struct ring_op *op);
const char *loop_input_data(const struct loop *loop, uint16_t input);
void loop_input_release(struct loop *loop, uint16_t input);
/* Sends all bytes (it does not complete short but for an error): the result is the count. */
void loop_send(struct loop *loop, int socket, const void *data, size_t bytes, struct ring_op *op);
/* The same for several pieces; `pieces` and what they name are the loop's until done(). */
void loop_sendv(struct loop *loop, int socket, const struct iovec *pieces, uint32_t count,
                struct ring_op *op);
/* Ends the sending half: the peer reads the end of the stream. */
void loop_shutdown_send(struct loop *loop, int socket, struct ring_op *op);
/* Closes any handle. Operations on it should be done or cancelled before. `op` may be NULL. */
void loop_close(struct loop *loop, int file, struct ring_op *op);

/* --- files: paths are copied --- */

/* The result is a handle. `flags` and `mode` as in open(2). */
void loop_open(struct loop *loop, const char *path, int flags, uint32_t mode, struct ring_op *op);
void loop_read(struct loop *loop, int file, void *into, size_t bytes, uint64_t offset,
               struct ring_op *op);
/* May complete short: the result is the count. `pieces` are the loop's until done(). */
void loop_writev(struct loop *loop, int file, const struct iovec *pieces, uint32_t count,
                 uint64_t offset, bool is_synced /* RWF_DSYNC */, struct ring_op *op);
/* fdatasync, or fsync when `with_metadata`. */
void loop_sync(struct loop *loop, int file, bool with_metadata, struct ring_op *op);
void loop_allocate(struct loop *loop, int file, uint64_t offset, uint64_t bytes,
                   struct ring_op *op);
void loop_rename(struct loop *loop, const char *from, const char *to, struct ring_op *op);
void loop_link(struct loop *loop, const char *from, const char *to, struct ring_op *op);
void loop_unlink(struct loop *loop, const char *path, struct ring_op *op);
void loop_mkdir(struct loop *loop, const char *path, uint32_t mode, struct ring_op *op);

/* Asks `op` to end soon: its done() still runs, with -ERR_CANCELED or with what it had reached.
 * Does nothing when `op` is not in flight. */
void loop_cancel(struct loop *loop, struct ring_op *op);
