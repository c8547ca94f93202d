/* conn_read.c - the input of a connection: receives, what is kept, and the window.
 *
 * Input is shown where it lies, in the loop's buffer; only what the owner leaves is copied, to
 * `kept`. Three things decide which receive runs: a window wants a plain one into it, too much kept
 * input wants none, and otherwise a multishot receive runs all the time. */
#include "ring/conn.h"

#include "ring/conn_internal.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES_MIN 512

/* --- kept input --- */

static void kept_free(struct conn *conn)
{
    if (UNLIKELY(conn->wipes_input) && conn->kept != NULL)
        explicit_bzero(conn->kept, conn->kept_cap);
    free(conn->kept);
}

void conn_drop_kept(struct conn *conn)
{
    conn->host->kept_bytes -= conn->kept_cap;
    kept_free(conn);
    conn->kept = NULL;
    conn->kept_at = conn->kept_len = conn->kept_cap = 0;
}

/* Makes a new buffer with room for `front` more bytes before what is kept, and `back` after it. */
static bool kept_grow(struct conn *conn, size_t front, size_t back)
{
    size_t need = front + conn->kept_len + back;
    size_t cap = MAX((size_t)conn->kept_cap, (size_t)KEPT_BYTES_MIN);
    while (cap < need)
        cap *= 2;
    char *grown = malloc(cap);
    if (grown == NULL) return false;
    if (conn->kept_len > 0) memcpy(grown + front, conn->kept + conn->kept_at, conn->kept_len);
    kept_free(conn);
    conn->host->kept_bytes += cap - conn->kept_cap;
    conn->kept = grown;
    conn->kept_at = (uint32_t)front;
    conn->kept_cap = (uint32_t)cap;
    return true;
}

static bool kept_append(struct conn *conn, struct slice bytes)
{
    if (conn->kept_len + bytes.len > conn->kept_cap) {
        if (!kept_grow(conn, 0, bytes.len)) return false;
    } else if (conn->kept_at + conn->kept_len + bytes.len > conn->kept_cap) {
        memmove(conn->kept, conn->kept + conn->kept_at, conn->kept_len);
        conn->kept_at = 0;
    }
    memcpy(conn->kept + conn->kept_at + conn->kept_len, bytes.data, bytes.len);
    conn->kept_len += (uint32_t)bytes.len;
    return true;
}

static void kept_consume(struct conn *conn, size_t bytes)
{
    ASSERT(bytes <= conn->kept_len);
    conn->kept_at += (uint32_t)bytes;
    conn->kept_len -= (uint32_t)bytes;
    if (conn->kept_len == 0) conn_drop_kept(conn);
}

void conn_unread(struct conn *conn, struct slice bytes)
{
    ASSERT(conn->showing != SHOWING_INPUT && conn->receiving != RECEIVING_WINDOW);
    if (conn->life != LIFE_OPEN || bytes.len == 0) return;
    if (bytes.len > conn->kept_at && !kept_grow(conn, bytes.len, 0)) {
        conn_close(conn); /* a stream with a gap is of no use, and this call cannot say so */
        return;
    }
    conn->kept_at -= (uint32_t)bytes.len;
    conn->kept_len += (uint32_t)bytes.len;
    memcpy(conn->kept + conn->kept_at, bytes.data, bytes.len);
}

/* --- showing --- */

static size_t show_input(struct conn *conn, struct slice input)
{
    conn->is_show_wanted = false;
    conn->showing = SHOWING_INPUT;
    size_t taken = conn->handler->on_input(conn, input);
    conn->showing = SHOWING_NOTHING;
    ASSERT(taken <= input.len);
    return taken;
}

/* `bytes` of the window are filled; a full one is closed before the owner hears of it, so that it
 * may open the next. */
