/* Ours against the openssl command: s_client as a client, s_server as a server. */
#include "tests/unit/ring/tls_support.h"

#include <poll.h>

#define MIB ((size_t)1 << 20)

static void write_file(const char *name, const char *bytes, size_t len)
{
    int fd = open(tls_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, bytes + at, len - at);
        ASSERT(n > 0);
        at += (size_t)n;
    }
    close(fd);
}

static size_t read_file(const char *name, char *into, size_t cap)
{
    int fd = open(tls_path(name), O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;
    while (fd >= 0 && (n = read(fd, into + len, cap - len)) > 0)
        len += (size_t)n;
    close(fd);
    return len;
}

static int file_of(const char *name, int flags)
{
    return open(tls_path(name), flags | O_CLOEXEC, 0600);
}

static void run_until_got(struct pair *p, struct end *e)
{
    uint64_t start_ns = clock_monotonic_ns();
    while (e->got < e->expected_len && clock_monotonic_ns() - start_ns < 6 * PATIENCE_NS)
        support_run_for(p->loop, 1);
    CHECK_EQ("got", e->got, e->expected_len);
    CHECK(!e->is_wrong);
}

static bool has_ended(pid_t pid, int *status_out)
{
    int status;
    if (waitpid(pid, &status, WNOHANG) != pid) return false;
    *status_out = WIFEXITED(status) ? WEXITSTATUS(status) : 256;
    return true;
}

/* Lets the loop run until the program ends, and ends it when it does not. */
static int run_until_exit(struct pair *p, pid_t pid)
{
    int status = -1;
    uint64_t start_ns = clock_monotonic_ns();
    while (!has_ended(pid, &status)) {
        support_run_for(p->loop, 2);
        if (clock_monotonic_ns() - start_ns < 2 * PATIENCE_NS) continue;
        kill(pid, SIGKILL);
        return tls_wait(pid);
    }
    return status;
}

/* Waits in line for the client that the program is. */
struct accepting {
    struct pair_socket in;
    struct endpoint peer;
};

static void accept_begin(struct pair *p, struct accepting *a)
{
    *a = (struct accepting){.in.op.done = pair_connected};
    memset(p->server, 0, offsetof(struct end, window));
    p->server->window_cap = 65536;
    loop_accept(p->loop, p->listener, &a->peer, &a->in.op);
}

static void accept_end(struct pair *p, struct accepting *a, struct tls_context *server)
{
    if (!support_run_until(p->loop, &a->in.count, 1)) {
        printf("s_client has not connected (TLS_TEST_VERBOSE=1 shows why)\n");
        exit(1);
    }
    conn_open(&p->server->conn, &p->host, &end_handler, a->in.socket);
    CHECK_EQ("tls", conn_start_tls(&p->server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
}

static void close_server(struct pair *p)
{
    conn_close(&p->server->conn);
    CHECK(support_run_until(p->loop, &p->server->closes, 1));
}

static void port_text(const struct endpoint *at, char *into, size_t cap)
{
    snprintf(into, cap, "127.0.0.1:%u", endpoint_port(at));
}

static const char *const versions[] = {"-tls1_2", "-tls1_3"};

/* --- s_client --- */

/* `bytes` each way; then we end, and what it wrote to its file is compared. */
static void client_exchange(struct pair *p, struct tls_context *server, const char *version,
                            size_t bytes, bool takes_windows)
{
    char at[32], *up = tls_random_bytes(bytes, 21), *down = tls_random_bytes(bytes, 22);
    char *out_bytes = malloc(bytes + 1);
    port_text(&p->at, at, sizeof(at));
    write_file("in", up, bytes);
    struct accepting accepting;
    accept_begin(p, &accepting);
    int in = file_of("in", O_RDONLY), out = file_of("out", O_WRONLY | O_CREAT | O_TRUNC);
    const char *args[] = {"openssl",
                          "s_client",
                          "-quiet",
                          "-connect",
                          at,
                          version,
                          "-servername",
                          "a.example",
                          "-CAfile",
                          tls_path("a.crt"),
                          "-verify_return_error",
                          NULL};
    pid_t pid = tls_spawn(args, in, out);
    struct end *e = p->server;
    accept_end(p, &accepting, server);
    e->expected = up;
    e->body = down;
    e->expected_len = e->body_len = bytes;
    e->body_piece = 60000;
    e->takes_windows = takes_windows;
    run_until_got(p, e);
    CHECK(support_run_until(p->loop, &e->sents, 1));
    CHECK_SLICE("asked", slice_of_cstr(e->server_name), "a.example");
    conn_finish(&e->conn);
    CHECK_EQ("s_client", run_until_exit(p, pid), 0);
    CHECK(support_run_until(p->loop, &e->closes, 1));
    CHECK_EQ("came", read_file("out", out_bytes, bytes + 1), bytes);
    CHECK(memcmp(out_bytes, down, bytes) == 0);
    close(in);
    close(out);
    free(up);
    free(down);
    free(out_bytes);
}

TEST(s_client_and_our_server_exchange_every_byte)
{
    static const size_t sizes[] = {1, 16383, 16384, 16385, MIB, 50 * MIB};
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            client_exchange(&p, server, versions[v], sizes[i], i % 2 == 1);
    }
    tls_context_destroy(server);
    pair_close(&p);
}

/* Runs s_client with more arguments; true when it got through to us. It ends itself at the end of
 * its input, `text`; when that is NULL it stays until we end. */
static bool client_runs(struct pair *p, struct tls_context *server, const char *const *more,
                        const char *text, char *output, size_t output_cap)
{
    char at[32];
    port_text(&p->at, at, sizeof(at));
    const char *args[24] = {"openssl", "s_client", "-connect", at};
    for (size_t i = 0; more[i] != NULL; i++)
        args[4 + i] = more[i];
    write_file("in", text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
    int silent[2], in = file_of("in", O_RDONLY);
    int out = file_of("out", O_WRONLY | O_CREAT | O_TRUNC);
    CHECK(pipe2(silent, O_CLOEXEC) == 0);
    struct accepting accepting;
    accept_begin(p, &accepting);
    pid_t pid = tls_spawn(args, text == NULL ? silent[0] : in, out);
    accept_end(p, &accepting, server);
    uint64_t end_ns = clock_monotonic_ns() + 200 * NS_PER_MS;
    while (p->server->ends == 0 && clock_monotonic_ns() < end_ns)
        support_run_for(p->loop, 1);
    close_server(p);
    run_until_exit(p, pid);
    const int files[] = {in, out, silent[0], silent[1]};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        close(files[i]);
    memset(output, 0, output_cap);
    (void)read_file("out", output, output_cap - 1);
    return p->server->secured == 1;
}

TEST(what_s_client_may_not_do)
{
    static const struct {
        const char *what, *more[8], *input, *says, *error;
        bool is_secured;
    } cases[] = {
        {"TLS 1.1", {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, "", NULL, "", false},
        {"no protocol of ours", {"-alpn", "h2"}, "", NULL, "no application protocol", false},
        {"ours among others", {"-alpn", "h2,smtp"}, "Q\n", "ALPN protocol: smtp", NULL, true},
        {"early data off", {"-tls1_3"}, "Q\n", "Early data was not sent", NULL, true},
        {"no compression", {"-tls1_2"}, "Q\n", "Compression: NONE", NULL, true},
        {"no renegotiation", {"-tls1_2"}, "Q\n", "Secure Renegotiation IS supported", NULL, true},
    };
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char output[20000];
        bool secured =
            client_runs(&p, server, cases[i].more, cases[i].input, output, sizeof(output));
        CHECK_EQ(cases[i].what, secured, cases[i].is_secured);
        if (cases[i].says != NULL && strstr(output, cases[i].says) == NULL)
            CHECK_SLICE(cases[i].what, slice_of_cstr(output), cases[i].says);
        if (!secured) CHECK_EQ(cases[i].what, p.server->end_err, -ERR_TLS);
        if (cases[i].error != NULL) CHECK(strstr(p.server->error, cases[i].error) != NULL);
    }
    tls_context_destroy(server);
    pair_close(&p);
}

/* "R" makes s_client ask for a new handshake in the old one: it is told no, and what it says
 * before is all that we take. */
TEST(renegotiation_is_refused)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    char at[32];
    port_text(&p.at, at, sizeof(at));
    const char *args[] = {"openssl", "s_client", "-connect", at, "-tls1_2", NULL};
    int text[2];
    CHECK(pipe2(text, O_CLOEXEC) == 0);
    struct accepting accepting;
    accept_begin(&p, &accepting);
    pid_t pid = tls_spawn(args, text[0], -1);
    close(text[0]);
    accept_end(&p, &accepting, server);
    p.server->expected = "NOOP\n";
    p.server->expected_len = 5;
    CHECK(support_run_until(p.loop, &p.server->secured, 1));
    support_write(text[1], "NOOP\n", 5);
    run_until_got(&p, p.server);
    support_write(text[1], "R\n", 2);
    uint64_t start_ns = clock_monotonic_ns();
    int status = run_until_exit(&p, pid); /* it gives up by itself */
    CHECK(clock_monotonic_ns() - start_ns < PATIENCE_NS);
    CHECK(status != 256);
    CHECK_EQ("one handshake", p.server->secured, 1);
    CHECK(!p.server->is_wrong);
    close(text[1]);
    close_server(&p);
    tls_context_destroy(server);
    pair_close(&p);
}

TEST(s_client_resumes_with_our_ticket)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        char output[20000];
        const char *out[] = {versions[v], "-sess_out", tls_path("session"), NULL};
        const char *in[] = {versions[v], "-sess_in", tls_path("session"), NULL};
        CHECK(client_runs(&p, server, out, NULL, output, sizeof(output)));
        CHECK(!p.server->info.is_resumed);
        CHECK(client_runs(&p, server, in, NULL, output, sizeof(output)));
        CHECK(p.server->info.is_resumed);
        CHECK(strstr(output, "Reused, ") != NULL);
        unlink(tls_path("session"));
    }
    tls_context_destroy(server);
    pair_close(&p);
}

