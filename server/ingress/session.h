/* session.h - one receiving session: a connection from accept to its end. Internal to ingress/.
 *
 *   accept --> [proxy] --> [handshake] --> [greeting] --> [command]
 *              as configured  implicit TLS  the banner's turn
 *
 *              +--- STARTTLS: [handshake], no banner --------------------------+
 *              v                                               |
 *          [command] --AUTH--> [auth] <--> [verify] --> [command]
 *          ^   |  |  \--BDAT--> [chunk] <--> [space]            |
 *          |   |  +---DATA--> [data] <--> [space]               |
 *          |   |                 |  end of data, LAST           |
 *          +---|------------ [commit] <-------------------------+
 *              |
 *   any state --error, QUIT, time, shutdown--> [closing] --> freed
 *
 * The states that take input are those with an input function in session.c; in the others it waits
 * in the connection. Every state has a deadline; the deadline of [command] is for the whole
 * command, not for a read. */
#pragma once

#include "ring/conn.h"
#include "ring/timer.h"
#include "server/ingress/ingress.h"
#include "server/ingress/transaction.h"
#include "server/mail/date.h"

enum session_state {
    SESSION_PROXY,     /* waits for the header of a proxy */
    SESSION_HANDSHAKE, /* TLS is being set up */
    SESSION_GREETING,  /* the banner is about to go out */
    SESSION_COMMAND,
    SESSION_AUTH,   /* waits for a response of the client */
    SESSION_VERIFY, /* a password is being checked on another thread, or a sender's domain in the
                       DNS */
    SESSION_DATA,
    SESSION_CHUNK, /* the octets of BDAT */
    SESSION_SPACE, /* waits for a block, then goes back to where it was */
    SESSION_COMMIT,
    SESSION_CLOSING,
    SESSION_STATE_COUNT,
};

struct session_auth; /* cmd_auth.c */
struct forwarded;    /* cmd_xclient.c */

