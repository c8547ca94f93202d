/* Tickets: what one context sealed another opens, for two periods of the keys and no longer. */
#include "tests/unit/ring/tls_raw.h"

#include <pthread.h>

#define HOUR_MS 3600000ull

static uint64_t now_ms; /* of the tests' clock */

static uint64_t test_now_ms(void)
{
    return __atomic_load_n(&now_ms, __ATOMIC_RELAXED);
}

static void set_now_ms(uint64_t ms)
{
    __atomic_store_n(&now_ms, ms, __ATOMIC_RELAXED);
}

static struct tls_tickets *tickets_of_an_hour(void)
{
    struct tls_tickets *tickets = tls_tickets_create(HOUR_MS);
    ASSERT(tickets != NULL);
    set_now_ms(1000);
    tls_tickets_set_clock(tickets, test_now_ms);
    return tickets;
}

/* One connection of ours to `server`; returns whether it was resumed. */
static bool connect_once(struct pair *p, struct tls_context *client, struct tls_context *server)
{
    pair_accept(p, true);
    p->server->body = p->client->expected = "x"; /* the ticket comes before it */
    p->server->body_len = p->client->expected_len = 1;
    CHECK_EQ("s", conn_start_tls(&p->server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK_EQ("c", conn_start_tls(&p->client->conn, client, "a.example", CONN_BEFORE_TLS_REFUSE), 0);
    CHECK(support_run_until(p->loop, &p->client->secured, 1));
    for (int i = 0; i < 1000 && p->client->got == 0; i++)
        support_run_for(p->loop, 1);
    CHECK_EQ("got", p->client->got, 1);
    bool is_resumed = p->client->info.is_resumed;
    CHECK_EQ("both", p->server->info.is_resumed, is_resumed);
    pair_close_ends(p, true);
    return is_resumed;
}

/* Runs `check` for both versions, with two server contexts that share tickets. */
static void with_two(void (*check)(struct pair *p, struct tls_context *client,
                                   struct tls_context *one, struct tls_context *two))
{
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        struct pair p;
        pair_open(&p);
        struct tls_tickets *tickets = tickets_of_an_hour();
        struct tls_context *one = tls_server((struct tls_server_options){.tickets = tickets});
        struct tls_context *two = tls_server((struct tls_server_options){.tickets = tickets});
        tls_tickets_destroy(tickets); /* the contexts hold them */
        struct tls_context *client = tls_client(
            (struct tls_client_options){.resumes = true, .version_max = (enum tls_version)version});
        check(&p, client, one, two);
        tls_context_destroy(client);
        tls_context_destroy(one);
        tls_context_destroy(two);
        pair_close(&p);
    }
}

static void resume_across(struct pair *p, struct tls_context *client, struct tls_context *one,
                          struct tls_context *two)
{
    CHECK(!connect_once(p, client, one));
    CHECK(connect_once(p, client, two));
    CHECK(connect_once(p, client, one));
}

TEST(a_session_is_resumed_by_every_context_that_shares_the_keys)
{
    with_two(resume_across);
}

static void rotate(struct pair *p, struct tls_context *client, struct tls_context *one,
                   struct tls_context *two)
{
    CHECK(!connect_once(p, client, one));
    set_now_ms(1000 + HOUR_MS - 1); /* the last moment of the first period */
    CHECK(connect_once(p, client, two));
    set_now_ms(1000 + 2 * HOUR_MS - 1); /* of the next: the key before still opens */
    CHECK(connect_once(p, client, one));
    set_now_ms(1000 + 3 * HOUR_MS - 1); /* because a fresh ticket was given for it */
    CHECK(connect_once(p, client, two));
    set_now_ms(1000 + 5 * HOUR_MS); /* a whole period without a handshake */
    CHECK(!connect_once(p, client, one));
    CHECK(connect_once(p, client, two));
}

TEST(keys_rotate_and_the_one_before_still_opens)
{
    with_two(rotate);
}

static void stay_strangers(struct pair *p, struct tls_context *client, struct tls_context *one,
                           struct tls_context *two)
{
    (void)two;
    struct tls_context *other = tls_server((struct tls_server_options){0});
    CHECK(!connect_once(p, client, one));
    CHECK(!connect_once(p, client, other)); /* keys of its own; its ticket is the client's last */
    CHECK(!connect_once(p, client, one));
    tls_context_destroy(other);
}

TEST(contexts_that_share_no_keys_resume_nothing_of_each_other)
{
    with_two(stay_strangers);
}

/* --- the keys themselves --- */

static bool is_same_key(const struct tls_ticket_key *a, const struct tls_ticket_key *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

TEST(a_period_has_one_key_for_all_and_old_ones_are_gone)
{
    struct tls_tickets *tickets = tickets_of_an_hour();
    struct tls_ticket_keys a = {0}, b = {0}, was;
    tls_tickets_update(tickets, &a);
    tls_tickets_update(tickets, &b);
    CHECK_EQ("period", a.period, 1);
    CHECK(memcmp(&a, &b, sizeof(a)) == 0);
    CHECK(!is_same_key(&a.now, &a.before));
    was = a;
    set_now_ms(now_ms + HOUR_MS);
    tls_tickets_update(tickets, &a);
    CHECK_EQ("period", a.period, 2);
    CHECK(is_same_key(&a.before, &was.now) && !is_same_key(&a.now, &was.now));
    CHECK(is_same_key(&b.now, &was.now)); /* until it asks */
    tls_tickets_update(tickets, &b);
    CHECK(memcmp(&a, &b, sizeof(a)) == 0);
    was = a;
    set_now_ms(now_ms + 2 * HOUR_MS); /* two at once: both are new */
    tls_tickets_update(tickets, &a);
    CHECK_EQ("period", a.period, 4);
    CHECK(!is_same_key(&a.before, &was.now) && !is_same_key(&a.before, &was.before));
    tls_tickets_destroy(tickets);
    tls_tickets_destroy(NULL);
}

TEST(an_idle_context_forgets_old_keys_when_it_is_refreshed)
{
    struct tls_tickets *tickets = tickets_of_an_hour();
    struct tls_context *server = tls_server((struct tls_server_options){.tickets = tickets});
    struct tls_ticket_key first = server->keys.now;
    set_now_ms(now_ms + 2 * HOUR_MS);
    tls_context_refresh(server);
    CHECK(memmem(&server->keys, sizeof(server->keys), first.cipher_key, sizeof(first.cipher_key)) ==
          NULL);
    tls_context_destroy(server);
    tls_tickets_destroy(tickets);
    struct tls_context *client = tls_client((struct tls_client_options){0});
    tls_context_refresh(client); /* nothing to do, and no harm */
    tls_context_destroy(client);
}

TEST(rotations_are_within_bounds)
{
    static const struct {
        uint64_t rotation_ms;
        uint32_t seconds;
    } cases[] = {{0, 1},
                 {1000, 1},
                 {HOUR_MS, 3600},
                 {24 * HOUR_MS, 86400},
                 {48 * HOUR_MS, TLS_SESSION_SECONDS_MAX},
                 {UINT64_MAX, TLS_SESSION_SECONDS_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_tickets *tickets = tls_tickets_create(cases[i].rotation_ms);
        CHECK_EQ("seconds", tls_tickets_session_seconds(tickets), cases[i].seconds);
        tls_tickets_destroy(tickets);
    }
}

/* --- several threads --- */

struct reader {
    struct tls_tickets *tickets;
    unsigned changes;
    bool is_wrong;
};

static void *read_keys(void *data)
{
    struct reader *reader = data;
    struct tls_ticket_keys keys = {0};
    for (int i = 0; i < 20000; i++) {
        struct tls_ticket_keys was = keys;
        if (i % 100 == 0) __atomic_add_fetch(&now_ms, HOUR_MS / 4, __ATOMIC_RELAXED);
        tls_tickets_update(reader->tickets, &keys);
        if (keys.period == was.period) continue;
        reader->changes++;
        bool is_next = keys.period == was.period + 1 && was.period > 0;
        if (keys.period < was.period || (is_next && !is_same_key(&keys.before, &was.now)))
            reader->is_wrong = true;
    }
    tls_tickets_destroy(reader->tickets);
    return NULL;
}

TEST(threads_share_the_keys)
{
    enum { THREADS = 4 };
    struct tls_tickets *tickets = tickets_of_an_hour();
    pthread_t threads[THREADS];
    struct reader readers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){.tickets = tls_tickets_hold(tickets)};
        CHECK(pthread_create(&threads[i], NULL, read_keys, &readers[i]) == 0);
    }
    tls_tickets_destroy(tickets);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(!readers[i].is_wrong && readers[i].changes > 10);
    }
}

