/* OpenSSL allocates on its own: when any one of its allocations fails, that connection ends or goes
 * on, and the next one works. And what a peer that does not read can make us hold is bounded. */
#include "ring/conn_internal.h"
#include "tests/unit/ring/tls_support.h"

#include <openssl/crypto.h>

static long allocations_until_failure = -1; /* counts down while it is not negative */

static bool fails_now(void)
{
    return allocations_until_failure >= 0 && allocations_until_failure-- == 0;
}

static void *failing_malloc(size_t bytes, const char *file, int line)
{
    (void)file, (void)line;
    return fails_now() ? NULL : malloc(bytes);
}

static void *failing_realloc(void *memory, size_t bytes, const char *file, int line)
{
    (void)file, (void)line;
    return fails_now() ? NULL : realloc(memory, bytes);
}

static void counting_free(void *memory, const char *file, int line)
{
    (void)file, (void)line;
    free(memory);
}

/* Before anything of OpenSSL's has run. */
__attribute__((constructor(101))) static void take_over_memory(void)
{
    if (CRYPTO_set_mem_functions(failing_malloc, failing_realloc, counting_free) != 1) abort();
}

/* One connection with a few bytes each way. True when all of them arrived. */
static bool exchange(struct pair *p, struct tls_context *client, struct tls_context *server)
{
    pair_accept(p, true);
    p->client->body = p->server->expected = "MAIL FROM:<a@a.example>\r\n";
    p->server->body = p->client->expected = "220 a.example ESMTP\r\n";
    p->client->body_len = p->server->expected_len = strlen(p->client->body);
    p->server->body_len = p->client->expected_len = strlen(p->server->body);
    int err = conn_start_tls(&p->server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE);
    if (err == 0)
        err = conn_start_tls(&p->client->conn, client, "a.example", CONN_BEFORE_TLS_REFUSE);
    CHECK(err == 0 || err == -ERR_MEMORY);
    bool is_done = err != 0;
    for (int idle = 0; idle < 40 && !is_done; idle++) {
        CHECK_EQ("turn", loop_turn(p->loop, false), 0);
        is_done =
            p->client->got == p->client->expected_len && p->server->got == p->server->expected_len;
        is_done = is_done || (p->client->ends > 0 && p->server->ends > 0);
    }
    CHECK(is_done); /* a failure is told to both, by an alert or an end */
    CHECK(!p->client->is_wrong && !p->server->is_wrong);
    bool is_whole =
        p->client->got == p->client->expected_len && p->server->got == p->server->expected_len;
    allocations_until_failure = -1;
    pair_close_ends(p, true);
    return is_whole;
}

TEST(one_failed_allocation_ends_one_connection_at_most)
{
    enum { ALLOCATIONS_MAX = 4000 }; /* more than an exchange makes */
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){
        .ca_file = tls_path("a.crt"), .verifies = true, .resumes = true});
    CHECK(exchange(&p, client, server));
    unsigned failed = 0;
    bool is_whole = false;
    for (long at = 0; at <= ALLOCATIONS_MAX; at++) {
        /* By turns resumed and full: a new memory of sessions for each full one. */
        if (at % 2 == 0) {
            tls_sessions_finish(&client->sessions);
            tls_sessions_init(&client->sessions);
        }
        allocations_until_failure = at;
        is_whole = exchange(&p, client, server);
        if (!is_whole) failed++;
    }
    CHECK(failed > 50); /* the test reached them */
    CHECK(is_whole);    /* and past the last of them */
    CHECK(exchange(&p, client, server));
    tls_context_destroy(client);
    tls_context_destroy(server);
    pair_close(&p);
}

/* The peer takes nothing: its socket is full, and what we sealed stays one send. */
TEST(a_peer_that_does_not_read_makes_us_hold_one_send)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    pair_accept(&p, false);
    CHECK_EQ("tls", conn_start_tls(&p.server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK(fcntl(p.raw, F_SETFL, O_NONBLOCK) == 0);
    SSL_set_fd(ssl, p.raw);
    char *body = tls_random_bytes(64 << 20, 41);
    p.server->body = body;
    p.server->body_len = 64 << 20;
    for (int i = 0; i < 1000 && SSL_connect(ssl) != 1; i++)
        support_run_for(p.loop, 1);
    support_run_for(p.loop, 100);
    const struct conn_tls *tls = p.server->conn.tls;
    CHECK_EQ("sents", p.server->sents, 0);
    CHECK(tls->sealed_sent != NULL && tls->sealed_sent_cap <= TLS_SEALED_BYTES);
    for (int i = 0; i < 5000 && p.server->ends == 0; i++) { /* each wants an answer */
        (void)!(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1);
        if (i % 16 == 0) support_run_for(p.loop, 0);
        CHECK(tls->stream.sealed_cap <= TLS_SEALED_BYTES_MAX);
    }
    CHECK_EQ("ends", p.server->ends, 1);
    CHECK_EQ("err", p.server->end_err, -ERR_TLS);
    pair_close_ends(&p, false);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(p.raw);
    free(body);
    tls_context_destroy(server);
    pair_close(&p);
}

/* Two connections, one buffer in the pool: both get their turn, under TLS as without. */
TEST(connections_stand_in_line_for_the_pool_under_tls)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_context *client = tls_client((struct tls_client_options){0});
    p.host.outputs.count_max = 1;
    pair_accept(&p, true);
    CHECK_EQ("s", conn_start_tls(&p.server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK_EQ("c", conn_start_tls(&p.client->conn, client, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK(support_run_until(p.loop, &p.server->secured, 1));
    support_run_for(p.loop, 3);
    p.client->expected = "220 hi";
    p.server->expected = "EHLO a";
    p.client->expected_len = p.server->expected_len = 6;
    CHECK(conn_write(&p.server->conn, SLICE("220 hi")));
    CHECK_EQ("room", conn_output_room(&p.client->conn), 0);
    CHECK(!conn_write(&p.client->conn, SLICE("EHLO a")));
    conn_flush(&p.server->conn);
    CHECK(support_run_until(p.loop, &p.client->sents, 1)); /* there is room again */
    CHECK(conn_write(&p.client->conn, SLICE("EHLO a")));
    conn_flush(&p.client->conn);
    CHECK(support_run_until(p.loop, &p.server->sents, 1));
    CHECK(support_run_until(p.loop, &p.client->sents, 2));
    support_run_for(p.loop, 3);
    CHECK_EQ("got", p.client->got + p.server->got, 12);
    pair_close_ends(&p, true);
    tls_context_destroy(client);
    tls_context_destroy(server);
    pair_close(&p);
}
