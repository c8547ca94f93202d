/* tls_client.c - see tls_client.h. A link is one connection after the other; what it does on each
 * is its duty. */
#include "bench/tls_client.h"

#include "ring/base/clock.h"
#include "ring/base/err.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUTS 512
#define SUBMISSIONS 1024
#define BULK_PIECE_BYTES (1u << 20)
#define BULK_PIECES 16
#define PING_MS 5
#define HELLO_BYTES_MAX 2048
#define PATIENCE_NS (20 * NS_PER_S)

enum duty { DUTY_HANDSHAKES, DUTY_SEND, DUTY_TAKE, DUTY_STAY, DUTY_HELLO, DUTY_PING };

struct link {
    struct conn conn;
    struct tls_client *client;
    enum duty duty;
    bool is_open; /* between conn_open() and on_closed() */
    struct ring_op connect_op;
    struct timer timer;
    uint64_t asked_ns; /* a ping */
    struct iovec pieces[BULK_PIECES];
};

struct tls_client {
    struct loop *loop;
    struct conn_host host;
    struct endpoint to;
    struct tls_context *context;
    struct tls_client_counts counts;
    struct latency *latency;
    struct link *links;
    uint32_t link_count_max, link_count, busy_count, ready_count;
    bool is_ending;
    char *bulk, hello[HELLO_BYTES_MAX];
    size_t hello_len;
};

static void link_connect(struct link *link);

/* --- duties --- */

static void say(struct link *link, struct slice text)
{
    if (!conn_write(&link->conn, text)) return;
    conn_flush(&link->conn);
}

static void send_bulk(struct link *link)
{
    for (int i = 0; i < BULK_PIECES; i++)
        link->pieces[i] = (struct iovec){link->client->bulk, BULK_PIECE_BYTES};
    conn_send_pieces(&link->conn, link->pieces, BULK_PIECES);
    link->client->counts.bytes += BULK_PIECES * BULK_PIECE_BYTES;
}

static void ping(struct link *link)
{
    link->asked_ns = clock_monotonic_ns();
    say(link, SLICE("ping\n"));
}

static void on_timer(struct timer *timer)
{
    struct link *link = CONTAINER_OF(timer, struct link, timer);
    if (link->is_open) ping(link);
}

static void begin(struct link *link)
{
    switch (link->duty) {
    case DUTY_HANDSHAKES:
    case DUTY_STAY:
        say(link, SLICE("x\n"));
        break;
    case DUTY_SEND:
        say(link, SLICE("B\n"));
        break;
    case DUTY_TAKE:
        say(link, SLICE("S\n"));
        break;
    case DUTY_PING:
        ping(link);
        break;
    case DUTY_HELLO:
        say(link, slice_of(link->client->hello, link->client->hello_len));
        break;
    }
}

static void answered(struct link *link, size_t bytes)
{
    struct tls_client *client = link->client;
    client->counts.bytes += link->duty == DUTY_TAKE ? bytes : 0;
    switch (link->duty) {
    case DUTY_HANDSHAKES:
    case DUTY_HELLO:
        client->counts.handshakes++;
        conn_close(&link->conn);
        break;
    case DUTY_STAY:
        client->ready_count++;
        break;
    case DUTY_PING:
        if (client->latency != NULL)
            latency_add(client->latency, clock_monotonic_ns() - link->asked_ns);
        client->ready_count = 1;
        timer_arm(client->loop, &link->timer, PING_MS);
        break;
    case DUTY_SEND:
    case DUTY_TAKE:
        break;
    }
}

/* --- events --- */

static size_t on_input(struct conn *conn, struct slice input)
{
    answered(CONTAINER_OF(conn, struct link, conn), input.len);
    return input.len;
}

static void on_window(struct conn *conn, size_t bytes)
{
    (void)conn, (void)bytes;
    ASSERT(false); /* none is opened */
}

