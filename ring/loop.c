/* loop.c - the turn of a loop over io_uring.
 *
 * One system call a turn submits what the last turn started and waits for completions, with the
 * timer wheel's next deadline as its limit. DEFER_TASKRUN keeps the kernel's half of the work out
 * of the handlers: it runs inside that call and nowhere else. Then come, in this order, the
 * completions, the timers, the mails, the deferred operations and the hooks.
 *
 * A full submission queue is submitted at once. A full completion queue loses nothing: the kernel
 * keeps what does not fit (IORING_FEAT_NODROP), and the loop fetches it in the same turn.
 *
 * All runs on the loop's thread but loop_wake(), loop_busy_ns() and loop_take_stall_ns(). */
#include "ring/loop.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "ring/loop_internal.h"
#include "ring/mailbox.h"
#include "ring/timer.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define WALL_READ_NS (50 * NS_PER_MS) /* the wall clock's offset is read anew this often */
#define SUBMIT_TRIES_MAX 1000         /* of 1 ms: the kernel is out of memory for so long */
#define OVERFLOW_ROUNDS_MAX 64        /* in one turn; what is left comes with the next */

/* Sends what is queued, without a wait. A lack of kernel memory passes or it does not; a core that
 * can start nothing is of no use, so the process ends, with everything it answered 250 for safe. */
static void submit(struct loop *loop)
{
    for (unsigned tries = 0; io_uring_sq_ready(&loop->ring) > 0; tries++) {
        ASSERT(tries < SUBMIT_TRIES_MAX);
        if (io_uring_submit(&loop->ring) >= 0) continue;
        struct timespec moment = {0, (long)NS_PER_MS};
        nanosleep(&moment, NULL);
    }
    loop->scratch_used = 0;
}

struct io_uring_sqe *loop_sqe(struct loop *loop)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    if (UNLIKELY(sqe == NULL)) {
        submit(loop);
        sqe = io_uring_get_sqe(&loop->ring);
        ASSERT(sqe != NULL);
    }
    return sqe;
}

void *loop_scratch(struct loop *loop, size_t bytes)
{
    bytes = ROUND_UP(bytes, (size_t)16);
    ASSERT(bytes <= LOOP_SCRATCH_BYTES);
    bool is_short = loop->scratch_used + bytes > LOOP_SCRATCH_BYTES;
    if (UNLIKELY(is_short || io_uring_sq_space_left(&loop->ring) == 0)) submit(loop);
    void *memory = loop->scratch + loop->scratch_used;
    loop->scratch_used += bytes;
    return memory;
}

void loop_start(struct loop *loop, struct io_uring_sqe *sqe, enum op_tag tag, struct ring_op *op)
{
    ASSERT(((uintptr_t)op & TAG_MASK) == 0);
    op->input = (uint16_t)tag;
    op->has_input = false;
    op->has_more = false;
    sqe->user_data = (uintptr_t)op | tag;
    loop->inflight++;
}

void loop_watch_wake(struct loop *loop)
{
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_poll_multishot(sqe, loop->wake_fd, POLLIN);
    sqe->user_data = DATA_WAKE;
}

void loop_read_clocks(struct loop *loop)
{
    loop->now_ns = clock_monotonic_ns();
    if (loop->now_ns - loop->wall_read_ns < WALL_READ_NS && loop->wall_read_ns != 0) return;
    loop->wall_ahead_ns = clock_wall_ms() * NS_PER_MS - loop->now_ns;
    loop->wall_read_ns = loop->now_ns;
}

/* --- one turn --- */

static int result_of(struct loop *loop, unsigned tag, const struct ring_op *op, int result)
{
    if (tag == TAG_ACCEPT) {
        loop->accept_count--;
        if (result < 0) return result;
        loop->socket_count++;
        return result | HANDLE_DIRECT;
    }
    ASSERT(tag == TAG_CONNECT);
    if (result == 0) return op->result;
    close(op->result);
    return result;
}

