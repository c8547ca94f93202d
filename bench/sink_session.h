/* sink_session.h - one SMTP session of the sink. Forgiving in grammar, strict about line ends. */
#pragma once

#include "bench/intake.h"
#include "bench/sink_server.h"

enum sink_session_state {
    SINK_SESSION_COMMAND,
    SINK_SESSION_DATA,
    SINK_SESSION_HOLD, /* the reply to the end of data waits */
    SINK_SESSION_LAST, /* the last reply is written */
    SINK_SESSION_ENDED /* finished or closed: waits for on_closed() */
};

struct sink_session {
    struct conn conn;
    struct sink_server *server;
    enum sink_session_state state;
    bool has_sender;
    bool is_blocked; /* input waits for room in the output */
    uint32_t recipient_count;
    uint64_t recipients;   /* mark_recipient_bit() of each */
    uint64_t next_read_ns; /* with a slow reader */
    struct timer timer;    /* of HOLD, or of the slow reader */
    struct list node;
    struct intake intake;
};

void sink_session_start(struct sink_session *session, struct sink_server *server, int socket);
void sink_session_stop(struct sink_session *session);
