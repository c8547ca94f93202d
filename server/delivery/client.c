/* client.c - the connection of a client: set-up, timers, the ways it ends. */
#include "server/delivery/client.h"

#include "server/delivery/client_auth.h"
#include "server/delivery/client_internal.h"

#define AFTER(state) BIT(CLIENT_##state)
#define TIMEOUT(name) offsetof(struct config, delivery.timeouts.name)

/* Every state, the time it may take (RFC 5321 4.5.3.2) and where it may go; CLOSING is always
 * allowed. */
static const struct {
    const char *waits_for;
    size_t timeout_at; /* of a uint64_t in struct config */
    uint32_t next;
} states[CLIENT_STATES] = {
    [CLIENT_CONNECT] = {"the connection", TIMEOUT(connect_ms), AFTER(GREETING) | AFTER(HANDSHAKE)},
    [CLIENT_HANDSHAKE] = {"the TLS handshake", TIMEOUT(command_ms), AFTER(GREETING) | AFTER(EHLO)},
    [CLIENT_GREETING] = {"the greeting", TIMEOUT(greeting_ms), AFTER(EHLO)},
    [CLIENT_EHLO] = {"the answer to EHLO", TIMEOUT(command_ms),
                     AFTER(HELO) | AFTER(STARTTLS) | AFTER(AUTH) | AFTER(IDLE)},
    [CLIENT_HELO] = {"the answer to HELO", TIMEOUT(command_ms), AFTER(IDLE)},
    [CLIENT_STARTTLS] = {"the answer to STARTTLS", TIMEOUT(command_ms),
                         AFTER(HANDSHAKE) | AFTER(AUTH) | AFTER(IDLE)},
    [CLIENT_AUTH] = {"the answer to AUTH", TIMEOUT(command_ms), AFTER(AUTH) | AFTER(IDLE)},
    [CLIENT_IDLE] = {"work", offsetof(struct config, delivery.per_destination.idle_ms),
                     AFTER(ENVELOPE)},
    [CLIENT_ENVELOPE] = {"the answer to MAIL or RCPT", TIMEOUT(command_ms),
                         AFTER(ENVELOPE) | AFTER(DATA) | AFTER(BODY) | AFTER(RSET)},
    [CLIENT_DATA] = {"the answer to DATA", TIMEOUT(data_init_ms),
                     AFTER(BODY) | AFTER(EMPTY_DOT) | AFTER(RSET)},
    [CLIENT_BODY] = {"the message to be taken", TIMEOUT(data_block_ms), AFTER(BODY) | AFTER(DOT)},
    [CLIENT_DOT] = {"the answer to the whole message (it may arrive twice)", TIMEOUT(data_end_ms),
                    AFTER(DOT) | AFTER(IDLE) | AFTER(RSET)},
    [CLIENT_EMPTY_DOT] = {"the answer to an empty message", TIMEOUT(data_end_ms), AFTER(IDLE)},
    [CLIENT_RSET] = {"the answer to RSET", TIMEOUT(command_ms), AFTER(IDLE)},
    [CLIENT_CLOSING] = {"the end of the connection", 0, AFTER(CONNECT)},
};

static struct delivery *delivery_of(const struct client *c)
{
    return c->destination->delivery;
}

void client_go(struct client *c, enum client_state next)
{
    ASSERT(next == CLIENT_CLOSING || (states[c->state].next & BIT(next)) != 0);
    c->state = (uint8_t)next;
    c->is_spare = false;
    if (next == CLIENT_CLOSING) {
        timer_disarm(&c->timer);
        return;
    }
    struct loop *loop = delivery_of(c)->loop;
    const char *config = (const char *)delivery_of(c)->config;
    uint64_t delay_ms;
    memcpy(&delay_ms, config + states[next].timeout_at, sizeof(delay_ms));
    if (next != CLIENT_IDLE) {
        uint64_t now_ns = loop_now_ns(loop);
        uint64_t left_ns = c->deadline_ns > now_ns ? c->deadline_ns - now_ns : 0;
        delay_ms = MIN(delay_ms, left_ns / NS_PER_MS);
    }
    timer_arm(loop, &c->timer, delay_ms);
}

void client_say(struct client *c, struct slice bytes)
{
    if (!conn_write(&c->conn, bytes)) {
        client_fail(c, SLICE("4.3.1 no memory for output"));
        return;
    }
    conn_flush(&c->conn);
}

/* --- ending --- */

static void end_probe(struct client *c)
{
    if (c->is_probe) c->host->is_probed = false;
    c->is_probe = false;
}

