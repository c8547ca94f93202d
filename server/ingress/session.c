/* session.c - the life of a receiving session: states, deadlines, replies, its end.
 *
 * Runs on the core that accepted the connection. The happy path: input is shown by the connection,
 * the state takes it piece by piece, each command writes one reply, and one flush at the end of the
 * piece of input sends the replies of the whole pipelined group (RFC 2920). */
#include "server/ingress/session.h"

#include "ring/base/clock.h"
#include "server/smtp/reply.h"

#include <stdlib.h>

#define TLS_HANDSHAKE 0x16       /* the first byte of a ClientHello; no line begins with it */
#define DATA_RATE_AFTER_MS 30000 /* the average rate of a message is judged from here on */

static size_t command_input(struct session *s, struct slice in);
static size_t closing_input(struct session *s, struct slice in);

/* Every state, how it takes input (NULL: not now), and where it may go besides to itself. */
static const struct {
    const char *name;
    size_t (*input)(struct session *s, struct slice in);
    uint32_t next; /* BIT() of each successor; SESSION_CLOSING always is one */
} states[SESSION_STATE_COUNT] = {
    [SESSION_COMMAND] = {"command", command_input, BIT(SESSION_DATA)},
    [SESSION_DATA] = {"data", receive_input,
                      BIT(SESSION_SPACE) | BIT(SESSION_COMMIT) | BIT(SESSION_COMMAND)},
    [SESSION_SPACE] = {"space", NULL, BIT(SESSION_DATA)},
    [SESSION_COMMIT] = {"commit", NULL, BIT(SESSION_COMMAND)},
    [SESSION_CLOSING] = {"closing", closing_input, 0},
};

