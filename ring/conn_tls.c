/* conn_tls.c - TLS between a connection and its socket.
 *
 * Input: ciphertext is decrypted as it arrives, all of it, into the window when one is open and
 * otherwise into memory of the core, where it is shown as plain input is; what the owner leaves is
 * kept as plaintext. So ciphertext is never kept, and the limits on kept input hold.
 *
 * Output: what was appended, and as much of the pieces as one send carries, is encrypted when
 * nothing is being sent. The buffer goes back to the pool at once; the ciphertext lives until it is
 * sent. What TLS itself says (handshake, tickets, alerts) goes with it or by itself.
 *
 * A failure is told in a turn of its own, since it may be found in a call of the owner. */
#include "ring/conn_internal.h"

#include <stdlib.h>
#include <string.h>

static bool is_reading(const struct conn *conn)
{
    return conn->life == LIFE_OPEN && conn->end == END_NONE && conn->tls->err == 0;
}

static void fail(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    if (tls->err != 0) return;
    tls->err = tls->stream.is_out_of_memory ? -ERR_MEMORY : -ERR_TLS;
    tls->is_failure_due = true;
    conn_defer(conn);
}

static void fail_with(struct conn *conn, const char *text)
{
    tls_stream_fail(&conn->tls->stream, text);
    fail(conn);
}

/* --- input --- */

/* True when the handshake is done. */
static bool handshake(struct conn *conn)
{
    enum tls_result result = tls_stream_handshake(&conn->tls->stream);
    if (result == TLS_FAILED) fail(conn);
    if (result != TLS_OK) return false;
    if (conn->handler->on_secured != NULL) conn->handler->on_secured(conn);
    return true;
}

/* The peer says that nothing more will come: what still does is not looked at. */
static void ended(struct conn *conn)
{
    conn->end = END_SEEN;
    conn_receive_stop(conn);
}

/* One record, or the part of it that fits into the window. */
static enum tls_result read_some(struct conn *conn)
{
    struct tls_stream *stream = &conn->tls->stream;
    size_t bytes;
    if (conn->window != NULL && conn->kept_len == 0) {
        enum tls_result result = tls_stream_read(stream, conn->window, conn->window_bytes, &bytes);
        if (result == TLS_OK) conn_window_filled(conn, bytes);
        return result;
    }
    char *opened = stream->context->opened;
    enum tls_result result = tls_stream_read(stream, opened, TLS_RECORD_BYTES, &bytes);
    if (result == TLS_OK) conn_input_arrived(conn, slice_of(opened, bytes));
    return result;
}

static void read_all(struct conn *conn)
{
    enum tls_result result = TLS_OK;
    while (result == TLS_OK && is_reading(conn) && tls_stream_has_input(&conn->tls->stream))
        result = read_some(conn);
    if (result == TLS_ENDED) ended(conn);
    if (result == TLS_FAILED) fail(conn);
}

/* Sends what TLS itself has to say, and what had to wait for the handshake. */
static void flush_due(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    bool is_due = tls->stream.sealed_len > 0 || (tls->is_flush_due && tls->stream.is_secured);
    if (is_due && conn->sending == SENDING_NOTHING && conn->life == LIFE_OPEN)
        (void)conn_tls_send_next(conn);
}

static void open_ciphertext(struct conn *conn, struct slice ciphertext)
{
    struct tls_stream *stream = &conn->tls->stream;
    if (!is_reading(conn)) return;
    tls_stream_feed(stream, ciphertext);
    if (stream->is_secured || handshake(conn)) read_all(conn);
    tls_stream_feed(stream, (struct slice){0});
    flush_due(conn);
}

static void open_early(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    char *early = tls->early;
    tls->early = NULL;
    open_ciphertext(conn, slice_of(early + tls->early_at, tls->early_len));
    free(early);
}

void conn_tls_arrived(struct conn *conn, struct slice ciphertext)
{
    if (conn->tls->early != NULL) open_early(conn);
    open_ciphertext(conn, ciphertext);
}

int conn_tls_input_ended(struct conn *conn)
{
    struct tls_stream *stream = &conn->tls->stream;
    if (conn->tls->early != NULL) open_early(conn);
    conn->tls->is_failure_due = false; /* the caller tells it */
    if (stream->is_secured || conn->tls->err != 0 || conn->life != LIFE_OPEN) return conn->tls->err;
    tls_stream_fail(stream, "the peer ended the connection in the handshake");
    conn->tls->err = -ERR_TLS;
    return -ERR_TLS;
}