static void show_window(struct conn *conn, size_t bytes)
{
    ASSERT(bytes > 0 && bytes <= conn->window_bytes);
    conn->window += bytes;
    conn->window_bytes -= bytes;
    if (conn->window_bytes == 0) conn->window = NULL;
    conn->showing = SHOWING_WINDOW;
    conn->handler->on_window(conn, bytes);
    conn->showing = SHOWING_NOTHING;
}

static size_t window_copy(struct conn *conn, struct slice input)
{
    size_t bytes = MIN(input.len, conn->window_bytes);
    memcpy(conn->window, input.data, bytes);
    return bytes;
}

/* After on_input() took `taken`: whether what is left can be shown at once. An owner that took
 * nothing and still asks for more gets it in a later turn, so that this one ends. */
static bool goes_on(const struct conn *conn, size_t taken)
{
    return conn->window != NULL || (conn->is_show_wanted && taken > 0);
}

static void show_kept(struct conn *conn)
{
    bool again = true;
    while (again && conn->kept_len > 0 && conn->life == LIFE_OPEN) {
        struct slice input = {conn->kept + conn->kept_at, conn->kept_len};
        if (conn->window != NULL) {
            size_t copied = window_copy(conn, input);
            kept_consume(conn, copied);
            show_window(conn, copied);
        } else {
            size_t taken = show_input(conn, input);
            if (conn->life != LIFE_OPEN) return;
            kept_consume(conn, taken);
            again = goes_on(conn, taken);
            if (UNLIKELY(conn->is_tls_begun)) {
                conn_tls_take_kept(conn);
                return;
            }
        }
    }
}

/* Shows `input` where it lies for as long as nothing older is kept; then the rest is kept. */
void conn_input_arrived(struct conn *conn, struct slice input)
{
    bool again = true;
    while (again && input.len > 0 && conn->kept_len == 0 && conn->life == LIFE_OPEN) {
        size_t taken;
        if (conn->window != NULL) {
            taken = window_copy(conn, input);
            show_window(conn, taken);
        } else {
            taken = show_input(conn, input);
            again = goes_on(conn, taken) && !conn->is_tls_begun;
        }
        input = slice_from(input, taken);
    }
    if (conn->life != LIFE_OPEN) return;
    if (input.len > 0 && !kept_append(conn, input)) {
        conn_fail(conn, -ERR_MEMORY);
        return;
    }
    if (UNLIKELY(conn->wipes_input) && input.len > 0)
        explicit_bzero((char *)(uintptr_t)input.data, input.len); /* memory of the loop's or ours */
    if (UNLIKELY(conn->is_tls_begun)) {
        conn_tls_take_kept(conn);
    } else if (again) {
        show_kept(conn);
    }
}

void conn_window_filled(struct conn *conn, size_t bytes)
{
    show_window(conn, bytes);
    show_kept(conn); /* what on_window() has put back */
}

void conn_show_done(struct ring_op *op)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, show_op);
    conn->inflight--;
    conn->is_show_deferred = false;
    if (conn->tls != NULL && conn_tls_deferred(conn)) {
        if (conn->is_room_due) conn_defer(conn);
    } else if (conn->is_room_due) {
        conn->is_room_due = false;
        if (conn->life == LIFE_OPEN) conn->handler->on_sent(conn);
        conn_pass_room_on(conn->host); /* it need not have taken it */
    } else {
        show_kept(conn);
    }
    conn_settle(conn);
}

void conn_defer(struct conn *conn)
{
    if (conn->is_show_deferred) return;
    conn->is_show_deferred = true;
    conn->inflight++;
    loop_defer(conn->host->loop, &conn->show_op, 0);
}

void conn_defer_show(struct conn *conn)
{
    if (conn->kept_len == 0) {
        conn->is_show_wanted = false;
    } else {
        conn_defer(conn);
    }
}

void conn_read_on(struct conn *conn)
{
    if (conn->life != LIFE_OPEN) return;
    if (timer_is_armed(&conn->timer)) timer_arm(conn->host->loop, &conn->timer, CONN_UNTAKEN_MS);
    conn->is_show_wanted = true;
    if (conn->showing == SHOWING_NOTHING) conn_defer_show(conn);
}