static void complete_internal(struct loop *loop, uint64_t data, uint32_t flags)
{
    ASSERT(data < DATA_INTERNAL_END);
    if (data == DATA_WAKE && (flags & IORING_CQE_F_MORE) == 0) loop_watch_wake(loop);
}

static void complete(struct loop *loop, uint64_t data, int result, uint32_t flags)
{
    if (UNLIKELY(data < DATA_INTERNAL_END)) {
        complete_internal(loop, data, flags);
        return;
    }
    struct ring_op *op = (struct ring_op *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);
    unsigned tag = (unsigned)(data & TAG_MASK);
    if (tag != TAG_PLAIN) result = result_of(loop, tag, op, result);

    op->result = result;
    op->input = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
    op->has_input = (flags & IORING_CQE_F_BUFFER) != 0;
    op->has_more = (flags & IORING_CQE_F_MORE) != 0;
    /* Some kernels attach a buffer to the end of the stream. */
    if (UNLIKELY(op->has_input && result <= 0)) {
        op->has_input = false;
        loop_input_release(loop, op->input);
    }
    if (!op->has_more) {
        ASSERT(loop->inflight > 0);
        loop->inflight--;
    }
    op->done(op);
}

/* Runs what is in the completion queue now. Handlers may submit, which adds at the tail: that is
 * for the next round. */
static void reap_once(struct loop *loop)
{
    struct io_uring_cq *cq = &loop->ring.cq;
    unsigned head = *cq->khead;
    unsigned tail = io_uring_smp_load_acquire(cq->ktail);
    while (head != tail) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        uint64_t data = cqe->user_data;
        int result = cqe->res;
        uint32_t flags = cqe->flags;
        head++;
        io_uring_smp_store_release(cq->khead, head);
        complete(loop, data, result, flags);
    }
}

static int reap(struct loop *loop)
{
    reap_once(loop);
    for (unsigned i = 0; i < OVERFLOW_ROUNDS_MAX && io_uring_cq_has_overflow(&loop->ring); i++) {
        int ret = io_uring_get_events(&loop->ring);
        if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY) return ret;
        reap_once(loop);
    }
    return 0;
}

static void run_deferred(struct loop *loop)
{
    if (loop->deferred.count == 0) return;
    /* What these defer again is for the next turn, so that a turn ends. */
    struct deferred_list now = loop->deferred;
    loop->deferred = loop->deferred_now;
    ASSERT(loop->deferred.count == 0);
    for (uint32_t i = 0; i < now.count; i++) {
        struct ring_op *op = now.items[i].op;
        op->result = now.items[i].result;
        ASSERT(loop->inflight > 0);
        loop->inflight--;
        op->done(op);
    }
    now.count = 0;
    loop->deferred_now = now;
}

