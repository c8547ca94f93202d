/* Client and server of ours against each other on one loop, and a relay or a raw socket where a
 * peer is to behave badly. */
#include "tests/unit/ring/tls_support.h"

#define MIB ((size_t)1 << 20)

static void check_both_secured(struct pair *p)
{
    CHECK(support_run_until(p->loop, &p->client->secured, 1));
    CHECK(support_run_until(p->loop, &p->server->secured, 1));
}

static void start_both(struct pair *p, struct tls_context *client, struct tls_context *server,
                       const char *name)
{
    CHECK_EQ("server", conn_start_tls(&p->server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK_EQ("client", conn_start_tls(&p->client->conn, client, name, CONN_BEFORE_TLS_REFUSE), 0);
}

/* --- bytes --- */

static void run_until_got(struct pair *p, struct end *e)
{
    uint64_t start_ns = clock_monotonic_ns();
    while (e->got < e->expected_len && clock_monotonic_ns() - start_ns < 12 * PATIENCE_NS)
        support_run_for(p->loop, 0);
    CHECK_EQ("got", e->got, e->expected_len);
    CHECK(!e->is_wrong);
}

struct transfer {
    size_t bytes, piece, window; /* window 0: on_input() */
};

/* The same number of bytes in both directions at once, then an orderly end. */
static void transfer(struct pair *p, struct tls_context *client, struct tls_context *server,
                     const struct transfer *t)
{
    char *up = tls_random_bytes(t->bytes, 11), *down = tls_random_bytes(t->bytes, 12);
    pair_accept(p, true);
    struct end *ends[2] = {p->client, p->server};
    for (int i = 0; i < 2; i++) {
        ends[i]->body = i == 0 ? up : down;
        ends[i]->expected = i == 0 ? down : up;
        ends[i]->body_len = ends[i]->expected_len = t->bytes;
        ends[i]->body_piece = t->piece;
        ends[i]->takes_windows = t->window > 0;
        if (t->window > 0) ends[i]->window_cap = t->window;
        ends[i]->finishes_at_end = true;
    }
    start_both(p, client, server, NULL);
    check_both_secured(p);
    run_until_got(p, p->client);
    run_until_got(p, p->server);
    if (t->bytes > 0) CHECK(support_run_until(p->loop, &p->client->sents, 1));
    if (t->bytes > 0) CHECK(support_run_until(p->loop, &p->server->sents, 1));
    conn_finish(&p->client->conn);
    CHECK(support_run_until(p->loop, &p->server->ends, 1));
    CHECK_EQ("end", p->server->end_err, 0);
    CHECK(!p->server->is_truncated);
    CHECK(support_run_until(p->loop, &p->server->closes, 1));
    CHECK(support_run_until(p->loop, &p->client->closes, 1));
    CHECK_EQ("sents", p->client->sents, t->bytes > 0);
    CHECK_EQ("only on_closed", p->client->ends, 0);
    free(up);
    free(down);
}

TEST(every_byte_arrives_in_both_directions)
{
    static const struct transfer transfers[] = {
        {0, 1, 0},
        {1, 1, 0},
        {1, 1, 1},
        {16383, 16383, 0},
        {16384, 16384, 0},
        {16385, 16385, 0},
        {16383, 100, 4096},
        {16384, 20000, 1},
        {16385, 20000, 7000},
        {5000, 7, 70000},
        {MIB, 1 << 20, 0},
        {MIB, 1 << 20, 65536},
        {MIB, 2000, 16384},
        {3 * MIB, 4096, 1000},
    };
    struct pair p;
    pair_open(&p);
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        struct tls_context *server = tls_server((struct tls_server_options){0});
        struct tls_context *client =
            tls_client((struct tls_client_options){.version_max = (enum tls_version)version});
        for (size_t i = 0; i < ARRAY_LEN(transfers); i++) {
            transfer(&p, client, server, &transfers[i]);
            CHECK_SLICE("version", slice_of_cstr(p.client->info.version),
                        version == TLS_VERSION_1_2 ? "TLSv1.2" : "TLSv1.3");
        }
        tls_context_destroy(client);
        tls_context_destroy(server);
    }
    pair_close(&p);
}

TEST(fifty_mebibytes_arrive_in_both_directions)
{
    static const struct transfer large = {50 * MIB, 65521, 65536};
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){0});
    transfer(&p, client, server, &large);
    tls_context_destroy(client);
    tls_context_destroy(server);
    pair_close(&p);
}