static void on_sent(struct conn *conn)
{
    struct link *link = CONTAINER_OF(conn, struct link, conn);
    if (link->duty == DUTY_SEND) send_bulk(link);
}

static void on_end(struct conn *conn, int err)
{
    struct link *link = CONTAINER_OF(conn, struct link, conn);
    (void)err;
    if (!link->client->is_ending) link->client->counts.failed++;
    conn_close(conn);
}

static void on_closed(struct conn *conn)
{
    struct link *link = CONTAINER_OF(conn, struct link, conn);
    struct tls_client *client = link->client;
    link->is_open = false;
    client->busy_count--;
    timer_disarm(&link->timer);
    bool repeats = link->duty == DUTY_HANDSHAKES || link->duty == DUTY_HELLO;
    if (repeats && !client->is_ending) link_connect(link);
}

static void on_secured(struct conn *conn)
{
    struct link *link = CONTAINER_OF(conn, struct link, conn);
    struct tls_info info;
    if (conn_tls_info(conn, &info) && info.is_resumed) link->client->counts.resumed++;
    begin(link);
}

static const struct conn_handler handler = {.on_input = on_input,
                                            .on_window = on_window,
                                            .on_sent = on_sent,
                                            .on_end = on_end,
                                            .on_closed = on_closed,
                                            .on_secured = on_secured};

static void on_connected(struct ring_op *op)
{
    struct link *link = CONTAINER_OF(op, struct link, connect_op);
    struct tls_client *client = link->client;
    if (op->result < 0) {
        client->busy_count--;
        client->counts.failed++;
        return;
    }
    link->is_open = true;
    conn_open(&link->conn, &client->host, &handler, op->result);
    if (client->context == NULL || link->duty == DUTY_HELLO) {
        begin(link);
    } else if (conn_start_tls(&link->conn, client->context, NULL, CONN_BEFORE_TLS_REFUSE) != 0) {
        conn_close(&link->conn);
    }
}

static void link_connect(struct link *link)
{
    struct tls_client *client = link->client;
    link->connect_op.done = on_connected;
    client->busy_count++;
    loop_connect(client->loop, &client->to, NULL, &link->connect_op);
}

/* --- running --- */

NORETURN static void give_up(const char *what)
{
    fprintf(stderr, "tls: %s\n", what);
    exit(EXIT_FAILURE);
}

static void turn(struct tls_client *client)
{
    int err = loop_turn(client->loop, true);
    if (err != 0) give_up(err_str(err));
}

static struct link *link_add(struct tls_client *client, enum duty duty)
{
    ASSERT(client->link_count < client->link_count_max);
    struct link *link = &client->links[client->link_count++];
    memset(link, 0, sizeof(*link));
    link->client = client;
    link->duty = duty;
    timer_init(&link->timer, on_timer);
    link_connect(link);
    return link;
}

static void on_tick(struct timer *timer)
{
    (void)timer; /* the turn has ended, and that was all */
}

static void run_for(struct tls_client *client, uint64_t duration_ns)
{
    struct timer tick;
    timer_init(&tick, on_tick);
    uint64_t start_ns = clock_monotonic_ns(), now_ns = start_ns;
    while (now_ns - start_ns < duration_ns) {
        timer_arm(client->loop, &tick, 1 + (duration_ns - (now_ns - start_ns)) / NS_PER_MS);
        turn(client);
        now_ns = clock_monotonic_ns();
    }
    timer_disarm(&tick);
    client->counts.elapsed_s = (double)(now_ns - start_ns) / (double)NS_PER_S;
}

static void run_until_ready(struct tls_client *client, uint32_t count)
{
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    struct timer tick;
    timer_init(&tick, on_tick);
    while (client->ready_count < count && clock_monotonic_ns() < end_ns) {
        timer_arm(client->loop, &tick, 100);
        turn(client);
    }
    timer_disarm(&tick);
}