/* True when the loop may sleep: from here on a loop_wake() ends the sleep. */
static bool wake_may_sleep(struct loop *loop)
{
    if (loop->deferred.count > 0 || mailbox_has_mail(loop->mailbox)) return false;
    int state = WAKE_RUNNING;
    return __atomic_compare_exchange_n(&loop->wake_state, &state, WAKE_ASLEEP, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static int wait_for_events(struct loop *loop)
{
    struct io_uring_cqe *first;
    struct __kernel_timespec limit, *limit_at = NULL;
    uint64_t wait_ns = timer_wheel_wait_ns(loop->timers, loop->turn_end_ns);
    if (wait_ns != UINT64_MAX) {
        limit.tv_sec = (int64_t)(wait_ns / NS_PER_S);
        limit.tv_nsec = (long long)(wait_ns % NS_PER_S);
        limit_at = &limit;
    }
    return io_uring_submit_and_wait_timeout(&loop->ring, &first, 1, limit_at, NULL);
}

/* The one system call of a turn. */
static int enter(struct loop *loop, bool may_wait)
{
    int ret = may_wait && wake_may_sleep(loop) ? wait_for_events(loop)
                                               : io_uring_submit_and_get_events(&loop->ring);
    /* Mails and stops that were asked for until here are seen in this turn. */
    __atomic_exchange_n(&loop->wake_state, WAKE_RUNNING, __ATOMIC_SEQ_CST);
    if (io_uring_sq_ready(&loop->ring) == 0) loop->scratch_used = 0;
    /* Out of time, interrupted, or the kernel short of memory: the next turn tries again. */
    if (ret == -ETIME || ret == -EINTR || ret == -EAGAIN || ret == -EBUSY) return 0;
    return MIN(ret, 0);
}

static void note_turn_end(struct loop *loop)
{
    loop->turn_end_ns = clock_monotonic_ns();
    uint64_t turn_ns = loop->turn_end_ns - loop->now_ns;
    if (turn_ns > __atomic_load_n(&loop->stall_ns, __ATOMIC_RELAXED))
        __atomic_store_n(&loop->stall_ns, turn_ns, __ATOMIC_RELAXED);
}

int loop_turn(struct loop *loop, bool may_wait)
{
    int ret = enter(loop, may_wait);
    if (ret < 0) return ret;
    loop_read_clocks(loop);

    ret = reap(loop);
    if (ret < 0) return ret;
    timer_wheel_advance(loop->timers, loop->now_ns);
    mailbox_drain(loop->mailbox);
    run_deferred(loop);
    struct loop_hook *hook;
    LIST_FOR_EACH(hook, &loop->hooks, struct loop_hook, node)
    {
        hook->run(hook);
    }
    note_turn_end(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    int ret = 0;
    while (ret == 0 && !loop->is_stopping)
        ret = loop_turn(loop, true);
    loop->is_stopping = false;
    submit(loop); /* what the last turn started, a close for one, is not left lying */
    return ret;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

void loop_wake(struct loop *loop)
{
    int before = __atomic_exchange_n(&loop->wake_state, WAKE_ASKED, __ATOMIC_SEQ_CST);
    if (before != WAKE_ASLEEP) return;
    /* The counter is never read, only watched; it cannot overflow by ones, so this cannot block. */
    uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof(one));
    ASSERT(written == (ssize_t)sizeof(one));
}

uint32_t loop_inflight(const struct loop *loop)
{
    return loop->inflight;
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

uint64_t loop_wall_ms(const struct loop *loop)
{
    return (loop->now_ns + loop->wall_ahead_ns) / NS_PER_MS;
}

uint64_t loop_busy_ns(const struct loop *loop)
{
    /* The thread's CPU clock: it counts the kernel's work inside the turn's system call too, which
     * no clock read around that call could tell from the wait. 0 once the thread has ended. */
    struct timespec at;
    if (clock_gettime(loop->cpu_clock, &at) != 0) return 0;
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

uint64_t loop_take_stall_ns(struct loop *loop)
{
    return __atomic_exchange_n(&loop->stall_ns, 0, __ATOMIC_RELAXED);
}

void loop_defer(struct loop *loop, struct ring_op *op, int result)
{
    struct deferred_list *list = &loop->deferred;
    if (list->count == list->cap) {
        list->cap = MAX(list->cap * 2, 64u);
        list->items = xrealloc(list->items, list->cap * sizeof(*list->items));
    }
    op->input = TAG_PLAIN;
    op->has_input = false;
    op->has_more = false;
    list->items[list->count++] = (struct deferred){op, result};
    loop->inflight++;
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
    list_push_back(&loop->hooks, &hook->node);
}

void loop_hook_remove(struct loop_hook *hook)
{
    list_remove(&hook->node);
}

struct timer_wheel *loop_timers(struct loop *loop)
{
    return loop->timers;
}

struct mailbox *loop_mailbox(struct loop *loop)
{
    return loop->mailbox;
}

void loop_cancel(struct loop *loop, struct ring_op *op)
{
    /* Only a multishot receive has more to come, and it is plain; its `input` names a buffer. */
    unsigned tag = op->has_more ? TAG_PLAIN : op->input & TAG_MASK;
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_cancel64(sqe, (uintptr_t)op | tag, 0);
    sqe->user_data = DATA_IGNORE;
}