/* --- s_server --- */

/* Starts s_server on a port of its choice, which it prints; `out` is the rest of its output. */
static pid_t server_start(const char *version, int in, int *out_out, struct endpoint *at_out)
{
    int out[2];
    CHECK(pipe2(out, O_CLOEXEC) == 0);
    const char *args[] = {"openssl", "s_server",        "-accept", "127.0.0.1:0",     version,
                          "-cert",   tls_path("a.crt"), "-key",    tls_path("a.key"), NULL};
    pid_t pid = tls_spawn(args, in, out[1]);
    close(out[1]);
    char line[8192] = "";
    size_t len = 0;
    const char *accept = NULL;
    while (accept == NULL || strchr(accept, '\n') == NULL) {
        ssize_t n = read(out[0], line + len, sizeof(line) - 1 - len);
        if (n <= 0) break;
        len += (size_t)n;
        line[len] = '\0';
        accept = strstr(line, "ACCEPT ");
    }
    CHECK(accept != NULL);
    if (accept == NULL) exit(1);
    struct slice address = slice_of(accept + 7, strcspn(accept + 7, "\n"));
    CHECK(endpoint_parse(address, at_out));
    *out_out = out[0];
    return pid;
}

static void connect_to(struct pair *p, const struct endpoint *at, struct tls_context *client)
{
    memset(p->client, 0, offsetof(struct end, window));
    p->client->window_cap = 65536;
    struct pair_socket out = {.op.done = pair_connected};
    loop_connect(p->loop, at, NULL, &out.op);
    CHECK(support_run_until(p->loop, &out.count, 1));
    CHECK(out.socket >= 0);
    conn_open(&p->client->conn, &p->host, &end_handler, out.socket);
    CHECK_EQ("tls", conn_start_tls(&p->client->conn, client, "a.example", CONN_BEFORE_TLS_REFUSE),
             0);
}