struct session {
    struct conn conn;
    struct list node; /* of ingress->sessions */
    struct ingress *ingress;
    struct transaction *txn; /* NULL outside of one */
    struct timer timer;
    struct ring_op store_op; /* waits for a block, or for the commit */
    struct ring_op greet_op; /* [greeting]: the banner's turn */
    struct endpoint peer;    /* the client: of the socket, or as a trusted proxy or XCLIENT said */
    uint64_t id;
    uint64_t opened_ns;                /* the accept */
    uint64_t started_ns;               /* the present state, or command */
    uint64_t input_ns;                 /* the last input */
    char *helo;                        /* of the last good EHLO or HELO; NULL before */
    char *user;                        /* that authenticated itself; NULL: nobody did */
    struct session_auth *auth;         /* while AUTH is under way */
    struct sender_check *sender_check; /* while the DNS is asked for the sender's domain */
    struct forwarded *forwarded;       /* what XFORWARD or XCLIENT said; NULL: nothing */
    struct line_reader line;
    uint32_t messages;     /* accepted in this session */
    uint32_t errors, junk; /* since the last accepted message */
    uint16_t listener_index;
    uint8_t state;         /* enum session_state */
    uint8_t reply_to;      /* what the next reply answers: enum verb or enum reply_to */
    uint8_t space_from;    /* the state that [space] goes back to */
    uint8_t auth_failures; /* in this session */
    bool is_esmtp;
    bool is_counted; /* against the limit of its client */
    bool is_probe;   /* a proxy's own check: EHLO, NOOP and QUIT only */
    bool is_handshake_counted;
    bool is_in_store;  /* store_op is in flight */
    bool is_greeting;  /* greet_op is in flight */
    bool is_greeted;   /* the banner went out */
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

/* Takes `socket`, counted already against the listener's limit and, unless a proxy's header is to
 * come first (`has_proxy`), the client's; both counts end with the session. False, with nothing
 * taken, when memory is out. */
MUST_USE bool session_start(struct ingress *ingress, struct ingress_listener *listener, int socket,
                            const struct endpoint *peer, bool has_proxy);
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

/* Counts the session against the limit of its client, s->peer, once that is known. False: it is
 * above the limit, and the session has been ended with 421. */
bool session_count_client(struct session *s);
/* Takes the count back: s->peer is about to become another. */
void session_uncount_client(struct session *s);
/* The answer to a password came and was worked in on the core, the session in another state than
 * [verify] now (or the DNS has answered): goes on with what waits, or frees the session when its
 * connection ended meanwhile. Nothing may be done with the session afterwards. */
void session_wait_over(struct session *s);
/* Arms the timer for a state whose deadline is not that of commands and data. */
void session_arm(struct session *s, uint64_t ms);
/* How often the timer comes back in all other states. */
uint64_t session_timer_period_ms(const struct session *s);
/* True when STARTTLS is offered now. */
bool session_has_starttls(const struct session *s);
/* "220 ..." as the banner says it. */
void session_write_banner(struct session *s);
/* Forgets what the client said so far: greeting name, transaction, user (RFC 3207 4.2). */
void session_forget(struct session *s);
/* [greeting]: the banner goes out next turn, or after greeting_delay. */
void session_greet(struct session *s);

/* What the parameters of MAIL and RCPT may be in this session, now. */
void session_param_offer(const struct session *s, struct param_offer *out);

/* True between two chunks of a message: it is being received, although a command is waited for. */
bool session_has_open_chunks(const struct session *s);

/* The commands: each answers exactly once. */
void cmd_hello(struct session *s, const struct command *command);
void cmd_mail(struct session *s, const struct command *command);
void cmd_rcpt(struct session *s, const struct command *command);
void cmd_data(struct session *s, const struct command *command);
void cmd_bdat(struct session *s, const struct command *command);
void cmd_starttls(struct session *s, const struct command *command);
void cmd_auth(struct session *s, const struct command *command);
void cmd_xclient(struct session *s, const struct command *command);
void cmd_xforward(struct session *s, const struct command *command);
void cmd_other(struct session *s, const struct command *command);

/* The reply to MAIL: REPLY_NONE when it is accepted. */
void mail_answer(struct session *s, enum reply_id bad);
/* The sender's domain (sender_check.c): BEGUN: the session is in [verify] and mail_answer() comes,
 * unless the session ends before; IMPOSSIBLE: out of memory, or too many look-ups. */
enum sender_check_begun {
    SENDER_CHECK_NOT_WANTED,
    SENDER_CHECK_BEGUN,
    SENDER_CHECK_IMPOSSIBLE,
};
enum sender_check_begun sender_check_begin(struct session *s, const struct mailbox_address *sender);
/* It ends soon, and then calls session_wait_over(). No effect when none is under way. */
void sender_check_cancel(struct session *s);

/* [command] (dispatch.c): one line, one reply. */
size_t command_input(struct session *s, struct slice in);

/* TLS (session_tls.c). Starts it under the session, `before` as conn_start_tls(): [handshake] until
 * tls_secured(). */
void session_start_tls(struct session *s, enum conn_before_tls before);
void tls_secured(struct session *s);
/* The handshake came to no end; `why` for the log. */
void tls_failed(struct session *s, const char *why);
/* Gives the place among the handshakes under way back; no effect when there is none. */
void tls_uncount(struct session *s);

/* [auth] (cmd_auth.c): a line that answers a challenge. auth_drop() frees the exchange, but not
 * while a password is being checked: auth_is_in_flight(). */
size_t auth_input(struct session *s, struct slice in);
void auth_drop(struct session *s);
bool auth_is_in_flight(const struct session *s);
/* What EHLO says of AUTH, the whole line "250-AUTH PLAIN LOGIN"; nothing when it is not offered
 * now. */
void auth_write_offer(const struct session *s, struct buf *out);
/* What EHLO says of XCLIENT and XFORWARD: whole lines "250-XCLIENT ...", or nothing. */
void xclient_write_offer(const struct session *s, struct buf *out);
void forwarded_free(struct forwarded *forwarded); /* NULL is allowed */
/* [proxy] (proxy.c): takes the header and goes on, or closes. */
size_t proxy_input(struct session *s, struct slice in);
/* The header did not come in time; the peer ended the connection before it was whole. Both close
 * the session. */
void proxy_timeout(struct session *s);
void proxy_ended(struct session *s);
/* True when this listener wants a header from the peer of the socket; *is_refused_out: the listener
 * wants headers, and this peer may not send one. */
bool proxy_is_expected(const struct config_listener *config, const struct endpoint *peer,
                       bool *is_refused_out);

/* Receiving the data (receive.c). */
size_t receive_input(struct session *s, struct slice in);
size_t chunk_input(struct session *s, struct slice in);
void receive_window(struct session *s, size_t bytes);
void receive_on_store(struct ring_op *op);
