/* session.c - the life of a receiving session: states, deadlines, replies, its end.
 *
 * Runs on the core that accepted the connection. The happy path: input is shown by the connection,
 * the state takes it piece by piece, each command writes one reply, and one flush at the end of the
 * piece of input sends the replies of the whole pipelined group (RFC 2920). */
#include "server/ingress/session.h"

#include "ring/base/clock.h"
#include "server/ingress/forwarded.h"
#include "server/smtp/reply.h"

#include <stdlib.h>

#define STRESS_PERCENT 80          /* of limits.connections of the listener */
#define STRESS_COMMAND_MS 10000ull /* for a command, where the configuration gives more */
#define DATA_RATE_AFTER_MS 30000   /* the average rate of a message is judged from here on */

static size_t greeting_input(struct session *s, struct slice in);
static void greet(struct session *s);
static size_t closing_input(struct session *s, struct slice in);

/* Every state, how it takes input (NULL: not now), and where it may go besides to itself. */
static const struct {
    const char *name;
    size_t (*input)(struct session *s, struct slice in);
    uint32_t next; /* BIT() of each successor; SESSION_CLOSING always is one */
} states[SESSION_STATE_COUNT] = {
    [SESSION_PROXY] = {"proxy", proxy_input, BIT(SESSION_HANDSHAKE) | BIT(SESSION_GREETING)},
    [SESSION_HANDSHAKE] = {"handshake", NULL, BIT(SESSION_GREETING) | BIT(SESSION_COMMAND)},
    [SESSION_GREETING] = {"greeting", greeting_input, BIT(SESSION_COMMAND)},
    [SESSION_COMMAND] = {"command", command_input,
                         BIT(SESSION_DATA) | BIT(SESSION_CHUNK) | BIT(SESSION_COMMIT) |
                             BIT(SESSION_AUTH) | BIT(SESSION_VERIFY) | BIT(SESSION_HANDSHAKE)},
    [SESSION_AUTH] = {"auth", auth_input, BIT(SESSION_VERIFY) | BIT(SESSION_COMMAND)},
    [SESSION_VERIFY] = {"verify", NULL, BIT(SESSION_AUTH) | BIT(SESSION_COMMAND)},
    [SESSION_DATA] = {"data", receive_input,
                      BIT(SESSION_SPACE) | BIT(SESSION_COMMIT) | BIT(SESSION_COMMAND)},
    [SESSION_CHUNK] = {"chunk", chunk_input,
                       BIT(SESSION_SPACE) | BIT(SESSION_COMMIT) | BIT(SESSION_COMMAND)},
    [SESSION_SPACE] = {"space", NULL, BIT(SESSION_DATA) | BIT(SESSION_CHUNK)},
    [SESSION_COMMIT] = {"commit", NULL, BIT(SESSION_COMMAND)},
    [SESSION_CLOSING] = {"closing", closing_input, 0},
};

/* RFC 5321 and 4954 know no other codes that this server gives; the last three stand for the rest.
 */
const uint16_t ingress_codes[REPLY_CODE_COUNT] = {
    214, 220, 221, 235, 250, 252, 334, 354, 421, 450, 451, 452, 454, 455, 500, 501,
    502, 503, 504, 521, 530, 535, 550, 551, 552, 553, 554, 555, 299, 499, 599,
};

unsigned ingress_code_index(unsigned code)
{
    for (unsigned i = 0; i < REPLY_CODE_COUNT - 3; i++) {
        if (ingress_codes[i] == code) return i;
    }
    return code < 400   ? REPLY_CODE_COUNT - 3
           : code < 500 ? REPLY_CODE_COUNT - 2
                        : REPLY_CODE_COUNT - 1;
}

const struct config_listener *session_config(const struct session *s)
{
    return &s->ingress->options.config->listeners[s->listener_index];
}

struct ingress_listener_counters *session_counters(struct session *s)
{
    return &s->ingress->listeners[s->listener_index].counters;
}

