/* load_session.h - one session of the load: one connection after another, and the messages on them.
 *
 *     DOWN --> (the link opens) --> IDLE <-------------------------+
 *      ^                              | a message is due           |
 *      |                              v                            |
 *      |                           ENVELOPE --> BODY --> [DRAIN] --+
 *      |                              | refused                    |
 *      |                              +--> [DRAIN] --> RESET ------+
 *      +--- (the link is closing) <--- LEAVING <--- (enough messages, or none left)
 *
 * A connection that is lost leads to DOWN from any state. A message whose end of data was not yet
 * sent then is tried again on the next connection; one that was sent is settled as lost. */
#pragma once

#include "bench/load_link.h"

enum load_session_state {
    LOAD_SESSION_DOWN, /* the link is down, opens or closes */
    LOAD_SESSION_IDLE,
    LOAD_SESSION_ENVELOPE, /* up to the end of the data, but for DATA's */
    LOAD_SESSION_BODY,     /* the end of the data is on its way, or its reply awaited */
    LOAD_SESSION_DRAIN,    /* answered before all data was sent */
    LOAD_SESSION_RESET,    /* RSET after a refusal */
    LOAD_SESSION_LEAVING,  /* QUIT */
    LOAD_SESSION_OVER,
};

struct load_session {
    struct load_link link;
    struct load_core *core;
    enum load_session_state state;
    bool has_message, wants_close_only;  /* close_only: do not connect again */
    bool is_slow, wants_reset;           /* reset: RSET is to follow when all is sent */
    uint16_t backoff_ms;                 /* 0: the last connection was good */
    uint32_t step_count, sent, answered; /* of the envelope: MAIL, each RCPT, DATA or BDATs */
    unsigned refusal;                    /* code that refused the message, or 0 */
    uint32_t accepted_count;             /* recipients */
    uint64_t accepted;                   /* their set (mark_recipient_bit) */
    uint64_t messages_here;              /* on this connection */
    uint64_t intended_ns, end_of_data_ns;
    uint64_t body_at, body_end; /* of header section and body: what is being sent now */
    struct timer retry_timer, slow_timer;
    struct list waiting_node;
    struct message message;
    struct iovec *pieces; /* message_pieces_max() */
};

void load_session_start(struct load_session *session, struct load_core *core, bool is_slow);
/* Frees what the session holds; it must be over. */
void load_session_finish(struct load_session *session);
/* An idle session looks for a message, or quits when none is left. */
void load_session_poll(struct load_session *session);
/* No message will begin any more: a session that only tries to connect ends. */
void load_session_hurry(struct load_session *session);
/* Closes now; never connects again. A message under way is settled as lost. */
void load_session_stop(struct load_session *session);

/* --- of load_session.c, for load_envelope.c and load_body.c --- */

void load_session_go(struct load_session *session, enum load_session_state next);
/* The message is done with, and the connection good for the next. */
void load_session_become_idle(struct load_session *session);
