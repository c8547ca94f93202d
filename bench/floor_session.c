/* floor_session.c - COMMAND --DATA--> DATA --end--> COMMAND; see floor_session.h.
 *
 * Small input comes in the loop's buffers by a multishot receive. When WINDOW_AFTER_BYTES of one
 * body came that way, that receive is ended and the body goes on in windows, until its end. */
#include "bench/floor_session.h"

#include <string.h>

#define SESSIONS_A_CHUNK 16
#define OUTPUTS_A_CHUNK 16
#define WINDOWS_A_CHUNK 4
#define WINDOW_AFTER_BYTES 65536
/* Most peers close as soon as they have read the reply to QUIT, and then that is all there is to
 * do; the others are closed after this. */
#define QUIT_WAIT_MS 10

struct session {
    struct floor_server *server;
    int socket;
    bool is_data, is_closing, is_quitting;
    bool is_recv_canceled; /* the multishot receive, in favour of a window */
    uint8_t matched;       /* how much of CR LF . CR LF the last bytes of the body are */
    uint8_t inflight;
    struct ring_op recv_op, send_op, close_op;
    struct timer quit_timer;
    uint64_t body_bytes; /* of this message, so far */
    uint32_t line_len, output_len, sending_len;
    char *output, *sending; /* of server->outputs; NULL: none */
    char *window;           /* of server->windows; NULL: the multishot receive runs */
    char line[FLOOR_LINE_BYTES_MAX];
};

/* --- the end of the data --- */

#define MATCHED_ALL 5

static uint8_t match(uint8_t matched, char c)
{
    static const char end[MATCHED_ALL] = {'\r', '\n', '.', '\r', '\n'};
    if (c == end[matched]) return (uint8_t)(matched + 1);
    return c == '\r' ? 1 : 0;
}

/* Passes over the body; returns the length up to and with its end, and then matched is
 * MATCHED_ALL. Whole chunks are searched for dots, which are rare; only what may hang over from one
 * chunk to the next is matched byte by byte. */
static size_t skip_body(struct session *s, const char *data, size_t len)
{
    size_t at = 0;
    while (at < len && s->matched > 0) {
        s->matched = match(s->matched, data[at++]);
        if (s->matched == MATCHED_ALL) return at;
    }
    const char *start = data + at, *end = data + len, *dot = start;
    while (dot < end && (dot = memchr(dot, '.', (size_t)(end - dot))) != NULL) {
        bool is_end = dot - start >= 2 && end - dot >= 3 && memcmp(dot - 2, "\r\n.\r\n", 5) == 0;
        if (is_end) {
            s->matched = MATCHED_ALL;
            return (size_t)(dot + 3 - data);
        }
        dot++;
    }
    for (const char *p = end - MIN(end - start, MATCHED_ALL - 1); p < end; p++)
        s->matched = match(s->matched, *p);
    return len;
}

/* --- closing --- */

static void close_session(struct session *s)
{
    if (s->is_closing) return;
    s->is_closing = true;
    timer_disarm(&s->quit_timer);
    /* Receives end by themselves at the end of the stream, or with the failed send. */
    s->inflight++;
    loop_close(s->server->loop, s->socket, &s->close_op);
}

/* The same while the peer's half is still open. */
static void cut_off(struct session *s)
{
    loop_cancel(s->server->loop, &s->recv_op);
    close_session(s);
}

static void free_when_idle(struct session *s)
{
    if (!s->is_closing || s->inflight > 0) return;
    slab_put(&s->server->outputs, s->output);
    slab_put(&s->server->windows, s->window);
    slab_put(&s->server->sessions, s);
}

static void close_done(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, close_op);
    s->inflight--;
    free_when_idle(s);
}

static void quit_waited(struct timer *timer)
{
    cut_off(CONTAINER_OF(timer, struct session, quit_timer));
}

/* --- replies --- */

static void flush(struct session *s)
{
    if (s->sending != NULL || s->output_len == 0 || s->is_closing) return;
    s->sending = s->output;
    s->sending_len = s->output_len;
    s->output = NULL;
    s->output_len = 0;
    s->inflight++;
    loop_send(s->server->loop, s->socket, s->sending, s->sending_len, &s->send_op);
}

static void send_done(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, send_op);
    s->inflight--;
    bool is_whole = op->result == (int)s->sending_len;
    slab_put(&s->server->outputs, s->sending);
    s->sending = NULL;
    if (!is_whole) {
        cut_off(s);
    } else {
        flush(s);
        if (s->is_quitting && s->sending == NULL && !s->is_closing)
            timer_arm(s->server->loop, &s->quit_timer, QUIT_WAIT_MS);
    }
    free_when_idle(s);
}

static void reply(struct session *s, const char *text, size_t len)
{
    if (s->is_closing) return;
    if (s->output == NULL) s->output = slab_get(&s->server->outputs);
    if (s->output == NULL || s->output_len + len > FLOOR_OUTPUT_BYTES) {
        s->server->deaf++;
        cut_off(s);
        return;
    }
    memcpy(s->output + s->output_len, text, len);
    s->output_len += (uint32_t)len;
}
#define REPLY(s, text) reply((s), text, sizeof(text) - 1)

/* --- commands --- */