/* --- what was agreed on --- */

TEST(sessions_are_resumed_when_the_client_wants_it)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (int how = 0; how < 4; how++) {
        bool resumes = how % 2 == 1, is_13 = how >= 2;
        struct tls_context *client = tls_client((struct tls_client_options){
            .resumes = resumes, .version_max = is_13 ? TLS_VERSION_1_3 : TLS_VERSION_1_2});
        for (int round = 0; round < 3; round++) {
            pair_accept(&p, true);
            p.server->body = p.client->expected = "x"; /* the ticket comes before it */
            p.server->body_len = p.client->expected_len = 1;
            start_both(&p, client, server, round == 2 ? "other.example" : "a.example");
            check_both_secured(&p);
            run_until_got(&p, p.client);
            bool expected = resumes && round == 1; /* each name has its own session */
            CHECK_EQ("client", p.client->info.is_resumed, expected);
            CHECK_EQ("server", p.server->info.is_resumed, expected);
            pair_close_ends(&p, true); /* without any end of TLS: the session stays good */
        }
        tls_context_destroy(client);
    }
    tls_context_destroy(server);
    pair_close(&p);
}

TEST(a_server_is_verified_by_its_roots_and_its_name)
{
    tls_make_files();
    static const struct {
        const char *root, *name;
        bool passes;
        const char *says;
    } cases[] = {
        {"a.crt", "a.example", true, ""},
        {"a.crt", "127.0.0.1", true, ""},
        {"a.crt", NULL, true, ""},
        {"b.crt", "a.example", false, "self-signed certificate"},
        {"a.crt", "b.example", false, "ostname mismatch"},
        {"a.crt", "127.0.0.2", false, "IP address mismatch"},
    };
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        size_t at = i / 2;
        bool verifies = i % 2 == 0, passes = cases[at].passes || !verifies;
        struct tls_context *client = tls_client(
            (struct tls_client_options){.verifies = verifies, .ca_file = tls_path(cases[at].root)});
        pair_accept(&p, true);
        start_both(&p, client, server, cases[at].name);
        CHECK(support_run_until(p.loop, passes ? &p.client->secured : &p.client->ends, 1));
        if (passes) {
            CHECK_EQ("verified", p.client->info.is_peer_verified, cases[at].passes);
            CHECK(strcasestr(p.client->info.verify_text,
                             cases[at].passes ? "ok" : cases[at].says) != NULL);
        } else {
            CHECK_EQ("secured", p.client->secured, 0);
            CHECK_EQ("err", p.client->end_err, -ERR_TLS);
            CHECK(strstr(p.client->error, cases[at].says) != NULL);
            CHECK(support_run_until(p.loop, &p.server->ends, 1)); /* the alert got there */
            CHECK(strstr(p.server->error, "alert") != NULL || p.server->secured == 1);
        }
        pair_close_ends(&p, true);
        tls_context_destroy(client);
    }
    tls_context_destroy(server);
    pair_close(&p);
}

TEST(a_name_that_cannot_be_one_is_refused_and_nothing_changes)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){.resumes = true});
    pair_accept(&p, true);
    char long_name[300];
    memset(long_name, 'a', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    struct conn *conn = &p.client->conn;
    CHECK_EQ("long", conn_start_tls(conn, client, long_name, CONN_BEFORE_TLS_REFUSE), -ERR_INVALID);
    CHECK_EQ("empty", conn_start_tls(conn, client, "", CONN_BEFORE_TLS_REFUSE), -ERR_INVALID);
    CHECK(!conn_is_secured(conn) && conn_tls_error(conn) == NULL);
    start_both(&p, client, server, "a.example");
    check_both_secured(&p);
    pair_close_ends(&p, true);
    conn_close(conn);
    CHECK_EQ("closed", conn_start_tls(conn, client, "a.example", CONN_BEFORE_TLS_REFUSE), 0);
    tls_context_destroy(client);
    tls_context_destroy(server);
    pair_close(&p);
}