bool session_log(const struct session *s, enum log_level level, const char *event)
{
    if (!log_begin(level, event)) return false;
    char id[MESSAGE_ID_TEXT];
    message_id_write(s->id, id);
    log_slice("session", slice_of(id, sizeof(id)));
    log_str("listener", session_config(s)->name);
    char text[ENDPOINT_TEXT_MAX];
    struct buf peer = {text, 0, sizeof(text), false};
    endpoint_write(&s->peer, &peer);
    log_slice("peer", buf_slice(&peer));
    if (s->helo != NULL) log_str("helo", s->helo);
    if (s->user != NULL) log_str("user", s->user);
    struct tls_info tls;
    if (s->conn.tls != NULL && conn_tls_info(&s->conn, &tls)) log_str("tls", tls.version);
    return true;
}

void session_log_rejected(const struct session *s, enum reply_id id, struct slice recipient)
{
    if (!session_log(s, LOG_INFO, "rejected")) return;
    if (s->txn != NULL) log_slice("sender", s->txn->sender);
    if (recipient.len > 0) log_slice("recipient", recipient);
    struct slice line = reply_line(id);
    log_slice("reply", slice_of(line.data, line.len - 2));
    log_end();
}

/* --- states and deadlines --- */

void session_go(struct session *s, enum session_state next)
{
    ASSERT(next == SESSION_CLOSING || (states[s->state].next & BIT(next)) != 0);
    s->state = (uint8_t)next;
    s->started_ns = loop_now_ns(s->conn.host->loop);
}

/* Nearly as many connections as the listener may have: what a session may cost is cut, so that
 * those who do something find a place (as Postfix does, "stress"). */
static bool is_under_stress(const struct session *s)
{
    const uint64_t *open = &s->ingress->options.shared->listener_connections[s->listener_index];
    uint64_t limit = session_config(s)->limits.connections;
    return __atomic_load_n(open, __ATOMIC_RELAXED) * 100 >= limit * STRESS_PERCENT;
}

/* No deadline of a session is nearer than this from the start of its state, so that the timer need
 * not be moved for each command: it comes back this often and looks. */
uint64_t session_timer_period_ms(const struct session *s)
{
    const struct config_listener *config = session_config(s);
    uint64_t period = MIN(config->timeouts.command_ms, config->timeouts.data_ms);
    period = MIN(period, STRESS_COMMAND_MS);
    if (config->timeouts.data_rate_min > 0) period = MIN(period, DATA_RATE_AFTER_MS);
    if (config->timeouts.session_ms > 0) period = MIN(period, config->timeouts.session_ms);
    return period;
}

bool session_has_open_chunks(const struct session *s)
{
    return s->state == SESSION_COMMAND && s->txn != NULL && s->txn->is_chunked &&
           !s->txn->is_chunk_refused;
}

static bool is_too_slow(const struct session *s, uint64_t now_ns)
{
    uint64_t rate_min = session_config(s)->timeouts.data_rate_min;
    uint64_t elapsed_ms = (now_ns - s->txn->data_started_ns) / NS_PER_MS;
    if (rate_min == 0 || elapsed_ms < DATA_RATE_AFTER_MS) return false;
    return s->txn->scanner.bytes < rate_min * (elapsed_ms / 1000);
}

static uint64_t time_left_ms(uint64_t from_ns, uint64_t limit_ms, uint64_t now_ns)
{
    uint64_t passed_ms = (now_ns - from_ns) / NS_PER_MS;
    return passed_ms < limit_ms ? limit_ms - passed_ms : 0;
}

void session_arm(struct session *s, uint64_t ms)
{
    timer_arm(s->conn.host->loop, &s->timer, ms);
}

/* The states before the first command have one deadline each, for which the timer was armed. */
static bool begin_on_timer(struct session *s)
{
    switch ((enum session_state)s->state) {
    case SESSION_PROXY:
        proxy_timeout(s);
        return true;
    case SESSION_HANDSHAKE:
        tls_failed(s, "it took too long");
        session_abort(s);
        return true;
    case SESSION_GREETING:
        greet(s);
        return true;
    default:
        return false;
    }
}

