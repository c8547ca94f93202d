/* client_set_up.c - what is said before a connection takes its first message: greeting, EHLO or
 * LHLO, STARTTLS (RFC 3207), AUTH (RFC 4954).
 *
 * What the server offered in the clear is forgotten under TLS: somebody between could have said it.
 * Where TLS is a duty, a server without it is passed over, and nothing goes in the clear. */
#include "server/delivery/client_auth.h"
#include "server/delivery/client_internal.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_BYTES_MAX CONN_OUTPUT_BYTES

static struct delivery *delivery_of(const struct client *c)
{
    return c->destination->delivery;
}

static void fail_format(struct client *c, const char *format, ...) PRINTF_LIKE(2, 3);

static void fail_format(struct client *c, const char *format, ...)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    client_fail(c, slice_of(text, MIN((size_t)len, sizeof(text) - 1)));
}

static void say_hello(struct client *c, const char *verb)
{
    char line[LINE_BYTES_MAX];
    struct buf out = {line, 0, sizeof(line), false};
    buf_append_format(&out, "%s %s\r\n", verb, delivery_of(c)->config->node.hostname);
    client_say(c, buf_slice(&out));
}

static void go_hello(struct client *c)
{
    c->offer = (struct client_offer){0};
    client_go(c, CLIENT_EHLO);
    say_hello(c, c->destination->hop->protocol == HOP_LMTP ? "LHLO" : "EHLO");
}

/* --- TLS --- */

void client_begin_tls(struct client *c)
{
    const struct hop *hop = c->destination->hop;
    client_go(c, CLIENT_HANDSHAKE);
    if (hop->tls == NULL) {
        client_fail_handshake(c, hop->why != NULL ? hop->why : "it is not set up");
        return;
    }
    char address[ENDPOINT_TEXT_MAX];
    struct buf text = {address, 0, sizeof(address) - 1, false};
    const char *name = c->host->name;
    if (name == NULL) {
        endpoint_write_address(&c->host->endpoint, &text);
        address[text.len] = '\0';
        name = address;
    }
    int err = conn_start_tls(&c->conn, hop->tls, name, CONN_BEFORE_TLS_REFUSE);
    if (err != 0) client_fail_handshake(c, err_str(err));
}

void client_on_secured(struct client *c)
{
    if (c->is_greeted) {
        go_hello(c);
    } else {
        client_go(c, CLIENT_GREETING);
    }
}

static bool wants_tls(const struct client *c)
{
    enum tls_duty duty = client_tls_duty(c);
    if (duty == TLS_DUTY_NONE || conn_is_secured(&c->conn)) return false;
    if (duty > TLS_DUTY_MAY) return true;
    bool is_given_up = c->host->clear_until_ns > loop_now_ns(delivery_of(c)->loop);
    bool is_offered = (c->offer.extensions & OFFER_STARTTLS) != 0;
    if (is_offered) c->host->has_offered_tls = true;
    if (!is_offered && c->host->has_offered_tls) {
        log_text(LOG_WARN, "starttls_gone", "%s offered STARTTLS before and does not now",
                 c->host->text);
        c->host->has_offered_tls = false; /* once */
    }
    return is_offered && !is_given_up;
}

/* --- AUTH --- */

static void end_auth(struct client *c)
{
    client_auth_destroy(c->auth);
    c->auth = NULL;
}

/* Says a line that may hold a password. */
static void say_secret(struct client *c, struct buf *line, bool is_good)
{
    if (is_good) {
        client_say(c, buf_slice(line));
    } else {
        end_auth(c);
        fail_format(c, "4.7.0 %s answers AUTH with what makes no sense", c->host->text);
    }
    explicit_bzero(line->data, line->cap);
}

static void begin_auth(struct client *c)
{
    const struct config_hop *settings = &c->destination->hop->settings;
    if (!conn_is_secured(&c->conn) && !settings->is_plain_allowed && c->host->unix_path == NULL) {
        fail_format(c, "4.7.11 %s offers no TLS, and a password is not sent in the clear",
                    c->host->text);
        return;
    }
    c->auth = client_auth_create(settings, c->offer.mechanisms & settings->mechanisms);
    if (c->auth == NULL) {
        fail_format(c, "4.7.0 %s offers no AUTH mechanism that may be used", c->host->text);
        return;
    }
    char bytes[CLIENT_AUTH_LINE_BYTES_MAX];
    struct buf line = {bytes, 0, sizeof(bytes), false};
    client_go(c, CLIENT_AUTH);
    say_secret(c, &line, client_auth_begin(c->auth, &line));
}

static void log_refused(const struct client *c)
{
    struct delivery *delivery = delivery_of(c);
    counter_add(&delivery->counters.auth_failures, 1);
    if (!log_begin(LOG_ERROR, "auth_refused")) return;
    log_str("host", c->host->text);
    log_str("route", c->route->name);
    log_str("user", c->destination->hop->settings.username);
    log_str("mechanism", client_auth_mechanism(c->auth));
    log_slice("reply", client_reply_text(&c->reply));
    log_end();
}

/* The words of a reply without its code. */
static struct slice words_of(const struct client_reply *reply)
{
    struct slice text = client_reply_text(reply);
    return text.len > 4 ? slice_from(text, 4) : slice_of("", 0);
}

