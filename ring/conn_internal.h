/* conn_internal.h - what the files of the connection share; nobody else includes it.
 *
 * conn.c begins and ends, conn_read.c has the input, conn_write.c the output. Every done() of a
 * connection ends with conn_settle(), and touches nothing after it. */
#pragma once

#include "ring/conn.h"

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
enum conn_sending { SENDING_NOTHING, SENDING_BYTES, SENDING_PIECES, SENDING_END };

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

void conn_recv_done(struct ring_op *op);
void conn_show_done(struct ring_op *op);
/* Starts the receive that fits, or ends one that does not. */
void conn_receive_next(struct conn *conn);
/* Has kept input shown, when there is some. */
void conn_defer_show(struct conn *conn);
/* Has conn_show_done() run soon. */
void conn_defer(struct conn *conn);
void conn_drop_kept(struct conn *conn);

void conn_send_done(struct ring_op *op);
/* Starts the next send when there is something to send; false when not. */
bool conn_send_next(struct conn *conn);
/* Tells the next connection that waits for an output, when there is one again. */
void conn_pass_room_on(struct conn_host *host);
/* Forgets what was not yet sent. */
void conn_drop_output(struct conn *conn);
