/* floor.c - the least that an SMTP server can do on this ring, as fast as it can be done.
 *
 *     floor --listen 127.0.0.1:2525 [--connections N] [--inputs N]
 *
 * It answers EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP and QUIT, looks at no argument, and forgets
 * the body while it looks for its end. Nothing is stored and nothing is checked: what it costs is
 * the network, the kernel and the loop, and every server on this loop costs that much at least. One
 * thread. Prints a line when it listens, and counts on TERM or INT. */
#include "ring/base/memory.h"
#include "ring/listener.h"
#include "ring/loop.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 1024
/* Replies to the shortest commands that fit into one input buffer, and as many again. */
#define OUTPUT_BYTES_MAX 24576
#define SUBMISSION_COUNT 1024
#define BACKLOG 1024

struct server {
    struct loop *loop;
    struct slab sessions;
    uint64_t connections, messages, bytes;
    struct loop_hook hook;
};

struct session {
    struct server *server;
    int socket;
    bool is_data, is_closing;
    uint8_t matched; /* how much of CR LF . CR LF the last bytes of the body are */
    uint8_t inflight;
    struct ring_op recv_op, send_op, close_op;
    uint32_t line_len, output_len, sending_len;
    char *output, *sending; /* the two halves of `outputs` */
    char line[LINE_BYTES_MAX];
    char outputs[2][OUTPUT_BYTES_MAX];
};

static volatile sig_atomic_t is_asked_to_stop;
static struct loop *loop_to_wake;

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

/* --- the session --- */

static void close_session(struct session *s)
{
    if (s->is_closing) return;
    s->is_closing = true;
    /* Receives end by themselves at the end of the stream, or with the failed send. */
    s->inflight++;
    loop_close(s->server->loop, s->socket, &s->close_op);
}

static void free_when_idle(struct session *s)
{
    if (s->is_closing && s->inflight == 0) slab_put(&s->server->sessions, s);
}

static void flush(struct session *s)
{
    if (s->sending_len > 0 || s->output_len == 0 || s->is_closing) return;
    char *half = s->sending;
    s->sending = s->output;
    s->sending_len = s->output_len;
    s->output = half;
    s->output_len = 0;
    s->inflight++;
    loop_send(s->server->loop, s->socket, s->sending, s->sending_len, &s->send_op);
}

static void send_done(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, send_op);
    s->inflight--;
    bool is_whole = op->result == (int)s->sending_len;
    s->sending_len = 0;
    if (is_whole) {
        flush(s);
    } else {
        loop_cancel(s->server->loop, &s->recv_op);
        close_session(s);
    }
    free_when_idle(s);
}

static void reply(struct session *s, const char *text, size_t len)
{
    if (s->output_len + len > OUTPUT_BYTES_MAX) return; /* the peer reads nothing; nor need it */
    memcpy(s->output + s->output_len, text, len);
    s->output_len += (uint32_t)len;
}
#define REPLY(s, text) reply((s), text, sizeof(text) - 1)

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
        REPLY(s, "354 go\r\n");
        break;
    case VERB('E', 'H', 'L', 'O'):
        REPLY(s, "250-floor\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
        break;
    case VERB('H', 'E', 'L', 'O'):
        REPLY(s, "250 floor\r\n");
        break;
    case VERB('Q', 'U', 'I', 'T'):
        REPLY(s, "221 bye\r\n"); /* the peer closes */
        break;
    default:
        REPLY(s, "500 what?\r\n");
        break;
    }
}

/* Takes the body up to its end, or all of `data`. */
static size_t take_body(struct session *s, const char *data, size_t len)
{
    size_t taken = skip_body(s, data, len);
    s->server->bytes += taken;
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
    size_t room = MIN(taken, LINE_BYTES_MAX - s->line_len);
    memcpy(s->line + s->line_len, data, room);
    s->line_len += (uint32_t)room;
    if (end != NULL) {
        run_command(s, s->line, s->line_len);
        s->line_len = 0;
    }
    return taken;
}

static void recv_done(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, recv_op);
    struct loop *loop = s->server->loop;
    int result = op->result;
    bool has_more = op->has_more;
    if (op->has_input) {
        const char *data = loop_input_data(loop, op->input);
        for (size_t at = 0, len = (size_t)result; at < len;) {
            at +=
                s->is_data ? take_body(s, data + at, len - at) : take_line(s, data + at, len - at);
        }
        loop_input_release(loop, op->input);
        flush(s);
    }
    if (has_more) return;
    s->inflight--;
    if (result > 0 || result == -ERR_NO_BUFFERS) {
        s->inflight++;
        loop_recv_multishot(loop, s->socket, &s->recv_op);
    } else {
        close_session(s);
    }
    free_when_idle(s);
}

