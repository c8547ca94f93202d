/* conn_write.c - the output of a connection: a buffer to append to, a buffer being sent, and the
 * owner's pieces.
 *
 * One send runs at a time. What is appended meanwhile goes with the next one, which starts when the
 * first ends, so replies never mix and never wait for a turn of their own. */
#include "ring/conn.h"

#include "ring/conn_internal.h"

#include <string.h>

/* --- the pool --- */

static bool has_outputs(const struct conn_host *host)
{
    return host->outputs.count < host->outputs.count_max;
}

void conn_pass_room_on(struct conn_host *host)
{
    if (!has_outputs(host)) return;
    struct list *node = list_pop_front(&host->room_wanted);
    if (node == NULL) return;
    struct conn *conn = LIST_ENTRY(node, struct conn, room_node);
    conn->is_room_due = true;
    conn_defer(conn);
}

static void give_output_back(struct conn *conn, char *output)
{
    if (output == NULL) return;
    slab_put(&conn->host->outputs, output);
    conn_pass_room_on(conn->host);
}

/* The pool is empty. While a send runs, its own on_sent() will come; otherwise the connection
 * stands in line. */
static void want_room(struct conn *conn)
{
    if (conn->sending != SENDING_NOTHING && conn->tls != NULL) conn->tls->is_sent_due = true;
    if (conn->sending != SENDING_NOTHING || conn->is_room_due) return;
    if (list_is_empty(&conn->room_node)) list_push_back(&conn->host->room_wanted, &conn->room_node);
}

/* --- appending --- */

size_t conn_output_room(struct conn *conn)
{
    if (conn->life != LIFE_OPEN || conn->pieces != NULL) return 0;
    if (conn->tls != NULL && conn->tls->has_clear) return 0; /* on_sent() comes when that is sent */
    if (conn->output != NULL) return CONN_OUTPUT_BYTES - conn->output_len;
    if (has_outputs(conn->host)) return CONN_OUTPUT_BYTES;
    want_room(conn);
    return 0;
}

bool conn_write(struct conn *conn, struct slice bytes)
{
    if (bytes.len > conn_output_room(conn)) return false;
    if (bytes.len == 0) return true;
    if (conn->output == NULL) {
        conn->output = slab_get(&conn->host->outputs);
        if (conn->output == NULL) return false;
    }
    memcpy(conn->output + conn->output_len, bytes.data, bytes.len);
    conn->output_len = (uint16_t)(conn->output_len + bytes.len);
    return true;
}

bool conn_is_flushed(const struct conn *conn)
{
    bool is_sending = conn->sending != SENDING_NOTHING;
    /* Records of TLS itself are nothing that was appended. */
    if (conn->sending == SENDING_SEALED) is_sending = conn->tls->is_sent_due;
    return !is_sending && conn->output_len == 0 && conn->pieces == NULL;
}

void conn_release_output(struct conn *conn)
{
    give_output_back(conn, conn->output);
    conn->output = NULL;
    conn->output_len = 0;
}

void conn_drop_output(struct conn *conn)
{
    conn_release_output(conn);
    if (conn->sending != SENDING_PIECES) conn->pieces = NULL;
}

/* --- sending --- */

static size_t pieces_bytes(const struct iovec *pieces, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += pieces[i].iov_len;
    return bytes;
}

void conn_begin_send(struct conn *conn, enum conn_sending what, size_t bytes)
{
    ASSERT(conn->sending == SENDING_NOTHING);
    conn->sending = (uint8_t)what;
    conn->sending_bytes = bytes;
    conn->inflight++;
}

/* The buffer goes with the send. */
static void begin_plain_send(struct conn *conn, enum conn_sending what, size_t bytes)
{
    ASSERT(conn->output_sent == NULL);
    conn_begin_send(conn, what, bytes);
    conn->output_sent = conn->output;
    conn->output = NULL;
    conn->output_len = 0;
}

