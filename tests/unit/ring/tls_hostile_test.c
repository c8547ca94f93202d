/* What passes between two ends of ours is cut, changed or diced, or comes from no TLS at all. */
#include "tests/unit/ring/tls_support.h"

#include <netinet/tcp.h>
#include <openssl/ssl.h>

#define RELAY_IDLE_TURNS 20 /* nothing moves any more */

struct relay {
    int to_client, to_server; /* sockets: we are the client's server, and the server's client */
    size_t chunk;             /* bytes at once */
    int direction;            /* of what follows: 0 is up, to the server */
    size_t cut_at, change_at;
    bool cuts_with_reset;
    size_t passed[2];
};

static void shut(int *fd, bool with_reset)
{
    if (*fd < 0) return;
    struct linger now = {1, 0};
    if (with_reset) setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(*fd);
    *fd = -1;
}

/* True when something moved. */
static bool relay_move(struct relay *r, int direction)
{
    int from = direction == 0 ? r->to_client : r->to_server;
    int to = direction == 0 ? r->to_server : r->to_client;
    char bytes[4096];
    if (from < 0 || to < 0) return false;
    ssize_t len = recv(from, bytes, MIN(r->chunk, sizeof(bytes)), MSG_DONTWAIT);
    if (len <= 0) return false;
    size_t before = r->passed[direction], after = before + (size_t)len;
    r->passed[direction] = after;
    if (direction == r->direction && r->change_at >= before && r->change_at < after)
        bytes[r->change_at - before] ^= 0x11;
    bool is_cut = direction == r->direction && after > r->cut_at;
    size_t wanted = is_cut ? r->cut_at - before : (size_t)len;
    if (wanted > 0) (void)!send(to, bytes, wanted, MSG_NOSIGNAL);
    if (is_cut) {
        shut(&r->to_client, r->cuts_with_reset);
        shut(&r->to_server, r->cuts_with_reset);
    }
    return true;
}

static bool is_over(const struct pair *p)
{
    bool is_done =
        p->client->got == p->client->expected_len && p->server->got == p->server->expected_len;
    return is_done || (p->client->ends + p->client->closes > 0 && p->server->ends > 0);
}

/* Until all has arrived, both have failed, or nothing moves. */
static void relay_run(struct pair *p, struct relay *r)
{
    for (unsigned idle = 0; idle < RELAY_IDLE_TURNS && !is_over(p); idle++) {
        CHECK_EQ("turn", loop_turn(p->loop, false), 0);
        bool up = relay_move(r, 0), down = relay_move(r, 1);
        if (up || down) idle = 0;
    }
    shut(&r->to_client, false);
    shut(&r->to_server, false);
    unsigned *ends[2] = {&p->client->ends, &p->server->ends};
    for (int i = 0; i < 2; i++)
        CHECK(support_run_until(p->loop, ends[i], 1)); /* both hear of it, whatever it was */
}