static void auth_on_reply(struct client *c, unsigned code)
{
    char bytes[CLIENT_AUTH_LINE_BYTES_MAX];
    struct buf line = {bytes, 0, sizeof(bytes), false};
    if (code == 334) {
        client_go(c, CLIENT_AUTH);
        say_secret(c, &line, client_auth_answer(c->auth, words_of(&c->reply), &line));
    } else if (code / 100 == 2) {
        bool is_done = client_auth_is_done(c->auth, words_of(&c->reply));
        end_auth(c);
        if (is_done)
            client_rest(c);
        else
            fail_format(c, "4.7.0 %s did not prove that it knows the password", c->host->text);
    } else if (code / 100 == 5) {
        char text[MESSAGE_REPLY_BYTES_MAX];
        struct buf reason = {text, 0, sizeof(text), false};
        struct slice reply = client_reply_text(&c->reply);
        log_refused(c);
        end_auth(c);
        buf_append_cstr(&reason, "4.7.8 our password was refused: ");
        buf_append(&reason, reply.data, MIN(reply.len, buf_room(&reason)));
        client_refuse_host(c, buf_slice(&reason));
    } else {
        end_auth(c);
        client_fail(c, client_reply_text(&c->reply));
    }
}

/* --- the answers --- */

void client_note_offer(struct client *c)
{
    if (c->state != CLIENT_EHLO) return;
    struct slice line = client_reply_line(&c->reply);
    /* The first line greets: its first word is a domain. */
    if (c->reply.line_count > 1) {
        client_offer_read(&c->offer, line);
    } else {
        const char *blank = memchr(line.data, ' ', line.len);
        if (blank != NULL) line.len = (size_t)(blank - line.data);
        struct slice ours = slice_of_cstr(delivery_of(c)->config->node.hostname);
        c->is_us = c->destination->is_by_mx && slice_eq_nocase(line, ours);
    }
    if (c->reply.code / 100 == 2) client_reply_forget_text(&c->reply);
}

/* EHLO is answered, and TLS is had or not wanted. */
static void after_tls(struct client *c)
{
    struct tls_info info;
    bool is_verified = conn_tls_info(&c->conn, &info) && info.is_peer_verified;
    if (!is_verified) c->offer.extensions &= ~(uint32_t)OFFER_REQUIRETLS;
    if (c->destination->hop->settings.username != NULL)
        begin_auth(c);
    else
        client_rest(c);
}

/* The domain's mail exchanger is this host (RFC 5321 5.1): mail for it would go round. */
static void end_loop(struct client *c)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    buf_append_format(&reason, "5.4.6 mail for %s loops back to this host: %s has our name",
                      c->destination->name, c->host->text);
    destination_hosts_missing(c->destination, OUTCOME_FAILED, buf_slice(&reason));
    client_fail(c, buf_slice(&reason));
}

static void ehlo_on_reply(struct client *c, unsigned code)
{
    bool is_lmtp = c->destination->hop->protocol == HOP_LMTP;
    if (code / 100 == 2 && c->is_us) {
        end_loop(c);
    } else if (code / 100 == 2 && wants_tls(c)) {
        if ((c->offer.extensions & OFFER_STARTTLS) == 0) {
            fail_format(c, "4.7.4 %s offers no STARTTLS", c->host->text);
            return;
        }
        client_go(c, CLIENT_STARTTLS);
        client_say(c, SLICE("STARTTLS\r\n"));
    } else if (code / 100 == 2) {
        after_tls(c);
    } else if (code / 100 == 5 && !is_lmtp && client_tls_duty(c) <= TLS_DUTY_MAY &&
               c->destination->hop->settings.username == NULL) {
        c->offer = (struct client_offer){0};
        client_go(c, CLIENT_HELO);
        say_hello(c, "HELO");
    } else {
        client_fail(c, client_reply_text(&c->reply));
    }
}

static void starttls_on_reply(struct client *c, unsigned code)
{
    if (c->is_desynced) { /* RFC 3207 4: what follows was not said by the secured server */
        fail_format(c, "4.7.0 %s said more than one reply to STARTTLS", c->host->text);
    } else if (code == 220) {
        client_begin_tls(c);
    } else if (client_tls_duty(c) <= TLS_DUTY_MAY) {
        after_tls(c);
    } else {
        char text[MESSAGE_REPLY_BYTES_MAX];
        struct buf reason = {text, 0, sizeof(text), false};
        struct slice reply = client_reply_text(&c->reply);
        buf_append_cstr(&reason, "4.7.4 STARTTLS was refused: ");
        buf_append(&reason, reply.data, MIN(reply.len, buf_room(&reason)));
        client_fail(c, buf_slice(&reason));
    }
}

void client_on_set_up_reply(struct client *c, unsigned code)
{
    switch ((enum client_state)c->state) {
    case CLIENT_GREETING:
        c->is_greeted = true;
        if (code / 100 == 2)
            go_hello(c);
        else
            client_fail(c, client_reply_text(&c->reply));
        break;
    case CLIENT_EHLO:
        ehlo_on_reply(c, code);
        break;
    case CLIENT_HELO:
        if (code / 100 == 2)
            client_rest(c);
        else
            client_fail(c, client_reply_text(&c->reply));
        break;
    case CLIENT_STARTTLS:
        starttls_on_reply(c, code);
        break;
    default:
        ASSERT(c->state == CLIENT_AUTH);
        auth_on_reply(c, code);
        break;
    }
}