bool conn_tls_deferred(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    if (tls->is_failure_due) {
        tls->is_failure_due = false;
        /* When the owner has heard of the end, it waits for nothing but what it has sent. */
        if (conn->end != END_TOLD || tls->is_sent_due) conn_send_failed(conn, tls->err);
        tls->is_sent_due = false;
        return true;
    }
    if (tls->early == NULL) return false;
    open_early(conn);
    return true;
}

/* --- beginning --- */

void conn_tls_take_kept(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    conn->is_tls_begun = false;
    if (conn->kept_len == 0) return;
    if (tls->before == CONN_BEFORE_TLS_REFUSE)
        fail_with(conn, "the peer sent bytes before the handshake that do not belong there");
    if (tls->before == CONN_BEFORE_TLS_IS_TLS) {
        tls->early = conn->kept;
        tls->early_at = conn->kept_at;
        tls->early_len = conn->kept_len;
        conn->kept = NULL; /* the rest is done below: the memory counts as given back */
        conn_defer(conn);
    }
    conn_drop_kept(conn);
}

static struct conn_tls *tls_new(const struct conn *conn, enum conn_before_tls before)
{
    struct conn_tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL) return NULL;
    tls->before = before;
    tls->has_clear = conn->output_len > 0;
    tls->is_sent_due = !conn_is_flushed(conn);
    return tls;
}

int conn_start_tls(struct conn *conn, struct tls_context *context, const char *server_name,
                   enum conn_before_tls before)
{
    ASSERT(conn->tls == NULL && conn->window == NULL && conn->pieces == NULL);
    ASSERT(conn->showing != SHOWING_WINDOW);
    if (conn->life != LIFE_OPEN) return 0;
    struct conn_tls *tls = tls_new(conn, before);
    if (tls == NULL) return -ERR_MEMORY;
    int err = tls_stream_open(&tls->stream, context, server_name);
    if (err != 0) {
        free(tls);
        return err;
    }
    conn->tls = tls;
    conn->is_tls_begun = conn->showing == SHOWING_INPUT;
    if (!conn->is_tls_begun) conn_tls_take_kept(conn);
    /* The client's first flight; the server has nothing to say yet. */
    if (tls_stream_handshake(&tls->stream) == TLS_FAILED) fail(conn);
    conn_flush(conn);
    return 0;
}

/* --- output --- */

static bool has_plain(const struct conn *conn)
{
    return conn->output_len > 0 ||
           (conn->pieces != NULL && conn->tls->piece_index < conn->piece_count);
}

/* Moves on in the pieces by at most `bytes`, within one of them. */
static struct slice take_piece(struct conn *conn, size_t bytes)
{
    struct conn_tls *tls = conn->tls;
    const struct iovec *piece = &conn->pieces[tls->piece_index];
    struct slice rest = slice_of((const char *)piece->iov_base + tls->piece_offset,
                                 MIN(piece->iov_len - tls->piece_offset, bytes));
    tls->piece_offset += rest.len;
    if (tls->piece_offset == piece->iov_len) {
        tls->piece_index++;
        tls->piece_offset = 0;
    }
    return rest;
}

/* The next record's plaintext: gathered, so that many short pieces are not as many records. */
static struct slice take_plain(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    char *gathered = tls->stream.context->gathered;
    size_t len = conn->output_len;
    if (len > 0) {
        memcpy(gathered, conn->output, len);
        conn_release_output(conn);
    } else if (conn->pieces[tls->piece_index].iov_len - tls->piece_offset >= TLS_RECORD_BYTES) {
        return take_piece(conn, TLS_RECORD_BYTES);
    }
    while (conn->pieces != NULL && tls->piece_index < conn->piece_count && len < TLS_RECORD_BYTES) {
        struct slice piece = take_piece(conn, TLS_RECORD_BYTES - len);
        if (piece.len > 0) memcpy(gathered + len, piece.data, piece.len);
        len += piece.len;
    }
    return slice_of(gathered, len);
}