/* What is waited for now: sets from when and how long. */
static void deadline_of(const struct session *s, uint64_t now_ns, uint64_t *from_ns,
                        uint64_t *limit_ms)
{
    const struct config_listener *config = session_config(s);
    *limit_ms = config->timeouts.command_ms;
    switch ((enum session_state)s->state) {
    case SESSION_DATA:
    case SESSION_CHUNK:
        *limit_ms = config->timeouts.data_ms;
        *from_ns = s->input_ns;
        break;
    case SESSION_COMMAND:
    case SESSION_AUTH:
        *from_ns = s->started_ns;
        if (is_under_stress(s)) *limit_ms = MIN(*limit_ms, STRESS_COMMAND_MS);
        break;
    default: /* the queue or the verifier is at work: the client waits for us */
        *from_ns = now_ns;
        break;
    }
}

static void session_on_timer(struct timer *timer)
{
    struct session *s = CONTAINER_OF(timer, struct session, timer);
    const struct config_listener *config = session_config(s);
    uint64_t now_ns = loop_now_ns(s->conn.host->loop);
    s->reply_to = REPLY_TO_NOTHING; /* whatever is said here was not asked for */
    if (s->state == SESSION_CLOSING) {
        conn_close(&s->conn);
        return;
    }
    if (begin_on_timer(s)) return;
    bool is_body =
        s->state == SESSION_DATA || s->state == SESSION_CHUNK || session_has_open_chunks(s);
    if (is_body && is_too_slow(s, now_ns)) {
        session_end(s, REPLY_TOO_SLOW);
        return;
    }
    uint64_t from_ns, limit_ms;
    deadline_of(s, now_ns, &from_ns, &limit_ms);
    uint64_t left_ms = time_left_ms(from_ns, limit_ms, now_ns);
    if (config->timeouts.session_ms > 0 && s->state != SESSION_COMMIT)
        left_ms = MIN(left_ms, time_left_ms(s->opened_ns, config->timeouts.session_ms, now_ns));
    if (left_ms == 0)
        session_end(s, REPLY_TIMEOUT);
    else
        session_arm(s, MIN(left_ms, session_timer_period_ms(s)));
}

/* --- replies --- */

static void count_reply(struct session *s, unsigned code)
{
    counter_add(&session_counters(s)->replies[s->reply_to][ingress_code_index(code)], 1);
}

static void write_reply(struct session *s, struct slice line)
{
    /* Room was there before the command was run: only memory that is out can fail this. */
    if (!s->is_aborted && !conn_write(&s->conn, line)) session_abort(s);
}

/* A refusal counts as an error; a session that makes nothing but errors is ended with 421 in the
 * place of the reply that reached the limit (hostile.md C16); under stress the first error does. */
static bool count_error(struct session *s)
{
    s->errors++;
    uint64_t errors_allowed = is_under_stress(s) ? 1 : session_config(s)->limits.errors;
    if (s->errors < errors_allowed) return true;
    session_end(s, REPLY_TOO_MANY_ERRORS);
    return false;
}

void session_reply(struct session *s, enum reply_id id)
{
    unsigned code = reply_code(id);
    /* Chunks that were sent behind a refused one are no errors of their own: a sender must get to
     * read why the first was refused. */
    bool is_aftermath = id == REPLY_CHUNK_OUT_OF_ORDER;
    if (is_aftermath) s->junk++;
    if (code >= 500 && !is_aftermath && !count_error(s)) return;
    if (code >= 400) counter_add(&session_counters(s)->rejections[id], 1);
    count_reply(s, code);
    write_reply(s, reply_line(id));
}

void session_reply_text(struct session *s, unsigned code, struct slice lines)
{
    if (code >= 500 && !count_error(s)) return;
    count_reply(s, code);
    write_reply(s, lines);
}

