/* session.h - one receiving session: a connection from accept to its end. Internal to ingress/.
 *
 *                    +-----------------------------------------------+
 *                    v                                               |
 *   accept --> [command] --DATA--> [data] --end of data--> [commit] -+
 *                    ^               |  ^                            |
 *                    |  discarded    v  | a block is free            |
 *                    +-----------  [space]                           |
 *   any state --error, QUIT, time, shutdown--> [closing] --> freed   |
 *
 * Input is taken in [command] and [data] only; in the others it waits in the connection. Every
 * state has a deadline; the deadline of [command] is for the whole command, not for a read. */
#pragma once

#include "ring/conn.h"
#include "ring/timer.h"
#include "server/ingress/ingress.h"
#include "server/ingress/transaction.h"
#include "server/mail/date.h"

enum session_state {
    SESSION_COMMAND,
    SESSION_DATA,
    SESSION_SPACE,
    SESSION_COMMIT,
    SESSION_CLOSING,
    SESSION_STATE_COUNT,
};

struct session {
    struct conn conn;
    struct list node; /* of ingress->sessions */
    struct ingress *ingress;
    struct transaction *txn; /* NULL outside of one */
    struct timer timer;
    struct ring_op store_op; /* waits for a block, or for the commit */
    struct endpoint peer;
    uint64_t id;
    uint64_t opened_ns;  /* the accept */
    uint64_t started_ns; /* the present state, or command */
    uint64_t input_ns;   /* the last input */
    char *helo;          /* of the last good EHLO or HELO; NULL before */
    struct line_reader line;
    uint32_t messages;     /* accepted in this session */
    uint32_t errors, junk; /* since the last accepted message */
    uint16_t listener_index;
    uint8_t state;    /* enum session_state */
    uint8_t reply_to; /* what the next reply answers: enum verb or enum reply_to */
    bool is_esmtp;
    bool is_in_store;  /* store_op is in flight */
    bool is_peer_gone; /* the peer ended its half: close once all is answered */
    bool is_closed;    /* on_closed() ran: only the queue's answer is waited for */
    bool is_aborted;   /* conn_close() was called: nothing can be answered */
};
_Static_assert(sizeof(struct session) <= 1024, "an idle session is to stay within 1 KiB");

/* One listener of the configuration, as this core has it. */
struct ingress_listener {
    struct ingress *ingress;
    uint16_t index;
    struct listener **sockets;
    size_t socket_count;
    struct ingress_listener_counters counters;
};

struct ingress {
    struct ingress_options options;
    struct conn_host host;
    struct slab sessions_slab, transactions_slab;
    struct list sessions;
    size_t session_count;
    struct ingress_listener *listeners;
    size_t listener_count;
    uint64_t session_next;
    bool is_draining;
    struct timer drain_timer;
    void (*drained)(void *owner);
    struct ring_op drained_op;
    bool is_drained_told;
    struct date_cache date;
    struct histogram accept_duration;
};

#define SESSION_CLOSING_MS 30000     /* for the last reply to be taken by the peer */
#define SESSION_OUTPUT_ROOM_MIN 1024 /* a command is run only when its reply surely fits */

/* Takes `socket`. The limits were checked; the session counts against them until it ends. False,
 * with nothing taken, when memory is out. */
MUST_USE bool session_start(struct ingress *ingress, struct ingress_listener *listener, int socket,
                            const struct endpoint *peer);
/* The server shuts down: 421 now, or after the message that is being received. */
void session_drain(struct session *s);
/* Ends it now. */
void session_abort(struct session *s);

/* For the commands (cmd_*.c) and receive.c: */

void session_go(struct session *s, enum session_state next);
/* Writes the reply, counts it and, when it refuses, the error; too many errors end the session. */
void session_reply(struct session *s, enum reply_id id);
/* A reply made here: one or more whole lines with their CRLF; all of them with `code`. */
void session_reply_text(struct session *s, unsigned code, struct slice lines);
/* 421 or 554 with an orderly end: no input is taken any more. */
void session_end(struct session *s, enum reply_id id);
/* Ends the transaction, if there is one; in [commit] the queue's answer does that, and while the
 * connection still fills a block the end of the connection does. */
void session_drop_transaction(struct session *s);
const struct config_listener *session_config(const struct session *s);
struct ingress_listener_counters *session_counters(struct session *s);
/* Begins a log line with the session's id, listener and peer. */
bool session_log(const struct session *s, enum log_level level, const char *event);
/* A line about a refused command or message. */
void session_log_rejected(const struct session *s, enum reply_id id, struct slice recipient);

/* The commands: each answers exactly once. */
void cmd_hello(struct session *s, const struct command *command);
void cmd_mail(struct session *s, const struct command *command);
void cmd_rcpt(struct session *s, const struct command *command);
void cmd_data(struct session *s, const struct command *command);
void cmd_other(struct session *s, const struct command *command);

/* Receiving the data (receive.c). */
size_t receive_input(struct session *s, struct slice in);
void receive_window(struct session *s, size_t bytes);
void receive_on_store(struct ring_op *op);