/* Whether what waits fills a whole send: then its memory is made at once. */
static bool is_bulk(const struct conn *conn)
{
    size_t bytes = 0;
    if (conn->pieces == NULL) return false;
    for (uint32_t i = conn->tls->piece_index; i < conn->piece_count; i++) {
        bytes += conn->pieces[i].iov_len;
        if (bytes - conn->tls->piece_offset > TLS_SEALED_BYTES / 2) return true;
    }
    return false;
}

static void seal(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    struct tls_stream *stream = &tls->stream;
    if (has_plain(conn)) tls->is_sent_due = true;
    if (is_bulk(conn) && stream->sealed_len < TLS_SEALED_BYTES)
        tls_stream_reserve(stream, TLS_SEALED_BYTES - stream->sealed_len);
    while (has_plain(conn) && stream->sealed_len + TLS_RECORD_WIRE_BYTES <= TLS_SEALED_BYTES) {
        struct slice plain = take_plain(conn);
        if (plain.len == 0 || tls_stream_write(stream, plain)) continue;
        fail(conn);
        return;
    }
    if (conn->life == LIFE_OPEN || has_plain(conn) || tls->is_end_sealed) return;
    tls->is_end_sealed = true;
    tls_stream_end(stream);
}

static bool send_sealed(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    if (tls->stream.sealed_len == 0) return false;
    ASSERT(tls->sealed_sent == NULL);
    conn_begin_send(conn, SENDING_SEALED, tls->stream.sealed_len);
    tls->sealed_sent = tls->stream.sealed;
    tls->sealed_sent_cap = tls->stream.sealed_cap;
    tls->stream.sealed = NULL;
    tls->stream.sealed_len = tls->stream.sealed_cap = 0;
    loop_send(conn->host->loop, conn->socket, tls->sealed_sent, conn->sending_bytes,
              &conn->send_op);
    return true;
}

/* The stream is broken: as if it were sent, since nobody is there to read it. */
static void drop_plain(struct conn *conn)
{
    if (!has_plain(conn)) return;
    conn_drop_output(conn);
    conn->is_room_due = true;
    conn_defer(conn);
}

bool conn_tls_send_next(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    if (tls->has_clear) {
        tls->has_clear = false;
        conn_send_bytes(conn);
        return true;
    }
    if (tls->err != 0) {
        drop_plain(conn);
    } else if (tls->stream.is_secured) {
        tls->is_flush_due = false;
        seal(conn);
    } else {
        tls->is_flush_due = has_plain(conn);
    }
    return send_sealed(conn);
}

void conn_tls_sent(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    if (conn->pieces != NULL && tls->piece_index == conn->piece_count) conn->pieces = NULL;
    if (conn->pieces != NULL && tls->stream.sealed == NULL) {
        tls->stream.sealed = tls->sealed_sent; /* for the next part of the same body */
        tls->stream.sealed_cap = tls->sealed_sent_cap;
    } else {
        free(tls->sealed_sent);
    }
    tls->sealed_sent = NULL;
}

bool conn_tls_take_sent_due(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    bool is_due = tls->is_sent_due && tls->err == 0;
    /* What waits for the handshake is not sent yet. */
    if (!tls->stream.is_secured && has_plain(conn)) return false;
    tls->is_sent_due = false;
    return is_due;
}

/* --- the end, and what the owner may ask --- */

void conn_tls_free(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    if (tls == NULL) return;
    ASSERT(tls->sealed_sent == NULL);
    tls_stream_close(&tls->stream);
    free(tls->early);
    free(tls);
    conn->tls = NULL;
}

bool conn_is_secured(const struct conn *conn)
{
    return conn->tls != NULL && conn->tls->stream.is_secured;
}

bool conn_tls_info(const struct conn *conn, struct tls_info *info_out)
{
    *info_out = (struct tls_info){0};
    if (!conn_is_secured(conn)) return false;
    tls_stream_info(&conn->tls->stream, info_out);
    return true;
}

const char *conn_tls_error(const struct conn *conn)
{
    if (conn->tls == NULL || conn->tls->err == 0) return NULL;
    const char *error = conn->tls->stream.error;
    return error == NULL ? "out of memory" : error;
}

bool conn_tls_is_truncated(const struct conn *conn)
{
    return conn->tls != NULL && conn->end != END_NONE &&
           !tls_stream_is_ended_by_peer(&conn->tls->stream);
}