/* RFC 5321 knows no other codes that this server gives; the last three stand for the rest. */
const uint16_t ingress_codes[REPLY_CODE_COUNT] = {
    214, 220, 221, 250, 252, 354, 421, 450, 451, 452, 454, 455, 500, 501,
    502, 503, 504, 521, 550, 551, 552, 553, 554, 555, 299, 499, 599,
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

/* No deadline of a session is nearer than this from the start of its state, so that the timer need
 * not be moved for each command: it comes back this often and looks. */
static uint64_t timer_period_ms(const struct config_listener *config)
{
    uint64_t period = MIN(config->timeouts.command_ms, config->timeouts.data_ms);
    if (config->timeouts.data_rate_min > 0) period = MIN(period, DATA_RATE_AFTER_MS);
    if (config->timeouts.session_ms > 0) period = MIN(period, config->timeouts.session_ms);
    return period;
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

static void session_on_timer(struct timer *timer)
{
    struct session *s = CONTAINER_OF(timer, struct session, timer);
    const struct config_listener *config = session_config(s);
    struct loop *loop = s->conn.host->loop;
    uint64_t now_ns = loop_now_ns(loop);
    s->reply_to = REPLY_TO_NOTHING; /* whatever is said here was not asked for */
    uint64_t limit_ms = config->timeouts.command_ms, from_ns = s->started_ns;

    switch ((enum session_state)s->state) {
    case SESSION_CLOSING:
        conn_close(&s->conn);
        return;
    case SESSION_DATA:
        if (is_too_slow(s, now_ns)) {
            session_end(s, REPLY_TOO_SLOW);
            return;
        }
        limit_ms = config->timeouts.data_ms;
        from_ns = s->input_ns;
        break;
    case SESSION_COMMAND:
        break;
    default: /* the queue is at work: the client waits for us, not we for the client */
        from_ns = now_ns;
        break;
    }
    uint64_t left_ms = time_left_ms(from_ns, limit_ms, now_ns);
    if (config->timeouts.session_ms > 0 && s->state != SESSION_COMMIT)
        left_ms = MIN(left_ms, time_left_ms(s->opened_ns, config->timeouts.session_ms, now_ns));
    if (left_ms == 0)
        session_end(s, REPLY_TIMEOUT);
    else
        timer_arm(loop, &s->timer, MIN(left_ms, timer_period_ms(config)));
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
 * place of the reply that reached the limit (hostile.md C16). */
static bool count_error(struct session *s)
{
    s->errors++;
    if (s->errors < session_config(s)->limits.errors) return true;
    session_end(s, REPLY_TOO_MANY_ERRORS);
    return false;
}

void session_reply(struct session *s, enum reply_id id)
{
    unsigned code = reply_code(id);
    if (code >= 500 && !count_error(s)) return;
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
    if (conn_output_room(&s->conn) >= reply_line(id).len) {
        count_reply(s, reply_code(id));
        write_reply(s, reply_line(id));
        if (s->is_aborted) return;
    }
    session_log_rejected(s, id, (struct slice){0});
    session_drop_transaction(s);
    session_go(s, SESSION_CLOSING);
    timer_arm(s->conn.host->loop, &s->timer, SESSION_CLOSING_MS);
    conn_finish(&s->conn);
}

/* --- the end --- */

void session_drop_transaction(struct session *s)
{
    if (s->txn == NULL || s->state == SESSION_COMMIT || s->txn->window != NULL) return;
    transaction_destroy(&s->ingress->transactions_slab, s->txn);
    s->txn = NULL;
}

void session_abort(struct session *s)
{
    if (s->is_aborted) return;
    s->is_aborted = true;
    session_drop_transaction(s);
    if (s->state != SESSION_COMMIT) session_go(s, SESSION_CLOSING);
    conn_close(&s->conn);
}

static void session_free(struct session *s)
{
    struct ingress *ingress = s->ingress;
    ASSERT(s->txn == NULL);
    struct ingress_listener_counters *counters = session_counters(s);
    counter_sub(&counters->connections, 1);
    __atomic_fetch_sub(&ingress->options.shared->listener_connections[s->listener_index], 1,
                       __ATOMIC_RELAXED);
    clients_leave(ingress->options.shared->clients, &s->peer);
    timer_disarm(&s->timer);
    list_remove(&s->node);
    ingress->session_count--;
    free(s->helo);
    slab_put(&ingress->sessions_slab, s);
    if (ingress->is_draining && ingress->session_count == 0 && !ingress->is_drained_told) {
        ingress->is_drained_told = true;
        loop_defer(ingress->options.loop, &ingress->drained_op, 0);
    }
}

static void session_on_closed(struct conn *conn)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    s->is_closed = true;
    s->is_aborted = true;
    timer_disarm(&s->timer);
    if (s->txn != NULL) s->txn->window = NULL;
    session_drop_transaction(s);
    if (!s->is_in_store) session_free(s);
}

/* --- commands --- */

/* The one place that maps commands to what runs them. */
static void run_command(struct session *s, const struct command *command)
{
    switch (command->verb) {
    case VERB_EHLO:
    case VERB_HELO:
        cmd_hello(s, command);
        return;
    case VERB_MAIL:
        cmd_mail(s, command);
        return;
    case VERB_RCPT:
        cmd_rcpt(s, command);
        return;
    case VERB_DATA:
        cmd_data(s, command);
        return;
    default:
        cmd_other(s, command);
        return;
    }
}

static bool is_junk(enum verb verb)
{
    return verb != VERB_MAIL && verb != VERB_RCPT && verb != VERB_DATA && verb != VERB_QUIT;
}

/* Commands that end a pipelined group (RFC 2920 3.1), and clients that may not group at all: more
 * input behind them was sent without waiting for our answer. */
static bool is_synchronized(const struct session *s, enum verb verb)
{
    if (verb == VERB_EHLO || verb == VERB_HELO || verb == VERB_DATA) return false;
    return s->is_esmtp || s->helo == NULL || verb == VERB_QUIT;
}

static void command_run(struct session *s, struct slice line, bool has_more)
{
    struct command command = command_parse(line);
    s->reply_to = (uint8_t)command.verb;
    if (has_more && !is_synchronized(s, command.verb)) {
        session_end(s, REPLY_NOT_SYNCHRONIZED);
        return;
    }
    if (s->ingress->is_draining && command.verb != VERB_QUIT) {
        session_end(s, REPLY_SHUTTING_DOWN);
        return;
    }
    if (is_junk(command.verb)) s->junk++;
    if (s->junk > session_config(s)->limits.junk_commands && command.verb != VERB_QUIT) {
        session_end(s, REPLY_TOO_MANY_COMMANDS);
        return;
    }
    run_command(s, &command);
}

static size_t command_input(struct session *s, struct slice in)
{
    if (conn_output_room(&s->conn) < SESSION_OUTPUT_ROOM_MIN) return 0; /* on_sent() goes on */
    if (in.data[0] == TLS_HANDSHAKE) {
        s->reply_to = VERB_UNKNOWN;
        session_end(s, REPLY_NOT_SMTP);
        return in.len;
    }
    struct slice line;
    size_t taken = 0;
    enum line_status status = line_read(&s->line, in, &line, &taken);
    s->reply_to = VERB_UNKNOWN;
    if (status != LINE_MORE && status != LINE_SKIPPED)
        s->started_ns = s->input_ns; /* the next command has its whole time */
    switch (status) {
    case LINE_MORE:
        break;
    case LINE_OK:
        command_run(s, line, taken < in.len);
        break;
    case LINE_BAD:
        session_reply(s, REPLY_BAD_LINE);
        break;
    case LINE_NUL:
        session_reply(s, REPLY_BAD_SYNTAX);
        break;
    case LINE_TOO_LONG:
        session_reply(s, REPLY_LINE_TOO_LONG);
        break;
    case LINE_SKIPPED:
        if (s->line.skipped >= COMMAND_ENDLESS_BYTES_MAX) session_end(s, REPLY_LINE_ENDLESS);
        break;
    }
    return taken;
}

/* After the last reply nothing is read any more, only taken. */
static size_t closing_input(struct session *s, struct slice in)
{
    (void)s;
    return in.len;
}

/* --- what the connection tells --- */

/* What every event of a session ends with. `has_input`: more input is at hand that could still be
 * taken; without it, a peer that ended its half will bring no more. */
static void event_end(struct session *s, bool has_input)
{
    if (s->state == SESSION_CLOSING || s->is_aborted) return;
    if (s->ingress->is_draining && s->state == SESSION_COMMAND) {
        s->reply_to = REPLY_TO_NOTHING;
        session_end(s, REPLY_SHUTTING_DOWN);
        return;
    }
    conn_flush(&s->conn);
    bool waits_for_peer = states[s->state].input != NULL;
    if (s->is_peer_gone && waits_for_peer && !has_input && conn_is_flushed(&s->conn))
        session_abort(s);
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
    event_end(s, false);
    return taken;
}

static void session_on_window(struct conn *conn, size_t bytes)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    s->input_ns = loop_now_ns(conn->host->loop);
    if (s->state == SESSION_DATA) receive_window(s, bytes);
    event_end(s, true); /* what was put back is shown next, or the next window is filled */
}

static void session_on_sent(struct conn *conn)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    bool has_input = conn_has_kept(conn);
    if (s->state == SESSION_COMMAND && has_input) conn_read_on(conn);
    event_end(s, has_input);
}