static void free_client(struct client *c)
{
    struct destination *destination = c->destination;
    struct delivery *delivery = delivery_of(c);
    end_probe(c);
    client_auth_destroy(c->auth);
    destination_host_give(destination, c->host);
    if (!c->is_set_up) destination->opening_count--;
    destination->closing_count--;
    delivery->client_count--;
    counter_sub(&c->route->connections, 1);
    counter_sub(&delivery->counters.connections, 1);
    destination_client_gone(destination, c);
    slab_put(&delivery->clients, c);
    delivery_check_stopped(delivery);
}

static void start_connect(struct client *c);

void client_teardown(struct client *c)
{
    ASSERT(c->state == CLIENT_CLOSING);
    if (c->is_connecting || c->is_open || !client_body_release(c)) return;
    struct attempt *attempt = c->attempt;
    c->attempt = NULL;
    if (attempt != NULL) {
        if (c->is_stale && !delivery_of(c)->is_stopping) {
            destination_resubmit(c->destination, attempt);
        } else {
            attempt_end(attempt);
        }
    }
    struct host *host = NULL;
    if (c->tries_in_clear) {
        host = c->host;
    } else if (c->tries_next_host && c->destination->waiting_count > 0) {
        host = destination_pick_host(c->destination);
    }
    if (host == NULL) {
        free_client(c);
        return;
    }
    c->tries_next_host = c->tries_in_clear = false;
    c->destination->closing_count--;
    if (host != c->host) {
        destination_host_give(c->destination, c->host);
        destination_host_take(c->destination, host);
        c->host = host;
    }
    start_connect(c);
}

static void start_closing(struct client *c)
{
    ASSERT(c->state != CLIENT_CLOSING);
    client_go(c, CLIENT_CLOSING);
    list_remove(&c->node);
    c->destination->closing_count++;
}

void client_close(struct client *c)
{
    start_closing(c);
    if (c->is_connecting) loop_cancel(delivery_of(c)->loop, &c->connect_op);
    if (c->is_open) conn_close(&c->conn);
}

void client_rest_shortly(struct client *c, uint64_t delay_ms)
{
    ASSERT(c->state == CLIENT_IDLE && c->attempt == NULL);
    if (c->is_spare) return; /* its time runs already */
    c->is_spare = true;
    const struct delivery *delivery = delivery_of(c);
    uint64_t idle_ms = delivery->config->delivery.per_destination.idle_ms;
    timer_arm(delivery->loop, &c->timer, MIN(delay_ms, idle_ms));
}

void client_quit(struct client *c)
{
    ASSERT(c->state == CLIENT_IDLE && c->attempt == NULL);
    bool is_written = conn_write(&c->conn, SLICE("QUIT\r\n"));
    start_closing(c);
    if (is_written) {
        conn_finish(&c->conn);
    } else {
        conn_close(&c->conn);
    }
}

/* A server may close a resting connection just when we send: then nothing of this transaction was
 * answered, and trying once more cannot do harm. */
static bool is_stale_reuse(const struct client *c)
{
    return c->message_count > 0 && c->state == CLIENT_ENVELOPE && c->script.answered == 0 &&
           !c->attempt->is_retried;
}

void client_refuse_host(struct client *c, struct slice reason)
{
    ASSERT(!c->is_set_up && c->state != CLIENT_CLOSING);
    end_probe(c);
    destination_host_refused(c->destination, c->host, reason);
    c->tries_next_host = !delivery_of(c)->is_stopping;
    client_close(c);
}

enum tls_duty client_tls_duty(const struct client *c)
{
    if (c->host->unix_path != NULL) return TLS_DUTY_NONE;
    return MAX((enum tls_duty)c->destination->hop->settings.tls, c->host->tls_duty);
}

static void count_handshake(struct client *c, bool is_good)
{
    struct tls_info info;
    bool is_1_3 = conn_tls_info(&c->conn, &info) && strcmp(info.version, "TLSv1.3") == 0;
    counter_add(&delivery_of(c)->counters.tls_handshakes[is_1_3][is_good], 1);
}

void client_fail_handshake(struct client *c, const char *why)
{
    struct loop *loop = delivery_of(c)->loop;
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    if (c->state == CLIENT_HANDSHAKE) count_handshake(c, false);
    if (client_tls_duty(c) == TLS_DUTY_MAY && !c->destination->hop->settings.is_tls_implicit &&
        !delivery_of(c)->is_stopping) {
        c->host->clear_until_ns = loop_now_ns(loop) + CLIENT_CLEAR_MS * NS_PER_MS;
        c->tries_in_clear = true;
        client_close(c);
        return;
    }
    buf_append_format(&reason, "4.7.5 no TLS with %s: %.300s", c->host->text, why);
    client_fail(c, buf_slice(&reason));
}