void session_end(struct session *s, enum reply_id id)
{
    if (s->state == SESSION_CLOSING || s->is_aborted) return;
    counter_add(&session_counters(s)->rejections[id], 1);
    bool is_heard = s->state != SESSION_PROXY && s->state != SESSION_HANDSHAKE;
    if (is_heard && conn_output_room(&s->conn) >= reply_line(id).len) {
        count_reply(s, reply_code(id));
        write_reply(s, reply_line(id));
        if (s->is_aborted) return;
    }
    session_log_rejected(s, id, (struct slice){0});
    session_drop_transaction(s);
    session_go(s, SESSION_CLOSING);
    session_arm(s, SESSION_CLOSING_MS);
    conn_finish(&s->conn);
}

/* --- the end --- */

void session_drop_transaction(struct session *s)
{
    if (s->txn == NULL || s->state == SESSION_COMMIT || s->txn->window != NULL) return;
    transaction_destroy(&s->ingress->transactions_slab, s->txn);
    s->txn = NULL;
    forwarded_reset(s->forwarded);
}

void session_abort(struct session *s)
{
    if (s->is_aborted) return;
    s->is_aborted = true;
    session_drop_transaction(s);
    if (s->state != SESSION_COMMIT) session_go(s, SESSION_CLOSING);
    conn_close(&s->conn);
}

void session_forget(struct session *s)
{
    session_drop_transaction(s);
    auth_drop(s);
    free(s->helo);
    free(s->user);
    s->helo = s->user = NULL;
    s->is_esmtp = false;
}

bool session_count_client(struct session *s)
{
    const struct config_listener *config = session_config(s);
    s->is_counted = clients_enter(s->ingress->options.shared->clients, &s->peer,
                                  config->limits.connections_per_client);
    if (s->is_counted) return true;
    counter_add(&session_counters(s)->refused_client, 1);
    session_end(s, REPLY_TOO_MANY_FROM_CLIENT);
    return false;
}

void session_uncount_client(struct session *s)
{
    if (s->is_counted) clients_leave(s->ingress->options.shared->clients, &s->peer);
    s->is_counted = false;
}

static void session_free(struct session *s)
{
    struct ingress *ingress = s->ingress;
    ASSERT(s->txn == NULL);
    struct ingress_listener_counters *counters = session_counters(s);
    counter_sub(&counters->connections, 1);
    __atomic_fetch_sub(&ingress->options.shared->listener_connections[s->listener_index], 1,
                       __ATOMIC_RELAXED);
    session_uncount_client(s);
    timer_disarm(&s->timer);
    list_remove(&s->node);
    ingress->session_count--;
    session_forget(s);
    forwarded_free(s->forwarded);
    slab_put(&ingress->sessions_slab, s);
    if (ingress->is_draining && ingress->session_count == 0 && !ingress->is_drained_told) {
        ingress->is_drained_told = true;
        loop_defer(ingress->options.loop, &ingress->drained_op, 0);
    }
}

/* The connection has ended, and nobody is at work for the session any more. */
static void free_if_over(struct session *s)
{
    if (s->is_closed && !s->is_in_store && !s->is_greeting && !auth_is_in_flight(s) &&
        s->sender_check == NULL)
        session_free(s);
}

static void session_on_closed(struct conn *conn)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    s->is_closed = true;
    s->is_aborted = true;
    timer_disarm(&s->timer);
    tls_uncount(s);
    if (s->txn != NULL) s->txn->window = NULL;
    session_drop_transaction(s);
    sender_check_cancel(s);
    free_if_over(s);
}

/* --- input --- */

/* Who talks before the banner waits for no answer either (hostile.md P1). */
static size_t greeting_input(struct session *s, struct slice in)
{
    s->reply_to = REPLY_TO_CONNECT;
    session_end(s, REPLY_NOT_SYNCHRONIZED);
    return in.len;
}

/* After the last reply nothing is read any more, only taken. */
static size_t closing_input(struct session *s, struct slice in)
{
    (void)s;
    return in.len;
}

/* --- what the connection tells --- */

