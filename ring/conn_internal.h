/* conn_internal.h - what the files of the connection share; nobody else includes it.
 *
 * conn.c begins and ends, conn_read.c has the input, conn_write.c the output, conn_tls.c stands
 * between these two and the socket when there is TLS. Every done() of a connection ends with
 * conn_settle(), and touches nothing after it. */
#pragma once

#include "ring/conn.h"
#include "ring/tls_internal.h"

/*
 *        conn_finish()            all sent               CONN_FIN_DELAY_MS
 *  OPEN ---------------> FLUSHING ----------> DRAINING ------------------> LINGERING
 *    |                      | too slow           | peer ended                 | peer ended, or
 *    | conn_close()         v                    v                            v CONN_LINGER_MS
 *    +------------------> CLOSING <--------------+----------------------------+
 *                            | nothing in flight: on_closed()
 */
enum conn_life { LIFE_OPEN, LIFE_FLUSHING, LIFE_DRAINING, LIFE_LINGERING, LIFE_CLOSING };

enum conn_receiving { RECEIVING_NOTHING, RECEIVING_INPUTS, RECEIVING_WINDOW };
enum conn_sending { SENDING_NOTHING, SENDING_BYTES, SENDING_PIECES, SENDING_SEALED, SENDING_END };

/* Which handler of the owner runs, if one does. */
enum conn_showing { SHOWING_NOTHING, SHOWING_INPUT, SHOWING_WINDOW };

/* The end of the peer's half: seen by us, told to the owner. A failure is told at once. */
enum conn_end { END_NONE, END_SEEN, END_TOLD };

/* Does what the state asks for: the last step of every event. May call on_end() or on_closed(). */
void conn_settle(struct conn *conn);
/* The connection broke: tells the owner, or closes when it is ending anyway. */
void conn_fail(struct conn *conn, int err);
/* Everything was sent after conn_finish(). */
void conn_flushed(struct conn *conn);

/* Shows `input` or keeps it. */
void conn_input_arrived(struct conn *conn, struct slice input);
/* `bytes` of the window are filled. */
void conn_window_filled(struct conn *conn, size_t bytes);
void conn_recv_done(struct ring_op *op);
void conn_show_done(struct ring_op *op);
/* Starts the receive that fits, or ends one that does not. */
void conn_receive_next(struct conn *conn);
/* Has kept input shown, when there is some. */
void conn_defer_show(struct conn *conn);
/* Has conn_show_done() run soon. */
void conn_defer(struct conn *conn);
void conn_drop_kept(struct conn *conn);
/* Ends the receive that runs: nothing that comes is wanted any more. */
void conn_receive_stop(struct conn *conn);

void conn_send_done(struct ring_op *op);
/* Starts the next send when there is something to send; false when not. */
bool conn_send_next(struct conn *conn);
/* Tells the next connection that waits for an output, when there is one again. */
void conn_pass_room_on(struct conn_host *host);
/* Forgets what was not yet sent. */
void conn_drop_output(struct conn *conn);
/* Gives the buffer that is appended to back to the pool. */
void conn_release_output(struct conn *conn);
/* Sends the appended bytes as they are. */
void conn_send_bytes(struct conn *conn);
/* Marks a send as begun: `bytes` are `what`. */
void conn_begin_send(struct conn *conn, enum conn_sending what, size_t bytes);
/* What was given to be sent will not be. */
void conn_send_failed(struct conn *conn, int result);

/* --- conn_tls.c: for connections whose `tls` is not NULL --- */

struct conn_tls {
    struct tls_stream stream;
    char *sealed_sent; /* ciphertext being sent, or NULL */
    uint32_t sealed_sent_cap;
    char *early; /* ciphertext that came before conn_start_tls(), or NULL */
    uint32_t early_at, early_len;
    uint32_t piece_index; /* of conn->pieces: where sealing goes on */
    size_t piece_offset;
    int err; /* not 0: the stream is broken */
    enum conn_before_tls before;
    bool has_clear;    /* appended before TLS and not yet being sent */
    bool is_sent_due;  /* on_sent() is wanted when the send that runs has ended */
    bool is_flush_due; /* asked for before the handshake's end */
    bool is_end_sealed;
    bool is_failure_due; /* the owner has not heard of `err` */
};

/* What the owner left of the bytes before TLS: by `before`. */
void conn_tls_take_kept(struct conn *conn);
void conn_tls_arrived(struct conn *conn, struct slice ciphertext);
/* The deferred half of a failure, and of ciphertext that was kept; false: neither was due. */
bool conn_tls_deferred(struct conn *conn);
/* The peer's TCP stream ended: 0, or what the owner is to hear: that the handshake is broken, or
 * what was wrong before. */
int conn_tls_input_ended(struct conn *conn);
/* As conn_send_next(). */
bool conn_tls_send_next(struct conn *conn);
/* A send of ciphertext has ended. */
void conn_tls_sent(struct conn *conn);
/* Whether on_sent() is due now that nothing is being sent; then it is no more. */
bool conn_tls_take_sent_due(struct conn *conn);
void conn_tls_free(struct conn *conn);
