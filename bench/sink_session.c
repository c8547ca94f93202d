/* sink_session.c - commands, data, replies.
 *
 * COMMAND --DATA--> DATA --end--> COMMAND, or HOLD first when replies are delayed. Input is taken
 * only while there is room for the reply to it, and none in HOLD: pipelined commands wait in the
 * connection. */
#include "bench/sink_session.h"

#include "bench/random.h"
#include "ring/base/clock.h"

#define COMMAND_BYTES_MAX 4096
#define REPLY_BYTES_MAX 256
#define SLOW_READS_PER_S 20

static const struct conn_handler handler;

static void reply(struct sink_session *s, struct slice line)
{
    bool is_written = conn_write(&s->conn, line);
    ASSERT(is_written); /* session_on_input() has looked for room */
}

static void reply_refusal(struct sink_session *s, unsigned code)
{
    char bytes[REPLY_BYTES_MAX];
    struct buf line = {.data = bytes, .cap = sizeof(bytes)};
    buf_append_format(&line, "%u %u.0.0 Refused by the sink\r\n", code, code / 100);
    reply(s, buf_slice(&line));
    if (code < 500) {
        s->server->counts.rejected_4yz++;
    } else {
        s->server->counts.rejected_5yz++;
    }
}

static unsigned refusal_at(struct sink_session *s, enum sink_stage stage)
{
    return sink_behaviour_refusal(&s->server->behaviour, stage, &s->server->random);
}

static void end_transaction(struct sink_session *s)
{
    s->has_sender = false;
    s->recipient_count = 0;
    s->recipients = 0;
}

/* --- commands --- */

static void cmd_ehlo(struct sink_session *s, struct slice args)
{
    (void)args;
    end_transaction(s);
    reply(s, SLICE("250-sink.bench.test\r\n250-PIPELINING\r\n250-SIZE 1073741824\r\n"
                   "250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"));
}

static void cmd_helo(struct sink_session *s, struct slice args)
{
    (void)args;
    end_transaction(s);
    reply(s, SLICE("250 sink.bench.test\r\n"));
}

static void cmd_mail(struct sink_session *s, struct slice args)
{
    (void)args;
    if (s->has_sender) {
        reply(s, SLICE("503 5.5.1 A transaction is open\r\n"));
        return;
    }
    s->has_sender = true;
    reply(s, SLICE("250 2.1.0 Ok\r\n"));
}

/* The address in angle brackets, or nothing. */
static struct slice bracketed(struct slice args)
{
    const char *open = args.len == 0 ? NULL : memchr(args.data, '<', args.len);
    if (open == NULL) return slice_of("", 0);
    struct slice rest = slice_from(args, (size_t)(open + 1 - args.data));
    const char *close = rest.len == 0 ? NULL : memchr(rest.data, '>', rest.len);
    return slice_of(rest.data, close == NULL ? 0 : (size_t)(close - rest.data));
}

static void cmd_rcpt(struct sink_session *s, struct slice args)
{
    struct slice address = bracketed(args);
    unsigned code = refusal_at(s, SINK_AT_RCPT);
    if (!s->has_sender) {
        reply(s, SLICE("503 5.5.1 MAIL first\r\n"));
    } else if (address.len == 0) {
        reply(s, SLICE("501 5.1.3 No address\r\n"));
    } else if (s->recipient_count == SINK_RECIPIENTS_MAX) {
        reply(s, SLICE("452 4.5.3 Too many recipients\r\n"));
    } else if (code != 0) {
        reply_refusal(s, code);
    } else {
        s->recipient_count++;
        s->recipients |= mark_recipient_bit(address);
        reply(s, SLICE("250 2.1.5 Ok\r\n"));
    }
}

static void cmd_data(struct sink_session *s, struct slice args)
{
    (void)args;
    if (s->recipient_count == 0) {
        reply(s, SLICE("503 5.5.1 RCPT first\r\n"));
        return;
    }
    unsigned code = refusal_at(s, SINK_AT_DATA);
    if (code != 0) {
        reply_refusal(s, code);
        return;
    }
    s->state = SINK_SESSION_DATA;
    intake_init(&s->intake, s->server->is_counting_only);
    reply(s, SLICE("354 End with a dot on a line of its own\r\n"));
}

