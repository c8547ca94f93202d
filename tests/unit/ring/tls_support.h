/* tls_support.h - certificates from the openssl command, two connections of ours over loopback,
 * and a relay between them that cuts, changes or dices what passes. */
#pragma once

#include "ring/conn.h"
#include "tests/unit/ring/ring_support.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* --- files and programs --- */

static char tls_dir[64];

static inline const char *tls_path(const char *name)
{
    static char paths[32][128];
    static unsigned at;
    char *path = paths[at++ % ARRAY_LEN(paths)];
    snprintf(path, sizeof(paths[0]), "%s/%s", tls_dir, name);
    return path;
}

/* Starts the openssl command; -1 keeps this program's descriptor. */
static inline pid_t tls_spawn(const char *const *args, int in, int out)
{
    pid_t pid = fork();
    ASSERT(pid >= 0);
    if (pid > 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that fails */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(in >= 0 ? in : null, 0);
    dup2(out >= 0 ? out : null, 1);
    if (getenv("TLS_TEST_VERBOSE") == NULL) dup2(null, 2);
    execvp("openssl", (char *const *)(uintptr_t)args);
    _exit(127);
}

static inline int tls_wait(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

static inline void tls_openssl(const char *const *args)
{
    int status = tls_wait(tls_spawn(args, -1, -1));
    if (status == 0) return;
    printf("the command openssl %s failed (%d); these tests need it in the PATH\n", args[1],
           status);
    exit(1);
}

/* A self-signed certificate NAME.crt with its NAME.key; `type` as openssl req -newkey has it. */
static inline void tls_make_certificate(const char *name, const char *type, const char *subject,
                                        const char *names)
{
    char key[160], crt[160], san[300];
    snprintf(key, sizeof(key), "%s/%s.key", tls_dir, name);
    snprintf(crt, sizeof(crt), "%s/%s.crt", tls_dir, name);
    snprintf(san, sizeof(san), "subjectAltName=%s", names);
    const char *args[20] = {"openssl", "req",   "-x509", "-newkey", type, "-nodes", "-days",
                            "2",       "-subj", subject, "-keyout", key,  "-out",   crt};
    unsigned count = 14;
    if (strcmp(type, "ec") == 0) {
        args[count++] = "-pkeyopt";
        args[count++] = "ec_paramgen_curve:P-256";
    }
    if (names != NULL) {
        args[count++] = "-addext";
        args[count++] = san;
    }
    tls_openssl(args);
}

static inline void tls_remove_files(void)
{
    const char *names[] = {"a.crt", "a.key",    "rsa.crt",  "rsa.key", "b.crt",
                           "b.key", "wild.crt", "wild.key", "bad.crt", "in",
                           "out",   "cn.crt",   "cn.key",   "both.pem"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(tls_path(names[i]));
    rmdir(tls_dir);
}

/* a: ECDSA for a.example and 127.0.0.1; rsa: RSA for a.example; b and wild: ECDSA. */
static inline void tls_make_files(void)
{
    if (tls_dir[0] != '\0') return;
    snprintf(tls_dir, sizeof(tls_dir), "/tmp/postern-tls-XXXXXX");
    ASSERT(mkdtemp(tls_dir) != NULL);
    atexit(tls_remove_files);
    tls_make_certificate("a", "ec", "/CN=a.example", "DNS:a.example,IP:127.0.0.1");
    tls_make_certificate("rsa", "rsa:2048", "/CN=a.example", "DNS:a.example");
    tls_make_certificate("b", "ec", "/CN=ignored.example", "DNS:B.example,DNS:c.example");
    tls_make_certificate("wild", "ec", "/CN=wild", "DNS:*.w.example");
    tls_make_certificate("cn", "ec", "/CN=cn.example", NULL);
}

/* --- contexts --- */

static inline struct tls_context *tls_client(struct tls_client_options options)
{
    struct tls_context *context = NULL;
    char why[512] = "";
    int err = tls_client_context_create(&options, &context, why, sizeof(why));
    if (err != 0) {
        printf("tls_client_context_create: %s: %s\n", err_str(err), why);
        exit(1);
    }
    return context;
}

static inline struct tls_context *tls_server(struct tls_server_options options)
{
    static struct tls_certificate a;
    tls_make_files();
    a = (struct tls_certificate){tls_path("a.crt"), tls_path("a.key")};
    if (options.certificate_count == 0) {
        options.certificates = &a;
        options.certificate_count = 1;
    }
    struct tls_context *context = NULL;
    char why[512] = "";
    int err = tls_server_context_create(&options, &context, why, sizeof(why));
    if (err != 0) {
        printf("tls_server_context_create: %s: %s\n", err_str(err), why);
        exit(1);
    }
    return context;
}

/* --- one end of a connection --- */

struct end {
    struct conn conn;
    const char *expected; /* what the peer is to send */
    size_t expected_len, got;
    bool takes_windows, is_wrong;
    struct iovec pieces[LOOP_IOV_MAX];
    const char *body; /* sent when secured */
    size_t body_len, body_piece;
    bool finishes_when_sent, finishes_at_end;
    unsigned secured, sents, ends, closes;
    int end_err;
    bool is_truncated;
    char window[70000], error[256];
    size_t window_cap, window_at;
    struct tls_info info;
    char server_name[256];
};

static inline void end_check(struct end *e, const char *data, size_t len)
{
    bool fits = e->got + len <= e->expected_len;
    if (!fits || memcmp(e->expected + e->got, data, len) != 0) e->is_wrong = true;
    e->got += len;
}

static inline size_t end_on_input(struct conn *conn, struct slice input)
{
    struct end *e = CONTAINER_OF(conn, struct end, conn);
    CHECK(e->closes == 0 && input.len > 0);
    if (e->takes_windows) {
        e->window_at = 0;
        conn_window_open(conn, e->window, e->window_cap);
        return 0;
    }
    end_check(e, input.data, input.len);
    return input.len;
}

static inline void end_on_window(struct conn *conn, size_t bytes)
{
    struct end *e = CONTAINER_OF(conn, struct end, conn);
    end_check(e, e->window + e->window_at, bytes);
    e->window_at += bytes;
    if (e->window_at < e->window_cap) return;
    e->window_at = 0; /* full, and so closed: the next one */
    conn_window_open(conn, e->window, e->window_cap);
}

static inline void end_on_sent(struct conn *conn)
{
    struct end *e = CONTAINER_OF(conn, struct end, conn);
    CHECK(conn_is_flushed(conn));
    e->sents++;
    if (e->finishes_when_sent && conn_is_secured(conn)) conn_finish(conn);
}

static inline void end_on_end(struct conn *conn, int err)
{
    struct end *e = CONTAINER_OF(conn, struct end, conn);
    e->ends++;
    e->end_err = err;
    e->is_truncated = conn_tls_is_truncated(conn);
    const char *error = conn_tls_error(conn);
    snprintf(e->error, sizeof(e->error), "%s", error == NULL ? "" : error);
    if (e->finishes_at_end && err == 0) {
        conn_finish(conn);
    } else if (err != 0) {
        conn_close(conn);
    }
}

static inline void end_on_closed(struct conn *conn)
{
    CONTAINER_OF(conn, struct end, conn)->closes++;
}

static inline void end_send_body(struct end *e)
{
    size_t piece = MAX(e->body_piece, e->body_len / (LOOP_IOV_MAX - 1) + 1);
    uint32_t count = 0;
    for (size_t at = 0; at < e->body_len; at += piece, count++)
        e->pieces[count] =
            (struct iovec){(void *)(uintptr_t)(e->body + at), MIN(piece, e->body_len - at)};
    if (count > 0) conn_send_pieces(&e->conn, e->pieces, count);
}

static inline void end_on_secured(struct conn *conn)
{
    struct end *e = CONTAINER_OF(conn, struct end, conn);
    e->secured++;
    CHECK(conn_tls_info(conn, &e->info));
    if (e->info.server_name != NULL)
        snprintf(e->server_name, sizeof(e->server_name), "%s", e->info.server_name);
    end_send_body(e);
}

static const struct conn_handler end_handler = {
    .on_input = end_on_input,
    .on_window = end_on_window,
    .on_sent = end_on_sent,
    .on_end = end_on_end,
    .on_closed = end_on_closed,
    .on_secured = end_on_secured,
};

/* --- two ends --- */

struct pair_socket {
    struct ring_op op;
    unsigned count;
    int socket;
};

static inline void pair_connected(struct ring_op *op)
{
    struct pair_socket *s = CONTAINER_OF(op, struct pair_socket, op);
    s->socket = op->result;
    s->count++;
}

struct pair {
    struct loop *loop;
    struct conn_host host;
    int listener;
    struct endpoint at;
    struct end *client, *server;
    int raw; /* the client when it is not one of ours */
    const struct conn_handler *server_handler;
};

static inline void pair_open(struct pair *p)
{
    *p = (struct pair){.loop = support_loop(64, 16, 64), .server_handler = &end_handler};
    conn_host_init(&p->host, p->loop, 8);
    struct endpoint any = support_localhost();
    p->listener = loop_listen(p->loop, &any, 16, &p->at);
    p->client = calloc(1, sizeof(*p->client));
    p->server = calloc(1, sizeof(*p->server));
    ASSERT(p->client != NULL && p->server != NULL);
}

/* New connections in place of those that are closed; the ends start from nothing. Without a client
 * of ours, a raw socket is the client, which the caller closes. */
static inline void pair_accept(struct pair *p, bool with_client)
{
    struct pair_socket in = {.op.done = pair_connected}, out = {.op.done = pair_connected};
    struct endpoint peer;
    memset(p->client, 0, offsetof(struct end, window));
    memset(p->server, 0, offsetof(struct end, window));
    p->client->window_cap = p->server->window_cap = sizeof(p->client->window);
    p->client->info = p->server->info = (struct tls_info){0};
    loop_accept(p->loop, p->listener, &peer, &in.op);
    if (with_client) {
        loop_connect(p->loop, &p->at, NULL, &out.op);
        CHECK(support_run_until(p->loop, &out.count, 1));
        conn_open(&p->client->conn, &p->host, &end_handler, out.socket);
    } else {
        p->raw = support_connect(&p->at);
    }
    CHECK(support_run_until(p->loop, &in.count, 1));
    conn_open(&p->server->conn, &p->host, p->server_handler, in.socket);
}

static inline void pair_close_ends(struct pair *p, bool with_client)
{
    if (with_client) conn_close(&p->client->conn);
    conn_close(&p->server->conn);
    if (with_client) CHECK(support_run_until(p->loop, &p->client->closes, 1));
    CHECK(support_run_until(p->loop, &p->server->closes, 1));
    CHECK_EQ("kept", p->host.kept_bytes, 0);
    CHECK_EQ("outputs", p->host.outputs.count, 0);
}

static inline void pair_close(struct pair *p)
{
    loop_close(p->loop, p->listener, NULL);
    CHECK(support_run_idle(p->loop));
    conn_host_finish(&p->host);
    loop_destroy(p->loop);
    free(p->client);
    free(p->server);
}

/* Bytes that are nowhere alike. */
static inline char *tls_random_bytes(size_t len, uint64_t seed)
{
    char *bytes = malloc(MAX(len, (size_t)8) + 8);
    ASSERT(bytes != NULL);
    for (size_t i = 0; i < len; i += 8) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        memcpy(bytes + i, &seed, 8);
    }
    return bytes;
}
