/* sink_server.c - accepts sessions and keeps the books. A copy is booked before its 250 is sent:
 * the record is written at the end of the turn, and the turn's replies go out after that. */
#include "bench/sink_server.h"

#include "bench/address.h"
#include "bench/random.h"
#include "bench/sink_session.h"
#include "ring/base/clock.h"

#define BACKLOG 4096
#define SESSIONS_CHUNK 64
#define TALLY_COUNT_EXPECTED 600000 /* no pause to grow in the usual run */

static void server_on_accepted(void *owner, int socket, const struct endpoint *peer)
{
    struct sink_server *server = owner;
    (void)peer;
    struct sink_session *session = slab_get(&server->sessions_pool);
    server->counts.connections++;
    if (session == NULL) {
        server->counts.refused_connections++;
        loop_close(server->loop, socket, NULL);
        return;
    }
    server->counts.connections_open++;
    sink_session_start(session, server, socket);
    if (server->is_stopping) sink_session_stop(session);
}

static void server_on_turn(struct loop_hook *hook)
{
    struct sink_server *server = CONTAINER_OF(hook, struct sink_server, hook);
    if (server->record != NULL) ledger_flush(server->record);
    /* The listener ends on its own once its accepts have. */
    if (server->is_stopping && list_is_empty(&server->sessions)) loop_stop(server->loop);
}

int sink_server_start(struct sink_server *server, struct loop *loop, const struct endpoint *at,
                      const struct sink_behaviour *behaviour, struct ledger *record)
{
    server->loop = loop;
    server->behaviour = *behaviour;
    server->record = record;
    server->random = clock_monotonic_ns();
    list_init(&server->sessions);
    int err = address_ask(at);
    if (err != 0) return err;
    err = listener_start(loop, at, BACKLOG, server_on_accepted, server, &server->listener);
    if (err != 0) return err;
    conn_host_init(&server->host, loop, 2 * (size_t)server->sessions_max);
    slab_init(&server->sessions_pool, sizeof(struct sink_session), SESSIONS_CHUNK,
              server->sessions_max);
    tally_init(&server->tally, server->is_counting_only ? 0 : TALLY_COUNT_EXPECTED);
    server->hook.run = server_on_turn;
    loop_hook_add(loop, &server->hook);
    server->start_usage = usage_now();
    return 0;
}

void sink_server_stop(struct sink_server *server)
{
    if (server->is_stopping) return;
    server->is_stopping = true;
    listener_stop(server->listener);
    struct sink_session *session;
    LIST_FOR_EACH(session, &server->sessions, struct sink_session, node)
    {
        sink_session_stop(session);
    }
}

void sink_server_finish(struct sink_server *server)
{
    loop_hook_remove(&server->hook);
    slab_finish(&server->sessions_pool);
    conn_host_finish(&server->host);
    tally_finish(&server->tally);
}

static void book(struct sink_server *server, const struct message_id *id, uint64_t digest,
                 bool is_altered, uint64_t recipients)
{
    tally_add(&server->tally, id, digest, recipients, is_altered);
    if (server->record == NULL) return;
    ledger_add_received(server->record, &(struct ledger_received){.id = *id,
                                                                  .digest = digest,
                                                                  .recipients = recipients,
                                                                  .is_altered = is_altered});
}

void sink_server_take(struct sink_server *server, const struct message_id *id, bool has_id,
                      uint64_t digest, bool is_altered, uint64_t recipients, uint64_t bytes)
{
    uint64_t now = loop_now_ns(server->loop);
    if (server->counts.messages++ == 0) server->first_ns = now;
    server->last_ns = now;
    server->counts.bytes += bytes;
    if (server->is_counting_only) return;
    if (!has_id) {
        server->tally.received++;
        server->tally.without_id++;
        return;
    }
    const struct sink_behaviour *b = &server->behaviour;
    bool is_lost = random_chance(&server->random, b->fault_lose);
    bool is_doubled = random_chance(&server->random, b->fault_double);
    bool is_spoilt = random_chance(&server->random, b->fault_alter);
    server->counts.faults += (uint64_t)is_lost + is_doubled + is_spoilt;
    if (is_spoilt) digest = ~digest;
    if (!is_lost) book(server, id, digest, is_altered || is_spoilt, recipients);
    if (is_doubled) book(server, id, digest, is_altered || is_spoilt, recipients);
}

void sink_server_on_session_closed(struct sink_server *server, void *session)
{
    server->counts.connections_open--;
    slab_put(&server->sessions_pool, session);
}
