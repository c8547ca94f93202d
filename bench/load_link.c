/* load_link.c - the life of a connection: connecting, lines, waits, closing. What is said before
 * messages is in load_open.c. */
#include "bench/load_link.h"

#include "ring/base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define REPLY_LINE_BYTES_MAX 2048
#define QUOTE_BYTES_MAX 120
#define DATA_BYTES_PER_S_MIN 16384 /* a server that takes data more slowly is taken for stalled */

static const struct {
    const char *awaited;
    uint32_t successors;
} states[] = {
    [LOAD_LINK_DOWN] = {"nothing", BIT(LOAD_LINK_CONNECT)},
    [LOAD_LINK_CONNECT] = {"the connection", BIT(LOAD_LINK_SECURE) | BIT(LOAD_LINK_GREETING) |
                                                 BIT(LOAD_LINK_CLOSING) | BIT(LOAD_LINK_DOWN)},
    [LOAD_LINK_SECURE] = {"the TLS handshake",
                          BIT(LOAD_LINK_GREETING) | BIT(LOAD_LINK_EHLO) | BIT(LOAD_LINK_CLOSING)},
    [LOAD_LINK_GREETING] = {"the greeting", BIT(LOAD_LINK_EHLO) | BIT(LOAD_LINK_CLOSING)},
    [LOAD_LINK_EHLO] = {"the reply to EHLO", BIT(LOAD_LINK_STARTTLS) | BIT(LOAD_LINK_AUTH) |
                                                 BIT(LOAD_LINK_READY) | BIT(LOAD_LINK_CLOSING)},
    [LOAD_LINK_STARTTLS] = {"the reply to STARTTLS",
                            BIT(LOAD_LINK_SECURE) | BIT(LOAD_LINK_CLOSING)},
    [LOAD_LINK_AUTH] = {"the reply to AUTH", BIT(LOAD_LINK_READY) | BIT(LOAD_LINK_CLOSING)},
    [LOAD_LINK_READY] = {"a reply", BIT(LOAD_LINK_QUIT) | BIT(LOAD_LINK_CLOSING)},
    [LOAD_LINK_QUIT] = {"the reply to QUIT", BIT(LOAD_LINK_CLOSING)},
    [LOAD_LINK_CLOSING] = {"the end", BIT(LOAD_LINK_DOWN)},
};

static const struct conn_handler handler;

void load_link_go(struct load_link *link, enum load_link_state next)
{
    ASSERT((states[link->state].successors & BIT(next)) != 0);
    link->state = next;
}

/* There is a connection that does not end yet. */
static bool is_up(const struct load_link *link)
{
    return link->state > LOAD_LINK_CONNECT && link->state < LOAD_LINK_CLOSING;
}

static void come_down(struct load_link *link)
{
    load_link_go(link, LOAD_LINK_DOWN);
    link->wait_ns = 0;
    timer_disarm(&link->timer);
    link->handler->on_down(link);
}

/* --- connecting --- */

void load_link_open(struct load_link *link, const struct endpoint *from)
{
    ASSERT(link->state == LOAD_LINK_DOWN);
    struct load_core *core = link->core;
    link->was_lost = link->is_secured = false;
    load_link_go(link, LOAD_LINK_CONNECT);
    load_link_expect(link, 0);
    timer_arm(core->loop, &link->timer, core->options->reply_timeout_ns / NS_PER_MS);
    loop_connect(core->loop, &core->options->to, from, &link->connect_op);
}

static void connect_failed(struct load_link *link, int err)
{
    struct load_counts *counts = &link->core->counts;
    link->was_lost = true;
    if (err != -ERR_CANCELED) {
        counts->connect_errors++;
        counts->connect_error = err;
        load_core_note(link->core, "cannot connect: %s", err_str(err));
    }
    come_down(link);
}