/* --- what a client gets --- */

static unsigned tickets_seen;

static int count_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    CHECK_EQ("lifetime", SSL_SESSION_get_ticket_lifetime_hint(session), 3600);
    tickets_seen++;
    return 0;
}

TEST(a_handshake_brings_one_ticket_that_lives_for_a_rotation)
{
    struct tls_tickets *tickets = tickets_of_an_hour();
    struct tls_context *server = tls_server((struct tls_server_options){.tickets = tickets});
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        struct raw raw;
        char byte;
        raw_init(&raw, (enum tls_version)version);
        SSL_CTX_set_session_cache_mode(raw.ctx, SSL_SESS_CACHE_CLIENT);
        SSL_CTX_sess_set_new_cb(raw.ctx, count_ticket);
        tickets_seen = 0;
        raw_connect(&raw, server);
        CHECK(raw_handshake(&raw));
        support_run_for(raw.p.loop, 5);
        CHECK_EQ("nothing", SSL_read(raw.ssl, &byte, 1), -1);
        CHECK_EQ("tickets", tickets_seen, 1);
        raw_disconnect(&raw);
        raw_finish(&raw);
    }
    tls_context_destroy(server);
    tls_tickets_destroy(tickets);
}

static SSL_SESSION *taken;

static int take_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(taken);
    taken = session;
    return 1;
}

