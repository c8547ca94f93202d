/* load_session.h - one connection of the load after another, and the messages on it.
 *
 *     DOWN --> CONNECT --> GREETING --> EHLO --> IDLE <---------------+
 *      ^                                          | a message is due  |
 *      |                                          v                   |
 *      |                                       ENVELOPE --> BODY --> DRAIN
 *      |                                          | refused           |
 *      |                                          +--> RESET ---------+
 *      +--- CLOSING <--- QUIT <--- (enough messages, or none left)
 *
 * A connection that is lost goes to CLOSING from any state. A message whose end of data was not yet
 * sent then is tried again on the next connection; one that was sent is settled as lost. */
#pragma once

#include "bench/load_run.h"

enum load_session_state {
    LOAD_SESSION_DOWN, /* waits to connect again */
    LOAD_SESSION_CONNECT,
    LOAD_SESSION_GREETING,
    LOAD_SESSION_EHLO,
    LOAD_SESSION_IDLE,
    LOAD_SESSION_ENVELOPE, /* MAIL, RCPT and DATA, up to their replies */
    LOAD_SESSION_BODY,     /* data on its way, or waiting for the reply to its end */
    LOAD_SESSION_DRAIN,    /* answered before all data was sent */
    LOAD_SESSION_RESET,    /* RSET after a refusal */
    LOAD_SESSION_QUIT,
    LOAD_SESSION_CLOSING, /* waits until nothing is in flight */
    LOAD_SESSION_OVER,
};

struct load_session {
    struct conn conn;
    struct load_run *run;
    enum load_session_state state;
    bool has_message, wants_close_only; /* close_only: do not connect again */
    bool can_pipeline, can_8bit, can_size, is_connecting;
    uint16_t backoff_ms;                 /* 0: connect again at once */
    uint32_t step_count, sent, answered; /* of the envelope: MAIL, each RCPT, DATA */
    unsigned refusal;                    /* code that refused the message, or 0 */
    uint32_t accepted_count;             /* recipients */
    uint64_t accepted;                   /* their set (mark_recipient_bit) */
    uint64_t messages_here;              /* on this connection */
    uint64_t intended_ns, end_of_data_ns;
    struct ring_op connect_op;
    struct timer retry_timer;
    struct list idle_node;
    struct message message;
    struct iovec *pieces; /* message_pieces_max() */
};

void load_session_start(struct load_session *session, struct load_run *run);
/* Frees what the session holds; it must be over. */
void load_session_finish(struct load_session *session);
/* An idle session looks for a message, or quits when none is left. */
void load_session_poll(struct load_session *session);
/* Closes now; never connects again. A message under way is settled as lost. */
void load_session_stop(struct load_session *session);