static void cmd_rset(struct sink_session *s, struct slice args)
{
    (void)args;
    end_transaction(s);
    reply(s, SLICE("250 2.0.0 Ok\r\n"));
}

static void cmd_noop(struct sink_session *s, struct slice args)
{
    (void)args;
    reply(s, SLICE("250 2.0.0 Ok\r\n"));
}

static void cmd_quit(struct sink_session *s, struct slice args)
{
    (void)args;
    reply(s, SLICE("221 2.0.0 Bye\r\n"));
    s->state = SINK_SESSION_LAST;
}

static const struct {
    struct slice verb;
    void (*run)(struct sink_session *s, struct slice args);
} commands[] = {
    {{"MAIL", 4}, cmd_mail}, {{"RCPT", 4}, cmd_rcpt}, {{"DATA", 4}, cmd_data},
    {{"EHLO", 4}, cmd_ehlo}, {{"HELO", 4}, cmd_helo}, {{"RSET", 4}, cmd_rset},
    {{"NOOP", 4}, cmd_noop}, {{"QUIT", 4}, cmd_quit},
};

static void run_command(struct sink_session *s, struct slice line)
{
    const char *space = line.len == 0 ? NULL : memchr(line.data, ' ', line.len);
    size_t len = space == NULL ? line.len : (size_t)(space - line.data);
    struct slice verb = slice_of(line.data, len);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (!slice_eq_nocase(verb, commands[i].verb)) continue;
        commands[i].run(s, slice_trim(slice_from(line, len)));
        return;
    }
    s->server->counts.bad_commands++;
    reply(s, SLICE("500 5.5.2 What?\r\n"));
}

/* Takes one line; 0 when there is none yet. */
static size_t take_command(struct sink_session *s, struct slice input)
{
    const char *newline = memchr(input.data, '\n', input.len);
    if (newline == NULL) {
        if (input.len < COMMAND_BYTES_MAX) return 0;
        reply(s, SLICE("421 4.5.2 Line too long\r\n"));
        s->state = SINK_SESSION_LAST;
        return input.len;
    }
    size_t len = (size_t)(newline - input.data);
    bool is_strict = len > 0 && input.data[len - 1] == '\r';
    if (is_strict) {
        run_command(s, slice_of(input.data, len - 1));
    } else {
        s->server->counts.bad_commands++;
        reply(s, SLICE("500 5.5.2 A line ends with CRLF\r\n"));
    }
    return len + 1;
}

/* --- data --- */

/* Answers 250, and books the message. */
static void accept_message(struct sink_session *s)
{
    const struct intake *in = &s->intake;
    bool is_counting = in->is_counting_only;
    sink_server_take(s->server, &in->id, in->has_id, is_counting ? 0 : digest_value(&in->digest),
                     !is_counting && intake_is_altered(in), s->recipients, in->bytes);
    end_transaction(s);
    s->state = SINK_SESSION_COMMAND;
    reply(s, SLICE("250 2.0.0 Ok\r\n"));
}

static void on_end_of_data(struct sink_session *s)
{
    struct sink_server *server = s->server;
    const struct sink_behaviour *b = &server->behaviour;
    if (b->mode == SINK_DROP_AFTER_DOT || random_chance(&server->random, b->drop_after_dot)) {
        server->counts.dropped++;
        sink_session_stop(s);
        return;
    }
    unsigned code = refusal_at(s, SINK_AT_DOT);
    if (code != 0) {
        end_transaction(s);
        s->state = SINK_SESSION_COMMAND;
        reply_refusal(s, code);
    } else if (b->latency_ns > 0) {
        s->state = SINK_SESSION_HOLD;
        uint64_t ms = (b->latency_ns + NS_PER_MS - 1) / NS_PER_MS;
        timer_arm(server->loop, &s->timer, ms);
    } else {
        accept_message(s);
    }
}