/* --- receiving --- */

static void start_receive(struct conn *conn, enum conn_receiving what)
{
    ASSERT(conn->receiving == RECEIVING_NOTHING);
    conn->receiving = (uint8_t)what;
    conn->inflight++;
    if (what == RECEIVING_WINDOW) {
        loop_recv(conn->host->loop, conn->socket, conn->window, conn->window_bytes, &conn->recv_op);
    } else {
        loop_recv_multishot(conn->host->loop, conn->socket, &conn->recv_op);
    }
}

void conn_receive_stop(struct conn *conn)
{
    if (conn->receiving == RECEIVING_NOTHING || conn->is_recv_canceled) return;
    conn->is_recv_canceled = true;
    loop_cancel(conn->host->loop, &conn->recv_op);
}

void conn_receive_next(struct conn *conn)
{
    if (conn->life == LIFE_CLOSING || conn->end != END_NONE) return;
    bool is_host_full = conn->host->kept_bytes > CONN_HOST_KEPT_BYTES_MAX;
    bool is_paused = conn->kept_len > (is_host_full ? CONN_KEPT_FAIR_BYTES : CONN_KEPT_BYTES_MAX);
    /* Only what is not encrypted can go into the window as it comes. */
    bool wants_inputs = (conn->window == NULL || conn->tls != NULL) && !is_paused;
    if (conn->receiving == RECEIVING_INPUTS && !wants_inputs) conn_receive_stop(conn);
    if (conn->receiving != RECEIVING_NOTHING) return;
    if (wants_inputs) {
        start_receive(conn, RECEIVING_INPUTS);
    } else if (conn->window != NULL && conn->tls == NULL && conn->kept_len == 0) {
        start_receive(conn, RECEIVING_WINDOW);
    }
}

static void receive_ended(struct conn *conn, int result)
{
    /* Out of buffers for a moment, or ended by us: conn_settle() starts the next one. */
    if (result == -ERR_NO_BUFFERS || result == -ERR_CANCELED || result == -EINTR) return;
    if (conn->end != END_NONE) return;
    if (result == 0 && conn->tls != NULL) result = conn_tls_input_ended(conn);
    if (result == 0) {
        conn->end = END_SEEN;
    } else {
        conn_fail(conn, result);
    }
}

void conn_recv_done(struct ring_op *op)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, recv_op);
    struct loop *loop = conn->host->loop;
    bool is_window = conn->receiving == RECEIVING_WINDOW, has_input = op->has_input;
    int result = op->result;
    if (!op->has_more) {
        conn->receiving = RECEIVING_NOTHING;
        conn->is_recv_canceled = false;
        conn->inflight--;
    }
    if (has_input) {
        uint16_t input = op->input;
        struct slice bytes = slice_of(loop_input_data(loop, input), (size_t)result);
        if (conn->tls != NULL) {
            conn_tls_arrived(conn, bytes);
        } else if (conn->end != END_TOLD) {
            conn_input_arrived(conn, bytes);
        }
        loop_input_release(loop, input);
    } else if (result <= 0) {
        receive_ended(conn, result);
    } else if (is_window && conn->window != NULL) {
        conn_window_filled(conn, (size_t)result);
    }
    conn_settle(conn);
}

void conn_window_open(struct conn *conn, void *into, size_t bytes)
{
    ASSERT(conn->window == NULL && bytes > 0);
    if (conn->life != LIFE_OPEN) return;
    conn->window = into;
    conn->window_bytes = bytes;
    if (conn->showing != SHOWING_NOTHING) return; /* the event that runs goes on with it */
    conn_defer_show(conn);
    conn_receive_next(conn);
}

void conn_window_close(struct conn *conn)
{
    ASSERT(conn->receiving != RECEIVING_WINDOW || conn->window == NULL);
    conn->window = NULL;
    if (conn->showing == SHOWING_NOTHING) conn_receive_next(conn);
}
