/* listener.c - accepts on one address.
 *
 * Each slot is one accept in flight with room for the peer's address; when it ends, the connection
 * is handed over and the slot starts again. A slot that was refused for lack of handles waits, with
 * all the others that follow it, for one timer. After listener_stop() the slots end one by one, and
 * the last one closes and frees. */
#include "ring/listener.h"

#include "ring/base/clock.h"
#include "ring/base/log.h"
#include "ring/base/memory.h"

#include <stdlib.h>

#define PAUSE_MS_MIN 10
#define PAUSE_MS_MAX 1000
#define LOG_EVERY_NS (10 * NS_PER_S) /* the counter has what is not logged */

struct slot {
    struct ring_op op;
    struct listener *listener;
    struct endpoint peer;
    bool is_inflight;
};

struct listener {
    struct loop *loop;
    listener_accepted *accepted;
    void *owner;
    int file;
    bool is_stopping, is_closed;
    uint32_t inflight;
    uint32_t pause_ms; /* the next pause; 0 while accepts succeed */
    uint64_t logged_ns;
    struct timer resume;
    struct endpoint address;
    struct listener_counters counters;
    struct ring_op close_op;
    struct slot slots[LISTENER_ACCEPTS_MAX];
};

static void slot_start(struct slot *slot)
{
    struct listener *listener = slot->listener;
    ASSERT(!slot->is_inflight);
    slot->is_inflight = true;
    listener->inflight++;
    loop_accept(listener->loop, listener->file, &slot->peer, &slot->op);
}

static void start_all(struct listener *listener)
{
    for (size_t i = 0; i < LISTENER_ACCEPTS_MAX; i++) {
        if (!listener->slots[i].is_inflight) slot_start(&listener->slots[i]);
    }
}

static void resumed(struct timer *timer)
{
    start_all(CONTAINER_OF(timer, struct listener, resume));
}

static void log_pause(struct listener *listener, int err)
{
    uint64_t now_ns = loop_now_ns(listener->loop);
    if (listener->logged_ns != 0 && now_ns - listener->logged_ns < LOG_EVERY_NS) return;
    listener->logged_ns = now_ns;
    log_text(LOG_WARN, "accept_paused",
             "no handle for a new connection (%s): it waits in the backlog", err_str(err));
}

/* Pauses for longer each time, until an accept succeeds. */
static void pause_accepting(struct listener *listener, int err)
{
    if (timer_is_armed(&listener->resume)) return;
    log_pause(listener, err);
    if (listener->pause_ms == 0) listener->pause_ms = PAUSE_MS_MIN;
    counter_add(&listener->counters.paused, 1);
    timer_arm(listener->loop, &listener->resume, listener->pause_ms);
    listener->pause_ms = MIN(listener->pause_ms * 2, (uint32_t)PAUSE_MS_MAX);
}

static void close_done(struct ring_op *op)
{
    free(CONTAINER_OF(op, struct listener, close_op));
}

static void close_when_idle(struct listener *listener)
{
    if (!listener->is_stopping || listener->inflight > 0 || listener->is_closed) return;
    listener->is_closed = true;
    listener->close_op.done = close_done;
    loop_close(listener->loop, listener->file, &listener->close_op);
}

static bool is_exhaustion(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

static void accept_done(struct ring_op *op)
{
    struct slot *slot = CONTAINER_OF(op, struct slot, op);
    struct listener *listener = slot->listener;
    slot->is_inflight = false;
    listener->inflight--;
    if (op->result >= 0) {
        counter_add(&listener->counters.accepted, 1);
        listener->pause_ms = 0;
        listener->accepted(listener->owner, op->result, &slot->peer);
    } else if (is_exhaustion(op->result)) {
        if (!listener->is_stopping) pause_accepting(listener, op->result);
    } else if (op->result != -ERR_CANCELED) {
        /* The peer was gone before it was accepted (ECONNABORTED), or its network failed: accept(2)
         * hands such errors of the new connection over as its own. */
        counter_add(&listener->counters.aborted, 1);
    }
    if (listener->is_stopping) {
        close_when_idle(listener);
    } else if (!timer_is_armed(&listener->resume)) {
        slot_start(slot);
    }
}

int listener_start(struct loop *loop, const struct endpoint *at, int backlog,
                   listener_accepted *accepted, void *owner, struct listener **listener_out)
{
    *listener_out = NULL;
    struct endpoint address;
    int file = loop_listen(loop, at, backlog, &address);
    if (file < 0) return file;

    struct listener *listener = xcalloc(1, sizeof(*listener));
    listener->loop = loop;
    listener->accepted = accepted;
    listener->owner = owner;
    listener->file = file;
    listener->address = address;
    timer_init(&listener->resume, resumed);
    for (size_t i = 0; i < LISTENER_ACCEPTS_MAX; i++) {
        listener->slots[i].op.done = accept_done;
        listener->slots[i].listener = listener;
    }
    start_all(listener);
    *listener_out = listener;
    return 0;
}

const struct endpoint *listener_address(const struct listener *listener)
{
    return &listener->address;
}

const struct listener_counters *listener_counters(const struct listener *listener)
{
    return &listener->counters;
}

void listener_stop(struct listener *listener)
{
    if (listener == NULL || listener->is_stopping) return;
    listener->is_stopping = true;
    timer_disarm(&listener->resume);
    for (size_t i = 0; i < LISTENER_ACCEPTS_MAX; i++) {
        if (listener->slots[i].is_inflight) loop_cancel(listener->loop, &listener->slots[i].op);
    }
    close_when_idle(listener);
}