void conn_send_bytes(struct conn *conn)
{
    begin_plain_send(conn, SENDING_BYTES, conn->output_len);
    loop_send(conn->host->loop, conn->socket, conn->output_sent, conn->sending_bytes,
              &conn->send_op);
}

static void send_pieces(struct conn *conn, const struct iovec *pieces, uint32_t count)
{
    begin_plain_send(conn, SENDING_PIECES, pieces_bytes(pieces, count));
    loop_sendv(conn->host->loop, conn->socket, pieces, count, &conn->send_op);
}

/* The list of pieces with the appended bytes at its front. It is made in the free part of the
 * output buffer, which lives exactly as long as the send. NULL when it does not fit. */
static struct iovec *pieces_after_output(struct conn *conn)
{
    size_t at = ROUND_UP((size_t)conn->output_len, _Alignof(struct iovec));
    size_t bytes = (conn->piece_count + 1) * sizeof(struct iovec);
    if (at + bytes > CONN_OUTPUT_BYTES) return NULL;
    struct iovec *all = (struct iovec *)(void *)(conn->output + at);
    all[0] = (struct iovec){conn->output, conn->output_len};
    memcpy(all + 1, conn->pieces, conn->piece_count * sizeof(struct iovec));
    return all;
}

bool conn_send_next(struct conn *conn)
{
    ASSERT(conn->sending == SENDING_NOTHING);
    if (conn->tls != NULL) return conn_tls_send_next(conn);
    if (conn->output_len == 0) {
        if (conn->pieces == NULL) return false;
        send_pieces(conn, conn->pieces, conn->piece_count);
        return true;
    }
    struct iovec *all = conn->pieces == NULL ? NULL : pieces_after_output(conn);
    if (all == NULL) {
        conn_send_bytes(conn);
    } else {
        send_pieces(conn, all, conn->piece_count + 1);
    }
    return true;
}

void conn_flush(struct conn *conn)
{
    if (conn->life != LIFE_OPEN || conn->sending != SENDING_NOTHING) return;
    (void)conn_send_next(conn);
}

void conn_send_pieces(struct conn *conn, const struct iovec *pieces, uint32_t count)
{
    ASSERT(conn->pieces == NULL);
    ASSERT(count > 0 && count <= LOOP_IOV_MAX && pieces_bytes(pieces, count) > 0);
    if (conn->life != LIFE_OPEN) return;
    conn->pieces = pieces;
    conn->piece_count = count;
    if (conn->tls != NULL) {
        conn->tls->piece_index = 0;
        conn->tls->piece_offset = 0;
    }
    conn_flush(conn);
}

void conn_send_failed(struct conn *conn, int result)
{
    conn_drop_output(conn);
    if (conn->life == LIFE_OPEN && conn->end == END_TOLD) {
        conn->handler->on_sent(conn); /* nobody is there to read it; the owner ends by itself */
    } else {
        conn_fail(conn, result < 0 ? result : -ERR_CLOSED);
    }
}

void conn_send_done(struct ring_op *op)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, send_op);
    int result = op->result;
    enum conn_sending what = conn->sending;
    conn->inflight--;
    conn->sending = SENDING_NOTHING;
    give_output_back(conn, conn->output_sent);
    conn->output_sent = NULL;
    if (what == SENDING_PIECES) conn->pieces = NULL;
    if (what == SENDING_SEALED) conn_tls_sent(conn);

    bool is_short = result < 0 || (size_t)result != conn->sending_bytes;
    if (conn->life == LIFE_CLOSING || what == SENDING_END) {
        /* Only its end was awaited. */
    } else if (is_short) {
        conn_send_failed(conn, result);
    } else if (conn_send_next(conn)) {
        /* Appended while the last send ran. */
    } else if (conn->life == LIFE_FLUSHING) {
        conn_flushed(conn);
    } else if (conn->tls == NULL || conn_tls_take_sent_due(conn)) {
        conn->handler->on_sent(conn);
    }
    conn_settle(conn);
}