static void run_command(struct session *s, const char *line, size_t len)
{
    if (len < 4) {
        REPLY(s, "500 what?\r\n");
        return;
    }
    uint32_t verb;
    memcpy(&verb, line, sizeof(verb));
    verb &= 0xdfdfdfdf; /* upper case */
#define VERB(a, b, c, d)                                                                           \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
    switch (verb) {
    case VERB('M', 'A', 'I', 'L'):
    case VERB('R', 'C', 'P', 'T'):
    case VERB('R', 'S', 'E', 'T'):
    case VERB('N', 'O', 'O', 'P'):
        REPLY(s, "250 ok\r\n");
        break;
    case VERB('D', 'A', 'T', 'A'):
        s->is_data = true;
        s->matched = 2; /* the command ended with CR LF */
        s->body_bytes = 0;
        REPLY(s, "354 go\r\n");
        break;
    case VERB('E', 'H', 'L', 'O'):
        REPLY(s, "250-floor\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
        break;
    case VERB('H', 'E', 'L', 'O'):
        REPLY(s, "250 floor\r\n");
        break;
    case VERB('Q', 'U', 'I', 'T'):
        s->is_quitting = true;
        REPLY(s, "221 bye\r\n");
        break;
    default:
        REPLY(s, "500 what?\r\n");
        break;
    }
}

/* --- input --- */

/* Takes the body up to its end, or all of `data`. */
static size_t take_body(struct session *s, const char *data, size_t len)
{
    size_t taken = skip_body(s, data, len);
    s->server->bytes += taken;
    s->body_bytes += taken;
    if (s->matched == MATCHED_ALL) {
        s->is_data = false;
        s->server->messages++;
        REPLY(s, "250 ok\r\n");
    }
    return taken;
}

/* Takes one line, or what there is of it. */
static size_t take_line(struct session *s, const char *data, size_t len)
{
    const char *end = memchr(data, '\n', len);
    size_t taken = end == NULL ? len : (size_t)(end + 1 - data);
    if (end != NULL && s->line_len == 0) {
        run_command(s, data, taken);
        return taken;
    }
    size_t room = MIN(taken, FLOOR_LINE_BYTES_MAX - s->line_len);
    memcpy(s->line + s->line_len, data, room);
    s->line_len += (uint32_t)room;
    if (end != NULL) {
        run_command(s, s->line, s->line_len);
        s->line_len = 0;
    }
    return taken;
}

static void take_input(struct session *s, const char *data, size_t len)
{
    for (size_t at = 0; at < len && !s->is_closing;) {
        at += s->is_data ? take_body(s, data + at, len - at) : take_line(s, data + at, len - at);
    }
    flush(s);
}

/* Starts the receive that fits: a window for the rest of a large body, or the loop's buffers. */
static void receive(struct session *s)
{
    struct floor_server *server = s->server;
    bool is_large = s->is_data && s->body_bytes >= WINDOW_AFTER_BYTES;
    if (is_large && s->window == NULL) s->window = slab_get(&server->windows);
    if (!is_large) {
        slab_put(&server->windows, s->window);
        s->window = NULL;
    }
    s->is_recv_canceled = false;
    s->inflight++;
    if (s->window != NULL) {
        loop_recv(server->loop, s->socket, s->window, FLOOR_WINDOW_BYTES, &s->recv_op);
    } else {
        loop_recv_multishot(server->loop, s->socket, &s->recv_op);
    }
}

static bool is_for_now(int err)
{
    return err == -ERR_NO_BUFFERS || err == -ERR_CANCELED || err == -EINTR;
}

static void recv_done(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, recv_op);
    struct loop *loop = s->server->loop;
    int result = op->result;
    bool has_more = op->has_more, has_input = op->has_input;
    if (has_input) {
        uint16_t input = op->input;
        take_input(s, loop_input_data(loop, input), (size_t)result);
        loop_input_release(loop, input);
    } else if (result > 0) {
        take_input(s, s->window, (size_t)result);
    }
    if (has_more) {
        bool is_large = s->is_data && s->body_bytes >= WINDOW_AFTER_BYTES;
        if (is_large && !s->is_recv_canceled && !s->is_closing) {
            s->is_recv_canceled = true;
            loop_cancel(loop, &s->recv_op);
        }
        return;
    }
    s->inflight--;
    if (s->is_closing) {
        /* Only its end was awaited. */
    } else if (result > 0 || is_for_now(result)) {
        receive(s);
    } else {
        close_session(s);
    }
    free_when_idle(s);
}

/* --- the server --- */

void floor_session_accept(void *owner, int socket, const struct endpoint *peer)
{
    (void)peer;
    struct floor_server *server = owner;
    struct session *s = slab_get(&server->sessions);
    if (s == NULL) {
        server->refused++;
        loop_close(server->loop, socket, NULL);
        return;
    }
    server->connections++;
    memset(s, 0, offsetof(struct session, line));
    s->server = server;
    s->socket = socket;
    s->recv_op.done = recv_done;
    s->send_op.done = send_done;
    s->close_op.done = close_done;
    timer_init(&s->quit_timer, quit_waited);
    receive(s);
    REPLY(s, "220 floor\r\n");
    flush(s);
}

void floor_server_init(struct floor_server *server, struct loop *loop, size_t session_count_max)
{
    *server = (struct floor_server){.loop = loop};
    slab_init(&server->sessions, sizeof(struct session), SESSIONS_A_CHUNK, session_count_max);
    slab_init(&server->outputs, FLOOR_OUTPUT_BYTES, OUTPUTS_A_CHUNK, 2 * session_count_max);
    slab_init(&server->windows, FLOOR_WINDOW_BYTES, WINDOWS_A_CHUNK, session_count_max);
}