void client_fail(struct client *c, struct slice reason)
{
    if (c->state == CLIENT_CLOSING) return;
    if (!c->is_set_up) {
        end_probe(c);
        destination_host_failed(c->destination, c->host, reason);
        c->tries_next_host = !delivery_of(c)->is_stopping;
    } else if (c->attempt != NULL && is_stale_reuse(c)) {
        c->is_stale = true;
    } else if (c->attempt != NULL) {
        client_settle_all(c, OUTCOME_DEFERRED, reason);
    }
    client_close(c);
}

void client_fail_waiting(struct client *c, const char *status, const char *what, int err)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    buf_append_format(&reason, "%s %s while waiting for %s", status, what,
                      states[c->state].waits_for);
    if (!c->is_set_up) {
        buf_append_format(&reason, " of %s", c->host->text);
    }
    if (err != 0) buf_append_format(&reason, ": %s", err_str(err));
    client_fail(c, buf_slice(&reason));
}

void client_stop(struct client *c, bool is_final)
{
    c->tries_next_host = false;
    if (c->state == CLIENT_CLOSING) return;
    if (c->state == CLIENT_IDLE) {
        client_quit(c);
    } else if (c->state != CLIENT_DOT) {
        client_close(c);
    } else if (is_final) {
        client_fail_waiting(c, "4.3.2", "stopped", 0);
    }
}

static void on_timer(struct timer *timer)
{
    struct client *c = CONTAINER_OF(timer, struct client, timer);
    if (c->state == CLIENT_IDLE) {
        client_quit(c);
    } else if (c->state == CLIENT_HANDSHAKE) {
        client_fail_handshake(c, "the handshake did not come to an end in time");
    } else {
        client_fail_waiting(c, "4.4.2", "timeout", 0);
    }
}

/* --- the stream --- */

static bool is_answer_due(const struct client *c)
{
    switch (c->state) {
    case CLIENT_ENVELOPE:
        return c->script.answered < c->script.sent;
    case CLIENT_IDLE:
    case CLIENT_CONNECT:
    case CLIENT_HANDSHAKE:
    case CLIENT_CLOSING:
        return false;
    default:
        return true; /* in BODY too: an early refusal is read for its words */
    }
}

/* True when no other answer is due until something more is said: what follows it was not asked for,
 * and would be taken for the answer to the next command. */
static bool is_last_answer(const struct client *c)
{
    if (c->state == CLIENT_DOT && c->destination->hop->protocol == HOP_LMTP)
        return client_lmtp_left(c) == 1;
    return c->state != CLIENT_ENVELOPE || c->script.sent - c->script.answered == 1;
}

/* A resting server says something mostly to say goodbye (421). */
static void on_unexpected(struct client *c)
{
    if (c->state == CLIENT_IDLE) {
        client_close(c);
    } else {
        client_fail_waiting(c, "4.5.0", "an answer to nothing", 0);
    }
}

static size_t on_input(struct conn *conn, struct slice input)
{
    struct client *c = CONTAINER_OF(conn, struct client, conn);
    size_t at = 0;
    while (at < input.len && c->state != CLIENT_CLOSING && !c->is_finishing) {
        if (c->is_desynced || !is_answer_due(c)) {
            on_unexpected(c);
            break;
        }
        size_t taken = 0;
        enum client_reply_status status =
            client_reply_feed(&c->reply, slice_from(input, at), &taken);
        at += taken;
        if (status == CLIENT_REPLY_BROKEN) {
            client_fail_waiting(c, "4.5.0", "an answer that is none", 0);
            break;
        }
        if (status == CLIENT_REPLY_LINE || status == CLIENT_REPLY_DONE) client_note_offer(c);
        if (status == CLIENT_REPLY_DONE) {
            c->is_desynced = is_last_answer(c) && at < input.len;
            client_on_reply(c);
            client_reply_reset(&c->reply);
        }
    }
    if (c->is_finishing && at < input.len) c->is_desynced = true;
    return c->state == CLIENT_CLOSING ? input.len : at;
}

static void on_sent(struct conn *conn)
{
    struct client *c = CONTAINER_OF(conn, struct client, conn);
    if (c->state == CLIENT_CLOSING) return;
    if (c->is_sending) {
        client_body_on_sent(c);
    } else if (c->state == CLIENT_ENVELOPE && client_has_undecided(c)) {
        client_fill(c);
    }
}

static void on_end(struct conn *conn, int err)
{
    struct client *c = CONTAINER_OF(conn, struct client, conn);
    if (c->state == CLIENT_CLOSING) return;
    if (c->state == CLIENT_IDLE) {
        client_close(c);
    } else if (c->state == CLIENT_HANDSHAKE) {
        const char *why = conn_tls_error(conn);
        client_fail_handshake(c, why != NULL ? why : "the connection was lost");
    } else {
        client_fail_waiting(c, "4.4.2", "connection lost", err);
    }
}