/* How much of `bytes` a slow reader may take now; arms its timer when that is not all. */
static size_t slow_share(struct sink_session *s, size_t bytes)
{
    uint64_t rate = s->server->behaviour.slow_read_bytes_s;
    if (rate == 0) return bytes;
    uint64_t now = loop_now_ns(s->server->loop);
    size_t share = 0;
    if (now >= s->next_read_ns) {
        share = (size_t)MIN((uint64_t)bytes, MAX(rate / SLOW_READS_PER_S, 1u));
        s->next_read_ns = now + (uint64_t)((double)share * 1e9 / (double)rate);
    }
    if (share < bytes) {
        uint64_t wait_ns = s->next_read_ns - now;
        timer_arm(s->server->loop, &s->timer, wait_ns / NS_PER_MS + 1);
    }
    return share;
}

static size_t take_data(struct sink_session *s, struct slice input)
{
    size_t taken;
    input.len = slow_share(s, input.len);
    bool is_end = intake_take(&s->intake, input, &taken);
    if (is_end) {
        timer_disarm(&s->timer);
        on_end_of_data(s);
    }
    return taken;
}

/* --- the connection --- */

static void finish(struct sink_session *s)
{
    timer_disarm(&s->timer);
    s->state = SINK_SESSION_ENDED;
    conn_finish(&s->conn);
}

static size_t session_on_input(struct conn *conn, struct slice input)
{
    struct sink_session *s = CONTAINER_OF(conn, struct sink_session, conn);
    size_t at = 0;
    while (at < input.len && (s->state == SINK_SESSION_COMMAND || s->state == SINK_SESSION_DATA)) {
        s->is_blocked = conn_output_room(conn) < REPLY_BYTES_MAX;
        if (s->is_blocked) break;
        struct slice rest = slice_from(input, at);
        bool is_command = s->state == SINK_SESSION_COMMAND;
        size_t taken = is_command ? take_command(s, rest) : take_data(s, rest);
        at += taken;
        if (taken == 0) break;
    }
    if (s->state == SINK_SESSION_ENDED) return at;
    conn_flush(conn);
    if (s->state == SINK_SESSION_LAST) finish(s);
    return at;
}

static void session_on_timer(struct timer *timer)
{
    struct sink_session *s = CONTAINER_OF(timer, struct sink_session, timer);
    if (s->state == SINK_SESSION_HOLD) {
        accept_message(s);
        conn_flush(&s->conn);
    }
    conn_read_on(&s->conn);
}

static void session_on_sent(struct conn *conn)
{
    struct sink_session *s = CONTAINER_OF(conn, struct sink_session, conn);
    if (s->is_blocked) conn_read_on(conn);
}

static void session_on_end(struct conn *conn, int err)
{
    (void)err;
    sink_session_stop(CONTAINER_OF(conn, struct sink_session, conn));
}

static void session_on_closed(struct conn *conn)
{
    struct sink_session *s = CONTAINER_OF(conn, struct sink_session, conn);
    timer_disarm(&s->timer);
    list_remove(&s->node);
    sink_server_on_session_closed(s->server, s);
}

static const struct conn_handler handler = {
    .on_input = session_on_input,
    .on_sent = session_on_sent,
    .on_end = session_on_end,
    .on_closed = session_on_closed,
};

void sink_session_start(struct sink_session *s, struct sink_server *server, int socket)
{
    memset(s, 0, sizeof(*s));
    s->server = server;
    s->state = SINK_SESSION_COMMAND;
    timer_init(&s->timer, session_on_timer);
    list_push_back(&server->sessions, &s->node);
    conn_open(&s->conn, &server->host, &handler, socket);
    if (loop_now_ns(server->loop) < server->behaviour.refuse_until_ns) {
        server->counts.refused_connections++;
        reply(s, SLICE("421 4.3.2 Not now\r\n"));
        finish(s);
        return;
    }
    reply(s, SLICE("220 sink.bench.test ESMTP\r\n"));
    conn_flush(&s->conn);
}

void sink_session_stop(struct sink_session *s)
{
    timer_disarm(&s->timer);
    s->state = SINK_SESSION_ENDED;
    conn_close(&s->conn);
}
