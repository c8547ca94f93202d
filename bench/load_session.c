/* load_session.c - the connection: connecting, greeting, replies, closing. What a message needs is
 * in load_envelope.c. */
#include "bench/load_session.h"

#include "bench/load_envelope.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <stdlib.h>

#define REPLY_LINE_BYTES_MAX 2048
#define BACKOFF_MS_MIN 10
#define BACKOFF_MS_MAX 1000

static const uint32_t successors[] = {
    [LOAD_SESSION_DOWN] = BIT(LOAD_SESSION_CONNECT) | BIT(LOAD_SESSION_OVER),
    [LOAD_SESSION_CONNECT] = BIT(LOAD_SESSION_GREETING) | BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_GREETING] = BIT(LOAD_SESSION_EHLO) | BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_EHLO] = BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_IDLE] =
        BIT(LOAD_SESSION_ENVELOPE) | BIT(LOAD_SESSION_QUIT) | BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_ENVELOPE] = BIT(LOAD_SESSION_BODY) | BIT(LOAD_SESSION_RESET) |
                              BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_BODY] =
        BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_DRAIN) | BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_DRAIN] = BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_RESET] = BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_QUIT] = BIT(LOAD_SESSION_CLOSING),
    [LOAD_SESSION_CLOSING] = BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_OVER] = 0,
};

static const struct conn_handler handler;

void load_session_go(struct load_session *s, enum load_session_state next)
{
    ASSERT((successors[s->state] & BIT(next)) != 0);
    s->state = next;
}

static bool is_connected(const struct load_session *s)
{
    return s->state >= LOAD_SESSION_GREETING && s->state <= LOAD_SESSION_QUIT;
}

/* --- connecting --- */

static void connect_now(struct load_session *s)
{
    struct load_run *run = s->run;
    load_session_go(s, LOAD_SESSION_CONNECT);
    s->is_connecting = true;
    loop_connect(run->loop, &run->options->to, NULL, &s->connect_op);
}

static void become_over(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_OVER);
    load_session_settle_lost(s);
    load_run_on_session_over(s->run);
}

/* Connects again, later, or not at all. */
static void come_down(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_DOWN);
    struct load_run *run = s->run;
    bool has_work = s->has_message || load_run_has_more(run);
    if (s->wants_close_only || !has_work || run->end != LOAD_GOES_ON) {
        become_over(s);
    } else if (s->backoff_ms == 0) {
        connect_now(s);
    } else if (run->options->may_reconnect) {
        timer_arm(run->loop, &s->retry_timer, s->backoff_ms);
    } else {
        become_over(s);
    }
}

static void back_off(struct load_session *s)
{
    unsigned next = s->backoff_ms == 0 ? BACKOFF_MS_MIN : 2u * s->backoff_ms;
    s->backoff_ms = (uint16_t)MIN(next, (unsigned)BACKOFF_MS_MAX);
}

static void retry_on_timer(struct timer *timer)
{
    connect_now(CONTAINER_OF(timer, struct load_session, retry_timer));
}

static void connect_failed(struct load_session *s, int err)
{
    struct load_counts *counts = &s->run->counts;
    if (err != -ERR_CANCELED) {
        counts->connect_errors++;
        counts->connect_error = err;
    }
    back_off(s);
    come_down(s);
}

static void connect_on_done(struct ring_op *op)
{
    struct load_session *s = CONTAINER_OF(op, struct load_session, connect_op);
    s->is_connecting = false;
    if (op->result < 0) {
        connect_failed(s, op->result);
        return;
    }
    s->run->counts.connections++;
    s->messages_here = 0;
    load_session_go(s, LOAD_SESSION_GREETING);
    conn_open(&s->conn, &s->run->host, &handler, op->result);
    if (s->wants_close_only) load_session_close(s);
}

/* --- closing --- */

void load_session_close(struct load_session *s)
{
    if (!is_connected(s)) return;
    list_remove(&s->idle_node);
    if (s->state == LOAD_SESSION_BODY) load_session_settle_lost(s);
    load_session_go(s, LOAD_SESSION_CLOSING);
    conn_close(&s->conn);
}

/* The connection is of no more use: closes, and waits before the next. */
void load_session_lose(struct load_session *s)
{
    s->run->counts.losses++;
    back_off(s);
    load_session_close(s);
}

static void session_on_end(struct conn *conn, int err)
{
    struct load_session *s = CONTAINER_OF(conn, struct load_session, conn);
    (void)err;
    if (s->state == LOAD_SESSION_QUIT) {
        load_session_close(s);
    } else {
        load_session_lose(s);
    }
}

static void session_on_closed(struct conn *conn)
{
    struct load_session *s = CONTAINER_OF(conn, struct load_session, conn);
    ASSERT(s->state == LOAD_SESSION_CLOSING);
    come_down(s);
}

void load_session_stop(struct load_session *s)
{
    s->wants_close_only = true;
    if (s->state == LOAD_SESSION_DOWN) {
        timer_disarm(&s->retry_timer);
        become_over(s);
    } else if (s->is_connecting) {
        loop_cancel(s->run->loop, &s->connect_op);
    } else {
        load_session_close(s);
    }
}

/* --- replies --- */

static void say(struct load_session *s, struct slice line)
{
    /* The output is empty here: these commands go out alone, after a reply. */
    if (!conn_write(&s->conn, line)) {
        load_session_lose(s);
        return;
    }
    conn_flush(&s->conn);
}