void tls_client_release(struct tls_client *client)
{
    client->is_ending = true;
    for (uint32_t i = 0; i < client->link_count; i++) {
        if (client->links[i].is_open) conn_close(&client->links[i].conn);
    }
    while (client->busy_count > 0)
        turn(client);
    client->link_count = 0;
    client->ready_count = 0;
    client->is_ending = false;
}

static void reset(struct tls_client *client)
{
    client->counts = (struct tls_client_counts){0};
}

/* --- what may be asked --- */

struct tls_client *tls_client_create(uint32_t connections_max)
{
    struct tls_client *client = xcalloc(1, sizeof(*client));
    struct loop_options options = {SUBMISSIONS, connections_max, INPUTS};
    char why[512];
    if (loop_create(&options, &client->loop, why, sizeof(why)) != 0) give_up(why);
    conn_host_init(&client->host, client->loop, connections_max);
    client->link_count_max = connections_max;
    client->links = xcalloc(connections_max, sizeof(*client->links));
    client->bulk = xcalloc(1, BULK_PIECE_BYTES);
    return client;
}

void tls_client_destroy(struct tls_client *client)
{
    conn_host_finish(&client->host);
    loop_destroy(client->loop);
    free(client->links);
    free(client->bulk);
    free(client);
}

void tls_client_use(struct tls_client *client, const struct endpoint *to,
                    struct tls_context *context)
{
    client->to = *to;
    client->context = context;
}

struct tls_client_counts tls_client_handshakes(struct tls_client *client, uint32_t parallel,
                                               uint64_t duration_ns)
{
    for (uint32_t i = 0; i < parallel; i++)
        (void)link_add(client, DUTY_HANDSHAKES);
    uint64_t warm_ns = clock_monotonic_ns() + NS_PER_S;
    while (client->counts.handshakes == 0 && clock_monotonic_ns() < warm_ns)
        run_for(client, 10 * NS_PER_MS);
    reset(client);
    run_for(client, duration_ns);
    struct tls_client_counts counts = client->counts;
    tls_client_release(client);
    reset(client);
    return counts;
}

struct tls_client_counts tls_client_bulk(struct tls_client *client, bool sends,
                                         uint64_t duration_ns)
{
    struct link *link = link_add(client, sends ? DUTY_SEND : DUTY_TAKE);
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (client->counts.bytes == 0 && clock_monotonic_ns() < end_ns)
        run_for(client, 10 * NS_PER_MS);
    reset(client);
    run_for(client, duration_ns);
    struct tls_client_counts counts = client->counts;
    ASSERT(link->is_open);
    tls_client_release(client);
    reset(client);
    return counts;
}

uint32_t tls_client_hold(struct tls_client *client, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        (void)link_add(client, DUTY_STAY);
        if (i % 64 == 63) run_until_ready(client, i + 1);
    }
    run_until_ready(client, count);
    reset(client);
    return client->ready_count;
}

/* A ClientHello as OpenSSL would send it. Who answers it pays for a whole handshake. */
static void make_hello(struct tls_client *client)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = ctx == NULL ? NULL : SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (ssl == NULL || in == NULL || out == NULL) give_up("out of memory");
    SSL_set_bio(ssl, in, out);
    (void)SSL_connect(ssl);
    int len = BIO_read(out, client->hello, sizeof(client->hello));
    client->hello_len = (size_t)MAX(len, 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

struct tls_client_counts tls_client_flood(struct tls_client *client, uint32_t parallel,
                                          uint64_t duration_ns, struct latency *latency_out)
{
    if (client->hello_len == 0) make_hello(client);
    (void)link_add(client, DUTY_PING);
    run_until_ready(client, 1);
    for (uint32_t i = 0; i < parallel; i++)
        (void)link_add(client, DUTY_HELLO);
    run_for(client, duration_ns / 10);
    reset(client);
    client->latency = latency_out;
    run_for(client, duration_ns);
    client->latency = NULL;
    struct tls_client_counts counts = client->counts;
    tls_client_release(client);
    reset(client);
    return counts;
}