/* A session that says it may carry early data, which we have never said: what comes early is
 * passed over, and the handshake is none the worse. */
TEST(early_data_is_never_taken)
{
    struct tls_tickets *tickets = tickets_of_an_hour();
    struct tls_context *server = tls_server((struct tls_server_options){.tickets = tickets});
    struct raw raw;
    char byte;
    raw_init(&raw, TLS_VERSION_1_3);
    SSL_CTX_set_session_cache_mode(raw.ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(raw.ctx, take_ticket);
    raw_connect(&raw, server);
    CHECK(raw_handshake(&raw));
    support_run_for(raw.p.loop, 5);
    CHECK_EQ("nothing", SSL_read(raw.ssl, &byte, 1), -1);
    raw_disconnect(&raw);
    CHECK(taken != NULL && SSL_SESSION_get_max_early_data(taken) == 0);
    CHECK(SSL_SESSION_set_max_early_data(taken, 16384) == 1);

    raw_connect(&raw, server);
    CHECK(SSL_set_session(raw.ssl, taken) == 1);
    size_t written = 0;
    raw.p.server->expected = "QUIT\r\n";
    raw.p.server->expected_len = 6;
    CHECK_EQ("early", SSL_write_early_data(raw.ssl, "MAIL FROM:<a@b>\r\n", 17, &written), 1);
    CHECK(raw_handshake(&raw));
    CHECK_EQ("status", SSL_get_early_data_status(raw.ssl), SSL_EARLY_DATA_REJECTED);
    CHECK_EQ("write", SSL_write(raw.ssl, "QUIT\r\n", 6), 6);
    support_run_for(raw.p.loop, 20);
    CHECK_EQ("got", raw.p.server->got, 6);
    CHECK(!raw.p.server->is_wrong && raw.p.server->ends == 0);
    raw_disconnect(&raw);
    SSL_SESSION_free(taken);
    taken = NULL;
    raw_finish(&raw);
    tls_context_destroy(server);
    tls_tickets_destroy(tickets);
}