/* A handshake and a few bytes in both directions through `r`. */
static void run_through(struct pair *p, struct tls_context *client, struct tls_context *server,
                        struct relay *r)
{
    struct endpoint any = support_localhost(), at;
    int listener = loop_listen(p->loop, &any, 1, &at);
    pair_accept(p, false);
    r->to_server = p->raw;
    struct pair_socket out = {.op.done = pair_connected};
    loop_connect(p->loop, &at, NULL, &out.op);
    CHECK(support_run_until(p->loop, &out.count, 1));
    r->to_client = accept(listener, NULL, NULL);
    int one = 1;
    CHECK(setsockopt(r->to_client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    CHECK(setsockopt(r->to_server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    conn_open(&p->client->conn, &p->host, &end_handler, out.socket);
    p->client->body = p->server->expected = "MAIL FROM:<secret@a.example>\r\n";
    p->server->body = p->client->expected = "220 a.example ESMTP, at your service\r\n";
    p->client->body_len = p->server->expected_len = strlen(p->client->body);
    p->server->body_len = p->client->expected_len = strlen(p->server->body);
    p->client->body_piece = p->server->body_piece = 100;
    CHECK_EQ("server", conn_start_tls(&p->server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK_EQ("client", conn_start_tls(&p->client->conn, client, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    relay_run(p, r);
    CHECK(!p->client->is_wrong && !p->server->is_wrong); /* nothing that was not sent */
    pair_close_ends(p, true);
    loop_close(p->loop, listener, NULL);
}

static const struct relay straight = {
    .chunk = 4096, .cut_at = SIZE_MAX, .change_at = SIZE_MAX, .to_client = -1, .to_server = -1};

TEST(any_dicing_of_the_stream_is_the_same_stream)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        struct tls_context *client =
            tls_client((struct tls_client_options){.version_max = (enum tls_version)version});
        static const size_t chunks[] = {1, 2, 3, 5, 6, 7, 13, 29, 100, 517};
        for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
            struct relay relay = straight;
            relay.chunk = chunks[i];
            run_through(&p, client, server, &relay);
            CHECK_EQ("client", p.client->got, p.client->expected_len);
            CHECK_EQ("server", p.server->got, p.server->expected_len);
            CHECK(p.client->is_truncated && p.client->end_err == 0); /* the relay just went */
            CHECK(p.server->is_truncated && p.server->end_err == 0);
        }
        tls_context_destroy(client);
    }
    tls_context_destroy(server);
    pair_close(&p);
}

/* Runs once for each byte of both directions. */
static void at_every_byte(void (*spoil)(struct relay *relay, size_t at), size_t stride,
                          void (*check)(const struct pair *p, const struct relay *relay))
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        struct tls_context *client =
            tls_client((struct tls_client_options){.version_max = (enum tls_version)version});
        struct relay whole = straight;
        run_through(&p, client, server, &whole);
        CHECK(whole.passed[0] > 300 && whole.passed[1] > 500);
        for (int direction = 0; direction < 2; direction++) {
            for (size_t at = 0; at < whole.passed[direction]; at += stride) {
                struct relay relay = straight;
                relay.direction = direction;
                spoil(&relay, at);
                run_through(&p, client, server, &relay);
                check(&p, &relay);
            }
        }
        tls_context_destroy(client);
    }
    tls_context_destroy(server);
    pair_close(&p);
}

static void cut(struct relay *relay, size_t at)
{
    relay->cut_at = at;
}

static void cut_by_reset(struct relay *relay, size_t at)
{
    relay->cut_at = at;
    relay->cuts_with_reset = true;
}

static void check_one_end(const struct end *e)
{
    CHECK_EQ("ends", e->ends, 1);
    bool is_whole = e->end_err == 0;
    if (is_whole) CHECK(e->secured == 1 && e->is_truncated);
    if (e->secured == 0) CHECK(e->end_err == -ERR_TLS || e->end_err == -ECONNRESET);
    if (e->end_err == -ERR_TLS) CHECK(strlen(e->error) > 10);
}

static void check_cut(const struct pair *p, const struct relay *relay)
{
    const struct end *victim = relay->direction == 0 ? p->server : p->client;
    CHECK(victim->got <= victim->expected_len);
    check_one_end(p->client);
    check_one_end(p->server);
}

TEST(a_cut_at_every_byte_is_told)
{
    at_every_byte(cut, 1, check_cut);
}

TEST(a_reset_at_every_byte_is_told)
{
    at_every_byte(cut_by_reset, 7, check_cut);
}

static void change(struct relay *relay, size_t at)
{
    relay->change_at = at;
}

/* run_through() has checked that nothing false was taken; and what was changed did not arrive. */
static void check_changed(const struct pair *p, const struct relay *relay)
{
    const struct end *victim = relay->direction == 0 ? p->server : p->client;
    CHECK_EQ("ends", victim->ends, 1);
    if (victim->secured == 1 && victim->end_err == -ERR_TLS) CHECK(strlen(victim->error) > 10);
}

TEST(a_change_at_every_byte_is_never_taken_for_data)
{
    at_every_byte(change, 1, check_changed);
}

/* --- what is no TLS --- */

static void raw_says(struct pair *p, struct tls_context *server, const void *bytes, size_t len)
{
    pair_accept(p, false);
    CHECK_EQ("tls", conn_start_tls(&p->server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    support_write(p->raw, bytes, len);
    CHECK(support_run_until(p->loop, &p->server->ends, 1));
    CHECK_EQ("err", p->server->end_err, -ERR_TLS);
    CHECK(strstr(p->server->error, "the handshake failed: ") != NULL);
    CHECK_EQ("secured", p->server->secured, 0);
}

TEST(what_is_no_handshake_ends_the_connection_and_nothing_else)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    static const char *const texts[] = {
        "EHLO a.example\r\nMAIL FROM:<a@b>\r\n", "GET / HTTP/1.1\r\n",
        "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x16\x03\x01\xff\xff\x01\xff\xff\xff\x03",
        "\x80\x09\x01\x00\x02\x00\x15\x00\x00\x00\x10"};
    static const size_t lens[] = {32, 16, 10, 10, 11};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        raw_says(&p, server, texts[i], lens[i]);
        pair_close_ends(&p, false);
        close(p.raw);
    }
    for (uint64_t seed = 1; seed <= 200; seed++) {
        char *noise = tls_random_bytes(3000, seed);
        if (seed % 2 == 0) memcpy(noise, "\x16\x03\x01\x04\x00\x01\x00\x03\xfc\x03\x03", 11);
        raw_says(&p, server, noise, 3000);
        free(noise);
        pair_close_ends(&p, false);
        close(p.raw);
    }
    tls_context_destroy(server);
    pair_close(&p);
}

/* A ClientHello that never ends: 16 MiB are announced. */
TEST(a_handshake_that_brings_nothing_is_ended)
{
    struct pair p;
    pair_open(&p);
    struct tls_context *server = tls_server((struct tls_server_options){0});
    char *record = calloc(1, 5 + 16384);
    ASSERT(record != NULL);
    memcpy(record, "\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03", 11);
    pair_accept(&p, false);
    CHECK_EQ("tls", conn_start_tls(&p.server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    for (int i = 0; i < 20 && p.server->ends == 0; i++) {
        (void)!send(p.raw, record, 5 + 16384, MSG_NOSIGNAL);
        support_run_for(p.loop, 1);
    }
    CHECK_EQ("ends", p.server->ends, 1);
    CHECK_EQ("err", p.server->end_err, -ERR_TLS);
    pair_close_ends(&p, false);
    close(p.raw);
    free(record);
    tls_context_destroy(server);
    pair_close(&p);
}

/* --- a peer that floods, by OpenSSL itself over a blocking socket --- */

struct flooder {
    struct pair p;
    SSL_CTX *ctx;
    SSL *ssl;
    struct tls_context *server;
};

static void flooder_open(struct flooder *f)
{
    pair_open(&f->p);
    f->server = tls_server((struct tls_server_options){0});
    pair_accept(&f->p, false);
    CHECK_EQ("tls", conn_start_tls(&f->p.server->conn, f->server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    f->ctx = SSL_CTX_new(TLS_client_method());
    f->ssl = SSL_new(f->ctx);
    CHECK(fcntl(f->p.raw, F_SETFL, O_NONBLOCK) == 0);
    SSL_set_fd(f->ssl, f->p.raw);
    for (int i = 0; i < 1000 && SSL_connect(f->ssl) != 1; i++)
        support_run_for(f->p.loop, 1);
    CHECK(support_run_until(f->p.loop, &f->p.server->secured, 1));
}

static void flooder_close(struct flooder *f)
{
    SSL_free(f->ssl);
    SSL_CTX_free(f->ctx);
    pair_close_ends(&f->p, false);
    close(f->p.raw);
    tls_context_destroy(f->server);
    pair_close(&f->p);
}

TEST(an_end_of_tls_is_the_end_whatever_follows)
{
    for (int with_text = 0; with_text < 2; with_text++) {
        struct flooder f;
        flooder_open(&f);
        f.p.server->expected = "DATA";
        f.p.server->expected_len = 4;
        CHECK_EQ("write", SSL_write(f.ssl, "DATA", 4), 4);
        SSL_shutdown(f.ssl);
        if (with_text) support_write(f.p.raw, "\r\n.\r\nMAIL FROM:<a@b>\r\n", 22);
        CHECK(support_run_until(f.p.loop, &f.p.server->ends, 1));
        CHECK_EQ("err", f.p.server->end_err, 0);
        CHECK(!f.p.server->is_truncated);
        support_run_for(f.p.loop, 5);
        if (with_text) (void)!send(f.p.raw, "QUIT\r\n", 6, MSG_NOSIGNAL);
        support_run_for(f.p.loop, 5);
        CHECK_EQ("got", f.p.server->got, 4);
        CHECK(!f.p.server->is_wrong);
        flooder_close(&f);
    }
}

TEST(clear_text_after_the_handshake_is_no_data)
{
    struct flooder f;
    flooder_open(&f);
    support_write(f.p.raw, "QUIT\r\n", 6);
    CHECK(support_run_until(f.p.loop, &f.p.server->ends, 1));
    CHECK_EQ("err", f.p.server->end_err, -ERR_TLS);
    CHECK_EQ("got", f.p.server->got, 0);
    flooder_close(&f);
}