/* Which certificate a client gets, told by the one root that it trusts. */
static bool is_given(struct pair *p, struct tls_context *server, const char *name, const char *root,
                     const char *ciphers)
{
    struct tls_context *client = tls_client((struct tls_client_options){
        .ca_file = tls_path(root),
        .ciphers = ciphers,
        .version_max = ciphers == NULL ? TLS_VERSION_ANY : TLS_VERSION_1_2});
    pair_accept(p, true);
    start_both(p, client, server, name);
    check_both_secured(p);
    /* Vouched for, whatever its name. */
    bool is_it = p->client->info.is_peer_verified ||
                 strcasestr(p->client->info.verify_text, "mismatch") != NULL;
    if (name != NULL) CHECK_SLICE("asked", slice_of_cstr(p->server->server_name), name);
    pair_close_ends(p, true);
    tls_context_destroy(client);
    return is_it;
}

TEST(a_client_gets_the_certificate_for_the_name_it_asks_for)
{
    tls_make_files();
    const struct tls_certificate certificates[] = {
        {tls_path("a.crt"), tls_path("a.key")},
        {tls_path("rsa.crt"), tls_path("rsa.key")},
        {tls_path("b.crt"), tls_path("b.key")},
        {tls_path("wild.crt"), tls_path("wild.key")},
    };
    const struct tls_certificate cn = {tls_path("cn.crt"), tls_path("cn.key")};
    struct tls_certificate all[5];
    memcpy(all, certificates, sizeof(certificates));
    all[4] = cn;
    struct tls_context *server =
        tls_server((struct tls_server_options){.certificates = all, .certificate_count = 5});
    static const struct {
        const char *name, *root, *ciphers;
    } cases[] = {
        {"a.example", "a.crt", NULL},
        {"a.example", "rsa.crt", "ECDHE-RSA-AES128-GCM-SHA256"},
        {"A.EXAMPLE", "a.crt", "ECDHE-ECDSA-AES128-GCM-SHA256"},
        {"b.example", "b.crt", NULL},
        {"C.example", "b.crt", NULL},
        {"ignored.example", "a.crt", NULL}, /* a common name beside DNS names */
        {"x.w.example", "wild.crt", NULL},
        {"x.y.w.example", "a.crt", NULL}, /* one label only */
        {"w.example", "a.crt", NULL},
        {"cn.example", "cn.crt", NULL},
        {"unknown.example", "a.crt", NULL},
        {NULL, "a.crt", NULL},
        {NULL, "rsa.crt", "ECDHE-RSA-AES128-GCM-SHA256"},
    };
    struct pair p;
    pair_open(&p);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_it = is_given(&p, server, cases[i].name, cases[i].root, cases[i].ciphers);
        CHECK_EQ(cases[i].name == NULL ? "none" : cases[i].name, is_it, true);
    }
    CHECK(!is_given(&p, server, "b.example", "a.crt", NULL)); /* the test can tell them apart */
    tls_context_destroy(server);
    pair_close(&p);
}

/* --- files that are wrong --- */

static void check_server_refused(const char *crt, const char *key, int want, const char *says)
{
    struct tls_certificate certificate = {crt, key};
    struct tls_server_options options = {.certificates = &certificate, .certificate_count = 1};
    struct tls_context *context;
    char why[512] = "";
    CHECK_EQ(says, tls_server_context_create(&options, &context, why, sizeof(why)), want);
    CHECK(context == NULL);
    if (strstr(why, says) == NULL) CHECK_SLICE("why", slice_of_cstr(why), says);
}

