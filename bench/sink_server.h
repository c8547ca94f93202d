/* sink_server.h - the sink: its listener, its sessions, and what it took. One thread. */
#pragma once

#include "bench/ledger.h"
#include "bench/sink_behaviour.h"
#include "bench/tally.h"
#include "bench/usage.h"
#include "ring/conn.h"
#include "ring/listener.h"
#include "ring/timer.h"

#define SINK_RECIPIENTS_MAX 10000 /* of one message */

struct sink_counts {
    uint64_t messages, bytes; /* answered with 250; bytes with header sections, dots not stuffed */
    uint64_t rejected_4yz, rejected_5yz; /* replies to RCPT, DATA or the end of data */
    uint64_t dropped;                    /* connections closed instead of the reply */
    uint64_t refused_connections, connections, connections_open;
    uint64_t bad_commands, faults;
};

struct sink_server {
    struct loop *loop;
    struct conn_host host;
    struct listener *listener;
    struct slab sessions_pool;
    struct list sessions;
    struct sink_behaviour behaviour;
    struct tally tally;
    struct ledger *record; /* NULL: none */
    struct loop_hook hook;
    struct sink_counts counts;
    struct usage start_usage;
    uint64_t random;
    uint64_t first_ns, last_ns; /* of the messages */
    uint32_t sessions_max;      /* set by the owner, as is is_counting_only */
    bool is_counting_only, is_stopping;
};

/* Listens on `at`. `behaviour` is copied; `record` (may be NULL) is borrowed. -ERR_*. */
MUST_USE int sink_server_start(struct sink_server *server, struct loop *loop,
                               const struct endpoint *at, const struct sink_behaviour *behaviour,
                               struct ledger *record);
/* Closes the listener and the sessions; the loop stops when they have ended. */
void sink_server_stop(struct sink_server *server);
/* After the loop has ended. */
void sink_server_finish(struct sink_server *server);

/* --- for sessions --- */

/* A message that is answered with 250. */
void sink_server_take(struct sink_server *server, const struct message_id *id, bool has_id,
                      uint64_t digest, bool is_altered, uint64_t recipients, uint64_t bytes);
/* The session's memory is given back. */
void sink_server_on_session_closed(struct sink_server *server, void *session);