/* Its input has commands, Q for one: no letter of them. */
static void make_harmless(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = "adefghijklmnotuv"[(unsigned char)bytes[i] % 16];
}

/* It says what its input is; what we say it prints, among words of its own. */
TEST(our_client_and_s_server_exchange_bytes)
{
    enum { BYTES = 1 << 20, PRINTED = 8192 };
    struct pair p;
    pair_open(&p);
    tls_make_files();
    char *down = tls_random_bytes(BYTES, 31), *up = tls_random_bytes(PRINTED, 32);
    make_harmless(up, PRINTED);
    make_harmless(down, BYTES);
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct tls_context *client = tls_client((struct tls_client_options){
            .verifies = true, .ca_file = tls_path("a.crt"), .resumes = true});
        int in[2], out;
        struct endpoint at;
        CHECK(pipe2(in, O_CLOEXEC) == 0);
        pid_t pid = server_start(versions[v], in[0], &out, &at);
        close(in[0]);
        for (int round = 0; round < 2; round++) {
            connect_to(&p, &at, client);
            struct end *e = p.client;
            e->expected = down;
            e->expected_len = BYTES;
            e->takes_windows = round == 1;
            e->body = up;
            e->body_len = PRINTED;
            e->body_piece = 1000;
            CHECK(support_run_until(p.loop, &e->secured, 1));
            CHECK_EQ("resumed", e->info.is_resumed, round == 1);
            CHECK(e->info.is_peer_verified);
            for (size_t sent = 0; sent < BYTES; sent += 32768) {
                support_write(in[1], down + sent, 32768);
                support_run_for(p.loop, 0);
            }
            run_until_got(&p, e);
            CHECK(support_run_until(p.loop, &e->sents, 1));
            conn_finish(&e->conn);
            CHECK(support_run_until(p.loop, &e->closes, 1));
        }
        kill(pid, SIGTERM);
        char *printed = calloc(1, 65536);
        size_t len = 0;
        ssize_t n;
        while (len < 65535 && (n = read(out, printed + len, 65535 - len)) > 0)
            len += (size_t)n;
        tls_wait(pid);
        char *first = memmem(printed, len, up, PRINTED);
        CHECK(first != NULL);
        CHECK(first != NULL &&
              memmem(first + PRINTED, len - (size_t)(first + PRINTED - printed), up, PRINTED));
        close(out);
        close(in[1]);
        free(printed);
        tls_context_destroy(client);
    }
    free(up);
    free(down);
    pair_close(&p);
}