static void on_secured(struct conn *conn)
{
    struct client *c = CONTAINER_OF(conn, struct client, conn);
    if (c->state == CLIENT_CLOSING) return;
    count_handshake(c, true);
    client_on_secured(c);
}

static void on_closed(struct conn *conn)
{
    struct client *c = CONTAINER_OF(conn, struct client, conn);
    c->is_open = false;
    client_teardown(c);
}

static const struct conn_handler handler = {
    .on_input = on_input,
    .on_sent = on_sent,
    .on_end = on_end,
    .on_closed = on_closed,
    .on_secured = on_secured,
};

/* --- set-up and rest --- */

static void fail_connect(struct client *c, int err)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    buf_append_format(&reason, "4.4.1 cannot connect to %s: %s", c->host->text, err_str(err));
    client_fail(c, buf_slice(&reason));
}

static void on_connected(struct ring_op *op)
{
    struct client *c = CONTAINER_OF(op, struct client, connect_op);
    c->is_connecting = false;
    if (c->state == CLIENT_CLOSING) {
        if (op->result >= 0) loop_close(delivery_of(c)->loop, op->result, NULL);
        client_teardown(c);
    } else if (op->result < 0) {
        fail_connect(c, op->result);
        client_teardown(c); /* nothing else is in flight */
    } else {
        counter_add(&delivery_of(c)->counters.connections_opened, 1);
        c->is_open = true;
        conn_open(&c->conn, &delivery_of(c)->conns, &handler, op->result);
        if (c->destination->hop->settings.is_tls_implicit)
            client_begin_tls(c);
        else
            client_go(c, CLIENT_GREETING);
    }
}

static void start_connect(struct client *c)
{
    struct loop *loop = delivery_of(c)->loop;
    uint64_t now_ns = loop_now_ns(loop);
    c->opened_ns = now_ns;
    c->deadline_ns = now_ns + CLIENT_TRANSACTION_MS_MAX * NS_PER_MS;
    c->offer = (struct client_offer){0};
    c->is_desynced = c->is_greeted = c->is_us = false;
    client_reply_reset(&c->reply);
    c->is_probe = !c->host->is_proven;
    if (c->is_probe) c->host->is_probed = true;
    if (c->state == CLIENT_CLOSING) {
        client_go(c, CLIENT_CONNECT);
    } else {
        timer_arm(loop, &c->timer, delivery_of(c)->config->delivery.timeouts.connect_ms);
    }
    c->is_connecting = true;
    if (c->host->unix_path != NULL) {
        loop_connect_unix(loop, c->host->unix_path, &c->connect_op);
        return;
    }
    const struct config_hop *settings = &c->destination->hop->settings;
    bool is_v6 = c->host->endpoint.addr.any.sa_family == AF_INET6;
    const struct endpoint *from = is_v6 ? &settings->source_v6 : &settings->source_v4;
    loop_connect(loop, &c->host->endpoint, from->addr_len != 0 ? from : NULL, &c->connect_op);
}

struct client *client_open(struct destination *destination, struct host *host,
                           struct delivery_route_counters *route)
{
    struct delivery *delivery = destination->delivery;
    struct client *c = slab_get(&delivery->clients);
    if (c == NULL) return NULL;
    memset(c, 0, sizeof(*c));
    list_init(&c->node);
    list_init(&c->all);
    c->destination = destination;
    c->host = host;
    c->route = route;
    c->state = CLIENT_CONNECT;
    timer_init(&c->timer, on_timer);
    c->connect_op.done = on_connected;
    client_body_init(c);
    destination_host_take(destination, host);
    delivery->client_count++;
    counter_add(&route->connections, 1);
    counter_add(&delivery->counters.connections, 1);
    start_connect(c);
    return c;
}

void client_rest(struct client *c)
{
    ASSERT(c->attempt == NULL);
    struct destination *destination = c->destination;
    struct delivery *delivery = delivery_of(c);
    if (c->is_desynced) {
        client_fail_waiting(c, "4.5.0", "an answer to nothing", 0);
        return;
    }
    client_go(c, CLIENT_IDLE);
    if (!c->is_set_up) {
        end_probe(c);
        c->is_set_up = true;
        destination->opening_count--;
        destination_host_works(destination, c->host);
    }
    uint64_t max = delivery->config->delivery.per_destination.messages_per_connection;
    uint64_t hop_max = c->offer.mail_max;
    bool is_full =
        (max > 0 && c->message_count >= max) || (hop_max > 0 && c->message_count >= hop_max);
    if (delivery->is_stopping || is_full) {
        client_quit(c);
    } else {
        destination_client_rests(destination, c);
    }
}