TEST(files_that_are_wrong_are_named)
{
    tls_make_files();
    int fd = open(tls_path("bad.crt"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    support_write(fd, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 59);
    close(fd);
    const char *a = tls_path("a.crt"), *key = tls_path("a.key"), *none = tls_path("none");
    check_server_refused(none, key, -ERR_NOT_FOUND, "none: cannot be opened: No such file");
    check_server_refused(a, none, -ERR_NOT_FOUND, "none: cannot be opened: No such file");
    check_server_refused(key, key, -ERR_SYNTAX, "a.key: holds no certificate");
    check_server_refused(a, a, -ERR_SYNTAX, "a.crt: holds no private key");
    check_server_refused(tls_path("bad.crt"), key, -ERR_SYNTAX, "bad.crt: holds no certificate");
    check_server_refused(a, tls_path("b.key"), -ERR_INVALID, "b.key: is not the key of the");

    struct tls_server_options nothing = {0};
    struct tls_client_options root = {.ca_file = none}, ciphers = {.ciphers = "NO-SUCH-CIPHER"};
    struct tls_context *context;
    char why[512] = "";
    CHECK(tls_server_context_create(&nothing, &context, why, sizeof(why)) < 0);
    CHECK(strstr(why, "0 certificates") != NULL);
    CHECK(tls_client_context_create(&root, &context, why, sizeof(why)) < 0 && context == NULL);
    CHECK(strstr(why, "none") != NULL);
    CHECK(tls_client_context_create(&ciphers, &context, why, sizeof(why)) < 0);
    CHECK(strstr(why, "cipher") != NULL);
    tls_context_destroy(NULL);
}

/* --- bytes before TLS --- */

/* A raw client sends what stands before the handshake, and a whole ClientHello of ours behind it.
 */
static size_t client_hello(struct pair *p, char *into, size_t cap)
{
    struct tls_context *client = tls_client((struct tls_client_options){0});
    struct endpoint any = support_localhost(), at;
    int listener = loop_listen(p->loop, &any, 1, &at);
    struct pair_socket out = {.op.done = pair_connected};
    loop_connect(p->loop, &at, NULL, &out.op);
    CHECK(support_run_until(p->loop, &out.count, 1));
    conn_open(&p->client->conn, &p->host, &end_handler, out.socket);
    CHECK_EQ("tls", conn_start_tls(&p->client->conn, client, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    support_run_for(p->loop, 2);
    int fd = accept(listener, NULL, NULL);
    ssize_t len = recv(fd, into, cap, 0);
    CHECK(len > 100);
    close(fd);
    CHECK(support_run_until(p->loop, &p->client->ends, 1));
    CHECK_EQ("end", p->client->end_err, -ERR_TLS); /* an end in the handshake is a failure */
    CHECK(strstr(p->client->error, "in the handshake") != NULL);
    conn_close(&p->client->conn);
    CHECK(support_run_until(p->loop, &p->client->closes, 1));
    loop_close(p->loop, listener, NULL);
    tls_context_destroy(client);
    return (size_t)len;
}

static struct tls_context *before_context;
static enum conn_before_tls before_rule;
static unsigned before_inputs;

/* A server that begins TLS inside on_input(), after the first line, as STARTTLS does. */
static size_t starts_tls(struct conn *conn, struct slice input)
{
    before_inputs++;
    if (conn_is_secured(conn)) return end_on_input(conn, input);
    const char *end = memchr(input.data, '\n', input.len);
    if (end == NULL) return 0;
    CHECK(conn_write(conn, SLICE("22")));
    conn_flush(conn);
    CHECK(conn_write(conn, SLICE("0 go\r\n")));
    CHECK_EQ("tls", conn_start_tls(conn, before_context, NULL, before_rule), 0);
    CHECK(!conn_write(conn, SLICE("not between"))); /* what waits in the clear is left alone */
    return (size_t)(end + 1 - input.data);
}

TEST(bytes_before_tls_are_refused_discarded_or_the_first_of_it)
{
    struct pair p;
    pair_open(&p);
    before_context = tls_server((struct tls_server_options){0});
    struct conn_handler handler = end_handler;
    handler.on_input = starts_tls;
    p.server_handler = &handler;
    char bytes[2048] = "STARTTLS\r\n", memory[8192];
    size_t len = 10 + client_hello(&p, bytes + 10, sizeof(bytes) - 10);
    for (int how = 0; how < 6; how++) {
        before_rule = (enum conn_before_tls)(how / 2);
        size_t first = how % 2 == 0 ? len : 5; /* in one part, or the line itself in two */
        struct buf got = {memory, 0, sizeof(memory), false};
        before_inputs = 0;
        pair_accept(&p, false);
        support_write(p.raw, bytes, first);
        support_run_for(p.loop, 2);
        if (first < len) support_write(p.raw, bytes + first, len - first);
        support_read(p.loop, p.raw, &got, 40);
        bool is_tls = before_rule == CONN_BEFORE_TLS_IS_TLS;
        bool is_refused = before_rule == CONN_BEFORE_TLS_REFUSE;
        CHECK(is_refused || (got.len >= 8 && memcmp(got.data, "220 go\r\n", 8) == 0));
        CHECK_EQ("a ServerHello came", got.len > 8 && got.data[8] == 22, is_tls);
        CHECK_EQ("ends", p.server->ends, is_refused);
        if (p.server->ends == 1) CHECK(strstr(p.server->error, "before the handshake") != NULL);
        CHECK_EQ("inputs", before_inputs, first == len ? 1 : 2);
        pair_close_ends(&p, false);
        close(p.raw);
    }
    tls_context_destroy(before_context);
    pair_close(&p);
}

/* The client's half of STARTTLS: the answer, and the handshake right behind it. */
TEST(tls_may_begin_in_the_middle_of_a_connection)
{
    struct pair p;
    pair_open(&p);
    before_context = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){0});
    struct conn_handler handler = end_handler;
    handler.on_input = starts_tls;
    p.server_handler = &handler;
    for (int rule = CONN_BEFORE_TLS_REFUSE; rule <= CONN_BEFORE_TLS_IS_TLS; rule++) {
        before_rule = (enum conn_before_tls)rule;
        pair_accept(&p, true);
        p.client->expected = "220 go\r\nhello";
        p.client->expected_len = 8;
        p.server->expected = "EHLO a\r\n";
        p.server->expected_len = 8;
        CHECK(conn_write(&p.client->conn, SLICE("STARTTLS\r\n")));
        conn_flush(&p.client->conn);
        run_until_got(&p, p.client);
        CHECK(support_run_until(p.loop, &p.server->sents, 1)); /* of the 220 */
        struct conn *conn = &p.client->conn;
        CHECK_EQ("tls", conn_start_tls(conn, client, NULL, CONN_BEFORE_TLS_REFUSE), 0);
        CHECK(conn_write(conn, SLICE("EHLO a\r\n"))); /* waits for the handshake */
        conn_flush(conn);
        CHECK(!conn_is_flushed(conn));
        run_until_got(&p, p.server);
        CHECK(support_run_until(p.loop, &p.client->sents, 2));
        CHECK(conn_is_flushed(conn));
        p.client->expected_len = 13;
        CHECK(conn_write(&p.server->conn, SLICE("hello")));
        conn_flush(&p.server->conn);
        run_until_got(&p, p.client);
        pair_close_ends(&p, true);
    }
    tls_context_destroy(client);
    tls_context_destroy(before_context);
    pair_close(&p);
}

/* --- endings --- */

TEST(finish_before_the_end_of_the_handshake_sends_nothing_that_waits)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    pair_accept(&p, false);
    struct conn *conn = &p.server->conn;
    CHECK_EQ("tls", conn_start_tls(conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK(conn_write(conn, SLICE("220 secret\r\n")));
    conn_flush(conn);
    conn_finish(conn);
    char memory[64];
    struct buf got = {memory, 0, sizeof(memory), false};
    CHECK(support_read(p.loop, p.raw, &got, 500));
    CHECK_EQ("got", got.len, 0);
    close(p.raw);
    CHECK(support_run_until(p.loop, &p.server->closes, 1));
    tls_context_destroy(server);
    pair_close(&p);
}

TEST(a_last_reply_and_the_end_of_tls_go_together)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){0});
    for (int how = 0; how < 2; how++) { /* with the whole output of the pool, or with a short one */
        static char last[CONN_OUTPUT_BYTES];
        memset(last, 'l', sizeof(last));
        pair_accept(&p, true);
        start_both(&p, client, server, NULL);
        check_both_secured(&p);
        p.client->expected = last;
        p.client->expected_len = how == 0 ? sizeof(last) : 5;
        CHECK(conn_write(&p.server->conn, slice_of(last, p.client->expected_len)));
        conn_finish(&p.server->conn);
        run_until_got(&p, p.client);
        CHECK(support_run_until(p.loop, &p.client->ends, 1));
        CHECK(!p.client->is_truncated && p.client->end_err == 0);
        pair_close_ends(&p, true);
    }
    tls_context_destroy(client);
    tls_context_destroy(server);
    pair_close(&p);
}

