/* tls_server.c - a child process with one loop, and the openssl command. */
#include "bench/tls_server.h"

#include "bench/address.h"
#include "ring/base/err.h"
#include "ring/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BACKLOG 4096
#define INPUTS 512
#define SUBMISSIONS 1024
#define BULK_PIECE_BYTES (1u << 20)
#define BULK_PIECES 16

/* --- ours --- */

struct server {
    struct loop *loop;
    struct conn_host host;
    struct tls_context *context; /* NULL: plain */
    struct slab sessions;
    char *bulk;
};

struct session {
    struct conn conn;
    struct server *server;
    bool is_taking_all, is_sending;
    struct iovec pieces[BULK_PIECES];
};

static void send_bulk(struct session *s)
{
    for (int i = 0; i < BULK_PIECES; i++)
        s->pieces[i] = (struct iovec){s->server->bulk, BULK_PIECE_BYTES};
    s->is_sending = true;
    conn_send_pieces(&s->conn, s->pieces, BULK_PIECES);
}

static size_t on_input(struct conn *conn, struct slice input)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    if (s->is_taking_all || s->is_sending) return input.len;
    const char *end = memchr(input.data, '\n', input.len);
    if (end == NULL) return 0;
    size_t len = (size_t)(end + 1 - input.data);
    s->is_taking_all = *input.data == 'B';
    if (s->is_taking_all) return input.len;
    if (*input.data == 'S') {
        send_bulk(s);
    } else if (conn_write(conn, slice_of(input.data, len))) {
        conn_flush(conn);
    } else {
        conn_close(conn);
    }
    return input.len;
}

static void on_window(struct conn *conn, size_t bytes)
{
    (void)conn, (void)bytes;
    ASSERT(false); /* none is opened */
}

static void on_sent(struct conn *conn)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    if (s->is_sending) send_bulk(s);
}

static void on_end(struct conn *conn, int err)
{
    (void)err;
    conn_close(conn);
}

static void on_closed(struct conn *conn)
{
    struct session *s = CONTAINER_OF(conn, struct session, conn);
    slab_put(&s->server->sessions, s);
}

static const struct conn_handler handler = {.on_input = on_input,
                                            .on_window = on_window,
                                            .on_sent = on_sent,
                                            .on_end = on_end,
                                            .on_closed = on_closed};

static void on_accepted(void *owner, int socket, const struct endpoint *peer)
{
    (void)peer;
    struct server *server = owner;
    struct session *s = slab_get(&server->sessions);
    if (s == NULL) {
        loop_close(server->loop, socket, NULL);
        return;
    }
    memset(s, 0, sizeof(*s));
    s->server = server;
    conn_open(&s->conn, &server->host, &handler, socket);
    if (server->context == NULL) return;
    if (conn_start_tls(&s->conn, server->context, NULL, CONN_BEFORE_TLS_REFUSE) != 0)
        conn_close(&s->conn);
}

static int failed(const char *why)
{
    fprintf(stderr, "tls: %s\n", why);
    return EXIT_FAILURE;
}

static int run_ours(const void *data)
{
    const struct tls_server_settings *settings = data;
    struct server server = {.bulk = xcalloc(1, BULK_PIECE_BYTES)};
    struct loop_options options = {SUBMISSIONS, settings->connections, INPUTS};
    struct tls_certificate certificate = {settings->certificate, settings->key};
    struct tls_server_options tls = {.certificates = &certificate, .certificate_count = 1};
    struct endpoint any;
    struct listener *listener;
    char why[512];
    bool is_any = endpoint_parse(SLICE("127.0.0.1:0"), &any);
    ASSERT(is_any);
    if (loop_create(&options, &server.loop, why, sizeof(why)) != 0) return failed(why);
    if (!settings->is_plain &&
        tls_server_context_create(&tls, &server.context, why, sizeof(why)) != 0)
        return failed(why);
    conn_host_init(&server.host, server.loop, settings->connections);
    slab_init(&server.sessions, sizeof(struct session), 64, settings->connections);
    if (listener_start(server.loop, &any, BACKLOG, on_accepted, &server, &listener) != 0)
        return failed("cannot listen");
    address_say_ready(listener);
    return loop_run(server.loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- theirs --- */

static struct tls_process start_openssl(const struct tls_server_settings *settings)
{
    const char *args[TLS_PROCESS_ARGS_MAX] = {
        "openssl", "s_server",    "-accept",      "127.0.0.1:0", "-cert", settings->certificate,
        "-key",    settings->key, "-num_tickets", "1",           "-rev",  NULL};
    return tls_process_openssl(settings->cpu, args);
}

/* --- both --- */

/* "ready ADDRESS" or "ACCEPT ADDRESS" */
static bool read_address(const struct tls_process *process, struct endpoint *at_out)
{
    char text[8192] = "";
    size_t len = 0;
    while (len < sizeof(text) - 1) {
        ssize_t n = read(process->output, text + len, sizeof(text) - 1 - len);
        if (n <= 0) return false;
        len += (size_t)n;
        text[len] = '\0';
        const char *at = strstr(text, "ready ");
        if (at == NULL) at = strstr(text, "ACCEPT ");
        if (at == NULL || strchr(at, '\n') == NULL) continue;
        at = strchr(at, ' ') + 1;
        return endpoint_parse(slice_of(at, strcspn(at, "\n")), at_out);
    }
    return false;
}

struct tls_process tls_server_start(enum tls_server_kind kind,
                                    const struct tls_server_settings *settings,
                                    struct endpoint *at_out)
{
    struct tls_process process = kind == TLS_SERVER_OURS
                                     ? tls_process_fork(settings->cpu, run_ours, settings)
                                     : start_openssl(settings);
    if (read_address(&process, at_out)) return process;
    fprintf(stderr, "tls: %s did not start\n", kind == TLS_SERVER_OURS ? "a server" : "s_server");
    tls_process_stop(&process);
    exit(EXIT_FAILURE);
}
