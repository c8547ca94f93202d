/* client.h - one connection to a next hop, speaking SMTP (RFC 5321, 2920, 1870, 6152, 3030, 3461,
 * 6531, 9422).
 *
 *   CONNECT [-> HANDSHAKE] -> GREETING -> EHLO [-> STARTTLS -> HANDSHAKE -> EHLO] [-> AUTH] -> IDLE
 *
 *                          EHLO ------> IDLE -> ENVELOPE -> DATA -> BODY -> DOT -> IDLE
 *                            \-> HELO ---^        |  |       |      ^       |
 *                                                 |  +-BDAT--|------+       | BDAT refused
 *                                                 |          |              v
 *                                                 +----------+-----------> RSET ------> IDLE
 *                                                            +-----------> EMPTY_DOT -> IDLE
 *   any -> CLOSING
 *
 * An LMTP server is greeted with LHLO, and answers the final dot once for each recipient that it
 * accepted (RFC 2033 4.2).
 *
 * A transaction takes as many of the attempt's recipients as the next hop's LIMITS allow, the first
 * ones; the others are put off to another attempt.
 *
 * Before IDLE a failure is the host's, and the next host is tried with the same client. After it, a
 * failure is that of the attempt: its recipients are deferred. Nothing is sent again to another
 * host once the final dot is out (the message may have been taken). */
#pragma once

#include "ring/conn.h"
#include "ring/timer.h"
#include "server/delivery/client_reply.h"
#include "server/delivery/client_script.h"
#include "server/delivery/stuff.h"
#include "store/queue.h"

/* One transaction, or one set-up, takes no longer, however slowly the peer drips its replies. */
#define CLIENT_CLEAR_MS (3600 * 1000) /* a host whose handshake failed gets none for so long */
#define CLIENT_TRANSACTION_MS_MAX (2ull * 3600 * 1000)

struct attempt;
struct client_auth;
struct client_stuffing;
struct destination;
struct host;
struct delivery_route_counters;

enum client_state {
    CLIENT_CONNECT,
    CLIENT_HANDSHAKE, /* of TLS */
    CLIENT_GREETING,
    CLIENT_EHLO, /* or LHLO */
    CLIENT_HELO,
    CLIENT_STARTTLS,
    CLIENT_AUTH,
    CLIENT_IDLE,
    CLIENT_ENVELOPE, /* MAIL, RCPT and DATA are written and answered */
    CLIENT_DATA,     /* only the answer to DATA is missing */
    CLIENT_BODY,
    CLIENT_DOT,       /* the last piece, and with DATA the dot, is on its way, or sent */
    CLIENT_EMPTY_DOT, /* a 354 without recipients: the empty message (RFC 2920 3.1) */
    CLIENT_RSET,
    CLIENT_CLOSING,
    CLIENT_STATES,
};

struct client {
    struct conn conn;
    struct list node; /* in destination->idle */
    struct list all;  /* in destination->clients */
    struct destination *destination;
    struct host *host;
    struct attempt *attempt;               /* NULL: none */
    struct delivery_route_counters *route; /* for which it was opened */
    struct timer timer;
    struct ring_op connect_op, body_op;
    struct client_reply reply;
    struct client_offer offer;
    struct client_auth *auth; /* while in AUTH */
    struct client_script script;
    struct body_reader body;
    struct iovec pieces[2];
    struct client_stuffing *stuffing; /* of HANDOVER_STUFF, while the body is open; else NULL */
    uint64_t body_sent, opened_ns, deadline_ns;
    uint32_t message_count; /* transactions that ended in order on this connection */
    uint32_t put_off_count; /* recipients of the attempt that this transaction leaves undecided */
    uint8_t state;          /* enum client_state */
    bool is_spare;          /* IDLE, with the short time of client_rest_shortly() */
    bool is_set_up;         /* was once IDLE */
    bool is_connecting;     /* connect_op runs */
    bool is_open;           /* conn is */
    bool is_sending;        /* pieces of the body */
    bool ends_with_lf;      /* what was sent of the body */
    bool is_reading;        /* body_op runs for body_read() */
    bool is_body_open, is_body_closing;
    bool is_finishing;    /* the final reply is handled; the body is not released yet */
    bool tries_next_host; /* when CLOSING is over */
    bool is_probe;        /* it is to prove that its host works */
    bool needs_reset;     /* the chunk was refused: RSET before anything else */
    bool is_desynced;     /* an answer came to which there was no command */
    uint32_t lmtp_at;     /* LMTP, in DOT: recipients before it have their answers */
    bool is_greeted;      /* the banner has been read */
    bool is_us;           /* the server calls itself by our name */
    bool tries_in_clear;  /* the handshake failed, and the route lets it: the same host again */
    bool is_stale;        /* the attempt is served again when CLOSING is over */
};

/* Starts a connection. NULL: no memory. */
MUST_USE struct client *client_open(struct destination *destination, struct host *host,
                                    struct delivery_route_counters *route);
/* Takes an attempt; the client is IDLE. It leaves destination->idle, unless the attempt is over at
 * once. */
void client_begin(struct client *client, struct attempt *attempt);
/* The client is IDLE: it ends when it gets no work within `delay_ms`, or the route's idle time. */
void client_rest_shortly(struct client *client, uint64_t delay_ms);
/* Ends an IDLE client with QUIT. */
void client_quit(struct client *client);
/* The process stops: ends the client now, its attempt without results; one that waits for the
 * answer to its final dot goes on, unless `is_final`. */
void client_stop(struct client *client, bool is_final);