static void close_done(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, close_op);
    s->inflight--;
    free_when_idle(s);
}

static void accepted(void *owner, int socket, const struct endpoint *peer)
{
    (void)peer;
    struct server *server = owner;
    struct session *s = slab_get(&server->sessions);
    if (s == NULL) {
        loop_close(server->loop, socket, NULL);
        return;
    }
    server->connections++;
    s->server = server;
    s->socket = socket;
    s->is_data = s->is_closing = false;
    s->inflight = 1;
    s->line_len = s->output_len = s->sending_len = 0;
    s->output = s->outputs[0];
    s->sending = s->outputs[1];
    s->recv_op.done = recv_done;
    s->send_op.done = send_done;
    s->close_op.done = close_done;
    loop_recv_multishot(server->loop, socket, &s->recv_op);
    REPLY(s, "220 floor\r\n");
    flush(s);
}

/* --- the process --- */

static void stop_signaled(int number)
{
    (void)number;
    is_asked_to_stop = 1;
    loop_wake(loop_to_wake); /* an atomic and a write(2): safe here */
}

static void turn_ended(struct loop_hook *hook)
{
    if (is_asked_to_stop) loop_stop(CONTAINER_OF(hook, struct server, hook)->loop);
}

struct options {
    struct endpoint listen;
    unsigned long connections, inputs;
};

static bool parse_options(int argc, char **argv, struct options *out)
{
    static const struct option known[] = {{"listen", required_argument, NULL, 'l'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"inputs", required_argument, NULL, 'i'},
                                          {0}};
    *out = (struct options){.connections = 1024, .inputs = 512};
    bool is_good = endpoint_parse(SLICE("127.0.0.1:2525"), &out->listen);
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'l') {
            is_good &= endpoint_parse(slice_of_cstr(optarg), &out->listen);
        } else if (c == 'c') {
            out->connections = strtoul(optarg, NULL, 10);
        } else if (c == 'i') {
            out->inputs = strtoul(optarg, NULL, 10);
        } else {
            is_good = false;
        }
    }
    is_good &= optind == argc && out->connections > 0 && out->connections <= 500000;
    is_good &= out->inputs > 0 && out->inputs <= 32768 && (out->inputs & (out->inputs - 1)) == 0;
    return is_good;
}

static void print_ready(const struct listener *listener)
{
    char text[ENDPOINT_TEXT_MAX];
    struct buf out = {text, 0, sizeof(text), false};
    endpoint_write(listener_address(listener), &out);
    printf("floor: listening on %.*s\n", (int)out.len, out.data);
    fflush(stdout);
}

NORETURN static void run(struct server *server, const struct options *options)
{
    struct listener *listener;
    int err = listener_start(server->loop, &options->listen, BACKLOG, accepted, server, &listener);
    if (err != 0) {
        fprintf(stderr, "floor: cannot listen: %s\n", err_str(err));
        _exit(EXIT_FAILURE);
    }
    slab_init(&server->sessions, sizeof(struct session), 16, options->connections);
    server->hook.run = turn_ended;
    loop_hook_add(server->loop, &server->hook);
    loop_to_wake = server->loop;
    struct sigaction action = {.sa_handler = stop_signaled};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    print_ready(listener);

    err = loop_run(server->loop);
    if (err != 0) fprintf(stderr, "floor: the loop failed: %s\n", err_str(err));
    printf("floor: connections=%" PRIu64 " messages=%" PRIu64 " bytes=%" PRIu64 "\n",
           server->connections, server->messages, server->bytes);
    fflush(stdout);
    /* Connections are still open: the kernel ends them, and takes all memory back at once. */
    _exit(err == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: floor [--listen ADDRESS:PORT] [--connections N] [--inputs 2^N]\n");
        return 64;
    }
    struct loop_options loop_options = {
        .submission_count = SUBMISSION_COUNT,
        .socket_count_max = (uint32_t)options.connections,
        .input_count = (uint32_t)options.inputs,
    };
    struct server server = {.connections = 0};
    char why[512];
    int err = loop_create(&loop_options, &server.loop, why, sizeof(why));
    if (err != 0) {
        fprintf(stderr, "floor: %s\n", why);
        return EXIT_FAILURE;
    }
    run(&server, &options);
}
