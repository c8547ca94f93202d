/* conn.c - the life of a connection: how it begins, and the ways it ends.
 *
 * Every ending comes to conn_close(), which cancels what is in flight and closes the socket with
 * the same submission; when the last operation has reported, the owner gets on_closed(). No
 * handler runs inside a call of the owner, so the owner may call anything from anywhere. */
#include "ring/conn.h"

#include "ring/conn_internal.h"

_Static_assert(sizeof(struct conn) <= 320, "an idle connection is small");

void conn_host_init(struct conn_host *host, struct loop *loop, size_t output_count_max)
{
    enum { OUTPUTS_A_CHUNK = 16 };
    *host = (struct conn_host){.loop = loop};
    list_init(&host->room_wanted);
    slab_init(&host->outputs, CONN_OUTPUT_BYTES, OUTPUTS_A_CHUNK, output_count_max);
}

void conn_host_finish(struct conn_host *host)
{
    ASSERT(host->kept_bytes == 0 && list_is_empty(&host->room_wanted));
    slab_finish(&host->outputs);
}

static void tell_end(struct conn *conn, int err)
{
    ASSERT(conn->life == LIFE_OPEN && conn->end != END_TOLD);
    timer_disarm(&conn->timer);
    conn->end = END_TOLD;
    conn->handler->on_end(conn, err);
}

static void end_sending(struct conn *conn)
{
    ASSERT(conn->sending == SENDING_NOTHING);
    conn->life = LIFE_LINGERING;
    conn->sending = SENDING_END;
    conn->inflight++;
    loop_shutdown_send(conn->host->loop, conn->socket, &conn->send_op);
    timer_arm(conn->host->loop, &conn->timer, CONN_LINGER_MS);
}

static void timer_fired(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, timer);
    if (conn->life == LIFE_OPEN) {
        ASSERT(conn->end == END_SEEN);
        tell_end(conn, 0);
    } else if (conn->life == LIFE_DRAINING) {
        end_sending(conn);
    } else {
        conn_close(conn);
    }
    conn_settle(conn);
}

static void close_done(struct ring_op *op)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, close_op);
    conn->inflight--;
    conn_settle(conn);
}

void conn_open(struct conn *conn, struct conn_host *host, const struct conn_handler *handler,
               int socket)
{
    ASSERT(socket >= 0);
    *conn = (struct conn){
        .host = host,
        .handler = handler,
        .socket = socket,
        .recv_op.done = conn_recv_done,
        .send_op.done = conn_send_done,
        .show_op.done = conn_show_done,
        .close_op.done = close_done,
    };
    list_init(&conn->room_node);
    timer_init(&conn->timer, timer_fired);
    conn_receive_next(conn);
}

static void settle_open(struct conn *conn)
{
    if (conn->is_show_wanted) conn_defer_show(conn);
    if (conn->end != END_SEEN) return;
    if (conn->kept_len == 0) {
        tell_end(conn, 0);
    } else if (!timer_is_armed(&conn->timer)) {
        timer_arm(conn->host->loop, &conn->timer, CONN_UNTAKEN_MS);
    }
}

void conn_settle(struct conn *conn)
{
    ASSERT(conn->showing == SHOWING_NOTHING);
    if (conn->life == LIFE_OPEN) settle_open(conn);
    if (conn->life != LIFE_OPEN) conn_drop_kept(conn);
    if (conn->life == LIFE_CLOSING) {
        if (conn->inflight > 0) return;
        conn_tls_free(conn);
        conn->handler->on_closed(conn);
        return;
    }
    bool is_done = conn->life == LIFE_DRAINING || conn->life == LIFE_LINGERING;
    if (is_done && conn->end != END_NONE) {
        conn_close(conn);
        return;
    }
    conn_receive_next(conn);
}

void conn_fail(struct conn *conn, int err)
{
    ASSERT(err < 0);
    if (conn->life != LIFE_OPEN) {
        conn_close(conn);
        return;
    }
    conn_drop_output(conn);
    if (conn->end != END_TOLD) tell_end(conn, err);
}

void conn_flushed(struct conn *conn)
{
    ASSERT(conn->life == LIFE_FLUSHING);
    conn->life = LIFE_DRAINING;
    if (conn->end != END_NONE) {
        conn_close(conn);
    } else {
        timer_arm(conn->host->loop, &conn->timer, CONN_FIN_DELAY_MS);
    }
}

void conn_finish(struct conn *conn)
{
    if (conn->life != LIFE_OPEN) return;
    conn->life = LIFE_FLUSHING;
    conn->window = NULL;
    list_remove(&conn->room_node);
    timer_arm(conn->host->loop, &conn->timer, CONN_FLUSH_MS_MAX);
    if (conn->sending == SENDING_NOTHING && !conn_send_next(conn)) conn_flushed(conn);
    if (conn->showing != SHOWING_NOTHING || conn->life == LIFE_CLOSING) return;
    conn_drop_kept(conn);
    conn_receive_next(conn);
}

void conn_close(struct conn *conn)
{
    if (conn->life == LIFE_CLOSING) return;
    struct loop *loop = conn->host->loop;
    conn->life = LIFE_CLOSING;
    timer_disarm(&conn->timer);
    list_remove(&conn->room_node);
    conn->window = NULL;
    conn_drop_output(conn);
    /* A handler that runs may still look at what it was shown. */
    if (conn->showing == SHOWING_NOTHING) conn_drop_kept(conn);

    if (conn->receiving != RECEIVING_NOTHING && !conn->is_recv_canceled)
        loop_cancel(loop, &conn->recv_op);
    if (conn->sending != SENDING_NOTHING) loop_cancel(loop, &conn->send_op);
    conn->inflight++;
    loop_close(loop, conn->socket, &conn->close_op);
}