/* The peer ended its half, and nothing is left to say. Under TLS it is told that this is the end
 * and no cut (RFC 8446 6.1). */
static void leave(struct session *s)
{
    if (!conn_is_secured(&s->conn)) {
        session_abort(s);
        return;
    }
    session_drop_transaction(s);
    session_go(s, SESSION_CLOSING);
    session_arm(s, SESSION_CLOSING_MS);
    conn_finish(&s->conn);
}

/* What every event of a session ends with. `has_input`: more input is at hand that could still be
 * taken; without it, a peer that ended its half will bring no more. */
static void event_end(struct session *s, bool has_input)
{
    if (s->state == SESSION_CLOSING || s->is_aborted) return;
    bool is_between =
        (s->state == SESSION_COMMAND && !session_has_open_chunks(s)) || s->state == SESSION_AUTH;
    if (s->ingress->is_draining && is_between) {
        s->reply_to = REPLY_TO_NOTHING;
        session_end(s, REPLY_SHUTTING_DOWN);
        return;
    }
    conn_flush(&s->conn);
    bool waits_for_peer = states[s->state].input != NULL;
    if (s->is_peer_gone && waits_for_peer && !has_input && conn_is_flushed(&s->conn)) leave(s);
}

static size_t session_on_input(struct conn *conn, struct slice in)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    s->input_ns = loop_now_ns(conn->host->loop);
    size_t taken = 0;
    while (taken < in.len && states[s->state].input != NULL) {
        size_t count = states[s->state].input(s, slice_from(in, taken));
        if (count == 0) break;
        taken += count;
    }
    event_end(s, s->txn != NULL && s->txn->window != NULL); /* what is left goes there */
    return taken;
}

static void session_on_window(struct conn *conn, size_t bytes)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    s->input_ns = loop_now_ns(conn->host->loop);
    if (s->state == SESSION_DATA || s->state == SESSION_CHUNK) receive_window(s, bytes);
    /* What was put back is shown next, or the next window is filled; a peer that has ended its half
     * brings nothing for that. */
    event_end(s, !s->is_peer_gone || conn_has_kept(conn));
}

static void session_on_sent(struct conn *conn)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    bool has_input = conn_has_kept(conn);
    if (states[s->state].input != NULL && has_input) conn_read_on(conn);
    event_end(s, has_input);
}

static void session_on_end(struct conn *conn, int err)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    bool is_waited_for = s->state == SESSION_COMMIT || s->state == SESSION_SPACE ||
                         s->state == SESSION_VERIFY || s->state == SESSION_GREETING;
    if (err == 0 && (is_waited_for || !conn_is_flushed(conn)) && s->state != SESSION_CLOSING) {
        s->is_peer_gone = true; /* only its sending half: what was asked is still answered */
        return;
    }
    if (s->state == SESSION_PROXY) proxy_ended(s);
    if (s->state == SESSION_HANDSHAKE) tls_failed(s, conn_tls_error(conn));
    if (s->txn != NULL && session_log(s, LOG_INFO, "disconnected")) {
        log_str("state", states[s->state].name);
        log_str("reason", err == 0 ? "the client closed the connection" : err_str(err));
        log_end();
    }
    if (err == 0 && s->state != SESSION_CLOSING)
        leave(s);
    else
        session_abort(s);
}

static void session_on_secured(struct conn *conn)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    tls_secured(s);
    event_end(s, true);
}

static const struct conn_handler session_handler = {
    .on_input = session_on_input,
    .on_window = session_on_window,
    .on_sent = session_on_sent,
    .on_end = session_on_end,
    .on_closed = session_on_closed,
    .on_secured = session_on_secured,
};

/* Goes on with what was pipelined behind the message. */
static void store_answered(struct session *s)
{
    bool has_input = conn_has_kept(&s->conn);
    if (s->state != SESSION_CLOSING && !s->is_aborted && has_input) conn_read_on(&s->conn);
    event_end(s, has_input);
}