/* Contexts may be replaced while their connections go on. */
TEST(a_context_lives_as_long_as_its_connections)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){.resumes = true});
    pair_accept(&p, true);
    p.client->expected = "hello";
    p.client->expected_len = 5;
    start_both(&p, client, server, "a.example");
    tls_context_destroy(client);
    tls_context_destroy(server);
    check_both_secured(&p);
    CHECK(conn_write(&p.server->conn, SLICE("hello")));
    conn_flush(&p.server->conn);
    run_until_got(&p, p.client);
    pair_close_ends(&p, true);
    pair_close(&p);
}

/* Takes part of what it is shown and asks again, or opens a window in the middle of a record and
 * puts back what it did not want: the keeping of input is the same as without TLS. */
static size_t takes_lines(struct conn *conn, struct slice input)
{
    struct end *e = CONTAINER_OF(conn, struct end, conn);
    if (input.data[0] == '#') {
        e->window_at = 0;
        conn_window_open(conn, e->window, 7);
        return 1;
    }
    const char *end = memchr(input.data, '\n', input.len);
    if (end == NULL) return 0;
    size_t len = (size_t)(end + 1 - input.data);
    end_check(e, input.data, len);
    conn_read_on(conn);
    return len;
}

static void takes_four(struct conn *conn, size_t bytes)
{
    struct end *e = CONTAINER_OF(conn, struct end, conn);
    e->window_at += bytes;
    if (e->window_at < 4) return;
    end_check(e, e->window, 4);
    size_t rest = e->window_at - 4;
    conn_window_close(conn);
    conn_unread(conn, slice_of(e->window + 4, rest));
}

TEST(lines_and_windows_mix_at_every_cut)
{
    static const char text[] = "EHLO a\n#bodyRSET\n#dataNOOP\n#lastQUIT\n";
    static const char plain[] = "EHLO a\nbodyRSET\ndataNOOP\nlastQUIT\n";
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){.resumes = true});
    struct conn_handler handler = end_handler;
    handler.on_input = takes_lines;
    handler.on_window = takes_four;
    p.server_handler = &handler;
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        pair_accept(&p, true);
        start_both(&p, client, server, NULL);
        check_both_secured(&p);
        p.server->expected = plain;
        p.server->expected_len = strlen(plain);
        CHECK(conn_write(&p.client->conn, slice_of(text, cut)));
        conn_flush(&p.client->conn);
        support_run_for(p.loop, 1);
        CHECK(conn_write(&p.client->conn, slice_of(text + cut, strlen(text) - cut)));
        conn_flush(&p.client->conn);
        run_until_got(&p, p.server);
        pair_close_ends(&p, true);
    }
    tls_context_destroy(client);
    tls_context_destroy(server);
    pair_close(&p);
}