static void connect_on_done(struct ring_op *op)
{
    struct load_link *link = CONTAINER_OF(op, struct load_link, connect_op);
    if (op->result < 0) {
        connect_failed(link, op->result);
        return;
    }
    link->core->counts.connections++;
    conn_open(&link->conn, &link->core->host, &handler, op->result);
    if (link->was_lost) { /* asked to close meanwhile */
        load_link_go(link, LOAD_LINK_CLOSING);
        conn_close(&link->conn);
        return;
    }
    load_open_start(link);
}

/* --- waiting --- */

void load_link_expect(struct load_link *link, uint64_t bytes)
{
    link->wait_ns = loop_now_ns(link->core->loop);
    link->patience_ns = bytes < DATA_BYTES_PER_S_MIN ? 0 : bytes / DATA_BYTES_PER_S_MIN * NS_PER_S;
}

static void stalled(struct load_link *link, uint64_t limit_ns)
{
    struct load_counts *counts = &link->core->counts;
    double seconds = (double)limit_ns / 1e9;
    counts->stalls++;
    if (link->state == LOAD_LINK_CONNECT) {
        counts->connect_errors++;
        counts->connect_error = -ERR_TIMEOUT;
        load_core_note(link->core, "the server stalled: no connection within %g s", seconds);
        link->was_lost = true;
        loop_cancel(link->core->loop, &link->connect_op);
    } else {
        load_link_lose(link, "the server stalled: waited %g s for %s", seconds,
                       states[link->state].awaited);
    }
}

/* The timer runs all the while and looks at what is awaited only when it fires, so that a reply
 * costs no timer. */
static void link_on_timer(struct timer *timer)
{
    struct load_link *link = CONTAINER_OF(timer, struct load_link, timer);
    if (link->state == LOAD_LINK_DOWN || link->state == LOAD_LINK_CLOSING) return;
    uint64_t limit_ns = link->core->options->reply_timeout_ns;
    uint64_t waited_ns = 0;
    if (link->wait_ns != 0) {
        limit_ns += link->patience_ns;
        waited_ns = loop_now_ns(link->core->loop) - link->wait_ns;
    }
    if (waited_ns >= limit_ns) {
        stalled(link, limit_ns);
    } else {
        timer_arm(link->core->loop, timer, (limit_ns - waited_ns) / NS_PER_MS + 1);
    }
}

/* --- closing --- */

void load_link_close(struct load_link *link)
{
    if (link->state == LOAD_LINK_CONNECT) {
        if (link->was_lost) return;
        link->was_lost = true;
        loop_cancel(link->core->loop, &link->connect_op);
    } else if (is_up(link)) {
        link->wait_ns = 0;
        load_link_go(link, LOAD_LINK_CLOSING);
        conn_close(&link->conn);
        link->handler->on_closing(link);
    }
}

static void lose(struct load_link *link)
{
    link->core->counts.losses++;
    link->was_lost = true;
    load_link_close(link);
}