static void session_on_store(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, store_op);
    s->is_in_store = false;
    receive_on_store(op);
    if (s->is_closed)
        free_if_over(s); /* the connection ended meanwhile */
    else
        store_answered(s);
}

void session_wait_over(struct session *s)
{
    ASSERT(!auth_is_in_flight(s) && s->sender_check == NULL);
    if (s->is_closed)
        free_if_over(s);
    else
        store_answered(s);
}

/* --- the beginning --- */

void session_write_banner(struct session *s)
{
    char text[512];
    struct buf banner = {text, 0, sizeof(text), false};
    buf_append_cstr(&banner, "220 ");
    buf_append_cstr(&banner, s->ingress->options.config->node.hostname);
    buf_append_cstr(&banner, " ESMTP Postern\r\n");
    session_reply_text(s, 220, buf_slice(&banner));
}

static void greet(struct session *s)
{
    session_go(s, SESSION_COMMAND);
    session_arm(s, session_timer_period_ms(s));
    s->is_greeted = true;
    s->reply_to = REPLY_TO_CONNECT;
    session_write_banner(s);
    event_end(s, conn_has_kept(&s->conn));
}

/* Twice: the first comes in the turn of the accept, before the receive of this session has been
 * submitted; by the second, what the client had sent already has been shown. */
static void on_greet(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, greet_op);
    if (op->result == 0 && s->state == SESSION_GREETING) {
        loop_defer(s->conn.host->loop, op, 1);
        return;
    }
    s->is_greeting = false;
    if (s->state == SESSION_GREETING) greet(s);
    free_if_over(s);
}

void session_greet(struct session *s)
{
    uint64_t delay_ms = session_config(s)->greeting_delay_ms;
    session_go(s, SESSION_GREETING);
    if (delay_ms > 0) {
        session_arm(s, delay_ms);
        return;
    }
    s->is_greeting = true;
    s->greet_op.done = on_greet;
    loop_defer(s->conn.host->loop, &s->greet_op, 0);
}

/* What comes first on this listener. */
static void begin(struct session *s, bool has_proxy)
{
    const struct config_listener *config = session_config(s);
    if (has_proxy)
        session_arm(s, config->proxy_protocol.timeout_ms);
    else if (config->tls.mode == LISTENER_TLS_IMPLICIT)
        session_start_tls(s, CONN_BEFORE_TLS_REFUSE);
    else
        session_greet(s);
}

bool session_start(struct ingress *ingress, struct ingress_listener *listener, int socket,
                   const struct endpoint *peer, bool has_proxy)
{
    struct session *s = slab_get(&ingress->sessions_slab);
    if (s == NULL) return false;
    memset(s, 0, sizeof(*s));
    s->ingress = ingress;
    s->listener_index = listener->index;
    s->peer = *peer;
    s->id = ingress->session_next;
    ingress->session_next += ingress->options.core_count;
    s->state = SESSION_PROXY;
    s->is_counted = !has_proxy;
    s->store_op.done = session_on_store;
    s->opened_ns = s->started_ns = s->input_ns = loop_now_ns(ingress->options.loop);
    list_push_back(&ingress->sessions, &s->node);
    ingress->session_count++;
    counter_add(&listener->counters.connections, 1);
    counter_add(&listener->counters.accepted, 1);
    timer_init(&s->timer, session_on_timer);
    conn_open(&s->conn, &ingress->host, &session_handler, socket);
    conn_wipe_input(&s->conn, ingress->options.security[listener->index].users != NULL);
    begin(s, has_proxy);
    return true;
}

void session_drain(struct session *s)
{
    switch ((enum session_state)s->state) {
    case SESSION_PROXY:
    case SESSION_HANDSHAKE: /* nothing could be said */
        session_abort(s);
        return;
    case SESSION_GREETING:
    case SESSION_COMMAND:
    case SESSION_AUTH:
        if (session_has_open_chunks(s)) return;
        s->reply_to = REPLY_TO_NOTHING;
        session_end(s, REPLY_SHUTTING_DOWN);
        return;
    default: /* its message ends first */
        return;
    }
}