static void greeting_on_reply(struct load_session *s, unsigned code)
{
    if (code != 220) {
        s->run->counts.codes[code]++;
        load_session_lose(s);
        return;
    }
    s->can_pipeline = s->can_8bit = s->can_size = false;
    load_session_go(s, LOAD_SESSION_EHLO);
    say(s, SLICE("EHLO load.bench.test\r\n"));
}

/* One line of the reply to EHLO, without its code. */
static void ehlo_on_line(struct load_session *s, struct slice line)
{
    if (slice_eq_nocase(line, SLICE("PIPELINING"))) s->can_pipeline = true;
    if (slice_eq_nocase(line, SLICE("8BITMIME"))) s->can_8bit = true;
    if (slice_starts_with_nocase(line, SLICE("SIZE"))) s->can_size = true;
}

static void ehlo_on_reply(struct load_session *s, unsigned code)
{
    if (code != 250) {
        s->run->counts.codes[code]++;
        load_session_lose(s);
        return;
    }
    s->backoff_ms = 0;
    load_session_go(s, LOAD_SESSION_IDLE);
    load_session_poll(s);
}

static void on_reply(struct load_session *s, unsigned code)
{
    switch (s->state) {
    case LOAD_SESSION_GREETING:
        greeting_on_reply(s, code);
        break;
    case LOAD_SESSION_EHLO:
        ehlo_on_reply(s, code);
        break;
    case LOAD_SESSION_ENVELOPE:
        load_envelope_on_reply(s, code);
        break;
    case LOAD_SESSION_BODY:
        load_body_on_reply(s, code);
        break;
    case LOAD_SESSION_RESET:
        load_session_go(s, LOAD_SESSION_IDLE);
        load_session_poll(s);
        break;
    case LOAD_SESSION_QUIT:
        load_session_close(s);
        break;
    default:
        /* A reply to nothing: 421 when the server gives up on an idle connection. */
        load_session_lose(s);
        break;
    }
}

/* The code of a line "DDD text", "DDD-text" or "DDD"; 0 when it is none. */
static unsigned reply_code_of(struct slice line)
{
    uint64_t code;
    if (line.len < 3 || !slice_to_u64(slice_of(line.data, 3), 599, &code) || code < 200) return 0;
    if (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-') return 0;
    return (unsigned)code;
}

static void on_line(struct load_session *s, struct slice line)
{
    unsigned code = reply_code_of(line);
    if (code == 0) {
        s->run->counts.bad_replies++;
        load_session_lose(s);
        return;
    }
    if (s->state == LOAD_SESSION_EHLO && line.len > 4) ehlo_on_line(s, slice_from(line, 4));
    if (line.len > 3 && line.data[3] == '-') return;
    on_reply(s, code);
}

static size_t session_on_input(struct conn *conn, struct slice input)
{
    struct load_session *s = CONTAINER_OF(conn, struct load_session, conn);
    size_t at = 0;
    while (at < input.len && is_connected(s)) {
        const char *from = input.data + at;
        const char *newline = memchr(from, '\n', input.len - at);
        if (newline == NULL) {
            if (input.len - at < REPLY_LINE_BYTES_MAX) break;
            s->run->counts.bad_replies++;
            load_session_lose(s);
            break;
        }
        size_t len = (size_t)(newline - from);
        at += len + 1;
        if (len > 0 && from[len - 1] == '\r') len--;
        on_line(s, slice_of(from, len));
    }
    return at;
}

static void session_on_sent(struct conn *conn)
{
    struct load_session *s = CONTAINER_OF(conn, struct load_session, conn);
    load_message_on_sent(s);
}

static const struct conn_handler handler = {
    .on_input = session_on_input,
    .on_sent = session_on_sent,
    .on_end = session_on_end,
    .on_closed = session_on_closed,
};

/* --- the life of a session --- */

static void quit(struct load_session *s)
{
    list_remove(&s->idle_node);
    load_session_go(s, LOAD_SESSION_QUIT);
    say(s, SLICE("QUIT\r\n"));
}

void load_session_poll(struct load_session *s)
{
    ASSERT(s->state == LOAD_SESSION_IDLE);
    struct load_run *run = s->run;
    uint64_t per_connection = run->options->messages_per_connection;
    bool is_enough = per_connection > 0 && s->messages_here >= per_connection;
    if (!s->has_message && (is_enough || !load_run_has_more(run))) {
        quit(s);
        return;
    }
    if (!s->has_message) {
        s->has_message = load_run_take(run, s->can_8bit, &s->message, &s->intended_ns);
    }
    list_remove(&s->idle_node);
    if (s->has_message) {
        load_envelope_start(s);
    } else {
        list_push_back(&run->idle, &s->idle_node);
    }
}

void load_session_start(struct load_session *s, struct load_run *run)
{
    memset(s, 0, sizeof(*s));
    s->run = run;
    s->connect_op.done = connect_on_done;
    s->step_count = run->options->recipients + 2;
    s->pieces = xcalloc(message_pieces_max(run->maker), sizeof(s->pieces[0]));
    list_init(&s->idle_node);
    timer_init(&s->retry_timer, retry_on_timer);
    connect_now(s);
}

void load_session_finish(struct load_session *s)
{
    ASSERT(s->state == LOAD_SESSION_OVER);
    free(s->pieces);
}