void load_link_lose(struct load_link *link, const char *format, ...)
{
    if (!is_up(link)) return;
    char text[LOAD_PROBLEM_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    load_core_note(link->core, "%s", text);
    lose(link);
}

void load_link_lose_for(struct load_link *link, const char *what, struct slice line)
{
    char quote[QUOTE_BYTES_MAX];
    load_link_lose(link, "%s: \"%s\"", what, load_core_escape(line, quote, sizeof(quote)));
}

static void link_on_end(struct conn *conn, int err)
{
    struct load_link *link = CONTAINER_OF(conn, struct load_link, conn);
    const char *awaited = states[link->state].awaited;
    if (link->state == LOAD_LINK_QUIT) {
        load_link_close(link);
    } else if (err == -ERR_TLS) {
        const char *why = conn_tls_error(conn);
        if (link->state == LOAD_LINK_SECURE) link->core->counts.handshakes_failed++;
        load_link_lose_for(link, "TLS failed", slice_of_cstr(why == NULL ? "" : why));
    } else if (err != 0) {
        load_link_lose(link, "the connection broke before %s came: %s", awaited, err_str(err));
    } else {
        if (link->state == LOAD_LINK_SECURE) link->core->counts.handshakes_failed++;
        load_link_lose(link, "the server closed the connection before %s came", awaited);
    }
}

static void link_on_closed(struct conn *conn)
{
    struct load_link *link = CONTAINER_OF(conn, struct load_link, conn);
    ASSERT(link->state == LOAD_LINK_CLOSING);
    come_down(link);
}

/* --- lines --- */

void load_link_say(struct load_link *link, struct slice line)
{
    /* The output is empty here: these commands go out alone, after a reply. */
    if (!conn_write(&link->conn, line)) {
        load_link_lose(link, "no room for a command");
        return;
    }
    conn_flush(&link->conn);
    load_link_expect(link, 0);
}

void load_link_quit(struct load_link *link)
{
    load_link_go(link, LOAD_LINK_QUIT);
    load_link_say(link, SLICE("QUIT\r\n"));
}

/* The code of a line "DDD text", "DDD-text" or "DDD"; 0 when it is none. */
static unsigned reply_code_of(struct slice line)
{
    uint64_t code;
    if (line.len < 3 || !slice_to_u64(slice_of(line.data, 3), 599, &code) || code < 200) return 0;
    if (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-') return 0;
    return (unsigned)code;
}

static void on_line(struct load_link *link, struct slice line)
{
    unsigned code = reply_code_of(line);
    if (code == 0) {
        link->core->counts.bad_replies++;
        load_link_lose_for(link, "the server sent what is no reply of SMTP", line);
        return;
    }
    if (link->state < LOAD_LINK_READY) load_open_on_line(link, line);
    if (line.len > 3 && line.data[3] == '-') return;
    if (link->state == LOAD_LINK_READY) {
        link->handler->on_reply(link, code, line);
    } else if (link->state == LOAD_LINK_QUIT) {
        load_link_close(link);
    } else {
        load_open_on_reply(link, code, line);
    }
}

static size_t link_on_input(struct conn *conn, struct slice input)
{
    struct load_link *link = CONTAINER_OF(conn, struct load_link, conn);
    size_t at = 0;
    /* In SECURE nothing in the clear may follow: what is left untaken is refused by the layer
     * below. */
    while (at < input.len && is_up(link) && link->state != LOAD_LINK_SECURE) {
        const char *from = input.data + at;
        const char *newline = memchr(from, '\n', input.len - at);
        if (newline == NULL) {
            if (input.len - at < REPLY_LINE_BYTES_MAX) break;
            link->core->counts.bad_replies++;
            load_link_lose_for(link, "the server sent a line without an end",
                               slice_of(from, input.len - at));
            break;
        }
        size_t len = (size_t)(newline - from);
        at += len + 1;
        if (len > 0 && from[len - 1] == '\r') len--;
        on_line(link, slice_of(from, len));
    }
    return at;
}

static void link_on_sent(struct conn *conn)
{
    struct load_link *link = CONTAINER_OF(conn, struct load_link, conn);
    if (link->state == LOAD_LINK_READY) link->handler->on_sent(link);
}

static void link_on_secured(struct conn *conn)
{
    load_open_on_secured(CONTAINER_OF(conn, struct load_link, conn));
}

static const struct conn_handler handler = {
    .on_input = link_on_input,
    .on_sent = link_on_sent,
    .on_end = link_on_end,
    .on_closed = link_on_closed,
    .on_secured = link_on_secured,
};

void load_link_init(struct load_link *link, struct load_core *core,
                    const struct load_link_handler *link_handler)
{
    memset(link, 0, sizeof(*link));
    link->core = core;
    link->handler = link_handler;
    link->connect_op.done = connect_on_done;
    timer_init(&link->timer, link_on_timer);
}