static void session_on_end(struct conn *conn, int err)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    bool is_in_queue = s->state == SESSION_COMMIT || s->state == SESSION_SPACE;
    if (err == 0 && (is_in_queue || !conn_is_flushed(conn)) && s->state != SESSION_CLOSING) {
        s->is_peer_gone = true; /* only its sending half: what was asked is still answered */
        return;
    }
    if (s->txn != NULL && session_log(s, LOG_INFO, "disconnected")) {
        log_str("state", states[s->state].name);
        log_str("reason", err == 0 ? "the client closed the connection" : err_str(err));
        log_end();
    }
    session_abort(s);
}

static const struct conn_handler session_handler = {
    .on_input = session_on_input,
    .on_window = session_on_window,
    .on_sent = session_on_sent,
    .on_end = session_on_end,
    .on_closed = session_on_closed,
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
        session_free(s); /* the connection ended meanwhile */
    else
        store_answered(s);
}

bool session_start(struct ingress *ingress, struct ingress_listener *listener, int socket,
                   const struct endpoint *peer)
{
    struct session *s = slab_get(&ingress->sessions_slab);
    if (s == NULL) return false;
    memset(s, 0, sizeof(*s));
    s->ingress = ingress;
    s->listener_index = listener->index;
    s->peer = *peer;
    s->id = ingress->session_next;
    ingress->session_next += ingress->options.core_count;
    s->state = SESSION_COMMAND;
    s->store_op.done = session_on_store;
    s->opened_ns = s->started_ns = s->input_ns = loop_now_ns(ingress->options.loop);
    list_push_back(&ingress->sessions, &s->node);
    ingress->session_count++;
    counter_add(&listener->counters.connections, 1);
    counter_add(&listener->counters.accepted, 1);
    conn_open(&s->conn, &ingress->host, &session_handler, socket);
    timer_init(&s->timer, session_on_timer);
    timer_arm(ingress->options.loop, &s->timer, timer_period_ms(session_config(s)));

    char text[512];
    struct buf banner = {text, 0, sizeof(text), false};
    buf_append_cstr(&banner, "220 ");
    buf_append_cstr(&banner, ingress->options.config->node.hostname);
    buf_append_cstr(&banner, " ESMTP Postern\r\n");
    s->reply_to = REPLY_TO_CONNECT;
    session_reply_text(s, 220, buf_slice(&banner));
    event_end(s, false);
    return true;
}

void session_drain(struct session *s)
{
    if (s->state != SESSION_COMMAND) return; /* its message ends first */
    s->reply_to = REPLY_TO_NOTHING;
    session_end(s, REPLY_SHUTTING_DOWN);
}
