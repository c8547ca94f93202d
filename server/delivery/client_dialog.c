/* client_dialog.c - what a client says in a transaction, and how it takes the answers.
 *
 * 2yz and 3yz go on, 4yz defers, 5yz fails; 421 ends the connection wherever it comes (RFC 5321
 * 4.2.1, 3.8). An answer that fits none of that is a protocol error: nothing after it is sure. */
#include "server/delivery/client_internal.h"
#include "server/delivery/parcel.h"

#define COMMANDS_BYTES_MAX CONN_OUTPUT_BYTES

static void fail_protocol(struct client *c)
{
    client_fail_waiting(c, "4.5.0", "an unfitting answer", 0);
}

static enum outcome outcome_of(unsigned code)
{
    return code / 100 == 5 ? OUTCOME_FAILED : OUTCOME_DEFERRED;
}

/* --- a transaction --- */

void client_fill(struct client *c)
{
    char bytes[COMMANDS_BYTES_MAX];
    struct buf out = {bytes, 0, MIN(sizeof(bytes), conn_output_room(&c->conn)), false};
    client_script_fill(&c->script, &out);
    if (out.len > 0) client_say(c, buf_slice(&out));
}

void client_begin(struct client *c, struct attempt *attempt)
{
    ASSERT(c->state == CLIENT_IDLE && c->attempt == NULL);
    struct handover handover;
    uint32_t chosen = client_choose(c, attempt, &handover);
    if (chosen == 0) {
        attempt_end(attempt);
        return;
    }
    list_remove(&c->node);
    c->attempt = attempt;
    c->deadline_ns =
        loop_now_ns(c->destination->delivery->loop) + CLIENT_TRANSACTION_MS_MAX * NS_PER_MS;
    client_script_init(&c->script, attempt_message(attempt), attempt->recipients, chosen, &c->offer,
                       &handover);
    c->lmtp_at = 0;
    client_go(c, CLIENT_ENVELOPE);
    client_fill(c);
}

/* The transaction came to no final dot: what the server holds of it is dropped. */
void client_reset(struct client *c)
{
    struct attempt *attempt = c->attempt;
    ASSERT(!client_has_undecided(c));
    c->attempt = NULL;
    client_go(c, CLIENT_RSET);
    client_say(c, SLICE("RSET\r\n"));
    client_end_attempt(c, attempt);
}

static void mail_on_reply(struct client *c, unsigned code)
{
    if (code / 100 == 3) {
        fail_protocol(c);
    } else if (code / 100 != 2) {
        client_settle_all(c, outcome_of(code), client_reply_text(&c->reply));
    }
}

static void rcpt_on_reply(struct client *c, unsigned code, uint32_t at)
{
    bool has_result = c->attempt->outcomes[at] != OUTCOME_NONE; /* MAIL was refused */
    if (code / 100 == 3) {
        fail_protocol(c);
    } else if (code / 100 == 2) {
        if (!has_result) c->script.accepted_count++;
    } else if (!has_result) {
        /* 552 here means too many recipients: try again (RFC 5321 4.5.3.1.10). */
        enum outcome outcome = code == 552 ? OUTCOME_DEFERRED : outcome_of(code);
        attempt_result(c->attempt, at, outcome, client_reply_text(&c->reply), c->host);
    }
}

static void data_on_reply(struct client *c, unsigned code)
{
    if (code == 354) {
        if (c->script.accepted_count > 0) {
            client_body_start(c);
            return;
        }
        struct attempt *attempt = c->attempt;
        c->attempt = NULL;
        client_go(c, CLIENT_EMPTY_DOT);
        client_say(c, SLICE(".\r\n"));
        client_end_attempt(c, attempt);
    } else if (code / 100 == 4 || code / 100 == 5) {
        client_settle_chosen(c, outcome_of(code), client_reply_text(&c->reply));
        client_reset(c);
    } else {
        fail_protocol(c);
    }
}

static void envelope_on_reply(struct client *c, unsigned code)
{
    uint32_t recipient = 0;
    enum script_command command = client_script_command(&c->script, c->script.answered, &recipient);
    c->script.answered++;
    switch (command) {
    case SCRIPT_MAIL:
        mail_on_reply(c, code);
        break;
    case SCRIPT_RCPT:
        rcpt_on_reply(c, code, recipient);
        break;
    case SCRIPT_DATA:
        data_on_reply(c, code);
        return;
    }
    if (c->state == CLIENT_CLOSING) return;

    /* With MAIL refused, only what was already sent is still answered. */
    bool is_refused = !client_has_undecided(c);
    if (!is_refused) client_fill(c);
    if (c->state == CLIENT_CLOSING) return;
    if (is_refused && c->script.answered == c->script.sent) {
        client_reset(c);
    } else if (client_script_waits_for_chunk(&c->script)) {
        client_body_start(c);
    } else if (client_script_waits_for_data(&c->script)) {
        client_go(c, CLIENT_DATA);
    } else {
        client_go(c, CLIENT_ENVELOPE); /* the time is for each command */
    }
}

/* An answer before the message was complete: its words are kept, but what the two sides have said
 * no longer fits together. */
static void body_on_reply(struct client *c, unsigned code)
{
    (void)code;
    client_fail(c, client_reply_text(&c->reply));
}

static void count_delivered(struct client *c)
{
    struct delivery *delivery = c->destination->delivery;
    const struct message *message = attempt_message(c->attempt);
    counter_add(&delivery->counters.messages_sent, 1);
    if (message->accepted_ns != 0) {
        histogram_add(&delivery->counters.latency,
                      loop_now_ns(delivery->loop) - message->accepted_ns);
    }
}

/* Who took it for good tells so itself, when it offers DSN (RFC 3461 5.2.1). */
static enum outcome outcome_of_success(const struct client *c)
{
    if (c->destination->hop->protocol == HOP_LMTP) return OUTCOME_DELIVERED;
    return (c->offer.extensions & OFFER_DSN) != 0 ? OUTCOME_PASSED_ON : OUTCOME_RELAYED;
}

static void end_transaction(struct client *c, bool is_delivered)
{
    if (is_delivered) count_delivered(c);
    /* After a refused chunk the transaction is still open at the server (RFC 3030 section 2). */
    c->needs_reset = c->script.handover.form == HANDOVER_CHUNK && !is_delivered;
    client_finish_transaction(c);
}

/* The next recipient that was accepted and has no answer yet. */
static uint32_t lmtp_next(const struct client *c)
{
    uint32_t at = c->lmtp_at;
    while (at < c->script.recipient_count && c->attempt->outcomes[at] != OUTCOME_NONE)
        at++;
    return at;
}

uint32_t client_lmtp_left(const struct client *c)
{
    uint32_t left = 0;
    for (uint32_t at = c->lmtp_at; at < c->script.recipient_count; at++)
        left += c->attempt->outcomes[at] == OUTCOME_NONE;
    return left;
}

static void lmtp_dot_on_reply(struct client *c, unsigned code)
{
    uint32_t at = lmtp_next(c);
    ASSERT(at < c->script.recipient_count);
    bool is_taken = code / 100 == 2;
    attempt_result(c->attempt, at, is_taken ? OUTCOME_DELIVERED : outcome_of(code),
                   client_reply_text(&c->reply), c->host);
    c->lmtp_at = at + 1;
    if (client_lmtp_left(c) > 0) {
        client_go(c, CLIENT_DOT); /* the time is for each answer */
        return;
    }
    bool is_delivered = false;
    for (uint32_t i = 0; i < c->script.recipient_count; i++)
        is_delivered = is_delivered || c->attempt->outcomes[i] == OUTCOME_DELIVERED;
    end_transaction(c, is_delivered);
}

static void dot_on_reply(struct client *c, unsigned code)
{
    if (code / 100 == 3) {
        fail_protocol(c);
        return;
    }
    if (c->destination->hop->protocol == HOP_LMTP) {
        lmtp_dot_on_reply(c, code);
        return;
    }
    bool is_taken = code / 100 == 2;
    client_settle_chosen(c, is_taken ? outcome_of_success(c) : outcome_of(code),
                         client_reply_text(&c->reply));
    end_transaction(c, is_taken);
}

static void empty_dot_on_reply(struct client *c, unsigned code)
{
    (void)code; /* taken or not: there was nobody to deliver to */
    c->message_count++;
    client_rest(c);
}

static void rset_on_reply(struct client *c, unsigned code)
{
    if (code / 100 != 2) {
        client_close(c);
        return;
    }
    c->message_count++;
    client_rest(c);
}

static void (*const on_reply[CLIENT_STATES])(struct client *c, unsigned code) = {
    [CLIENT_GREETING] = client_on_set_up_reply,
    [CLIENT_EHLO] = client_on_set_up_reply,
    [CLIENT_HELO] = client_on_set_up_reply,
    [CLIENT_STARTTLS] = client_on_set_up_reply,
    [CLIENT_AUTH] = client_on_set_up_reply,
    [CLIENT_ENVELOPE] = envelope_on_reply,
    [CLIENT_DATA] = envelope_on_reply,
    [CLIENT_BODY] = body_on_reply,
    [CLIENT_DOT] = dot_on_reply,
    [CLIENT_EMPTY_DOT] = empty_dot_on_reply,
    [CLIENT_RSET] = rset_on_reply,
};

void client_on_reply(struct client *c)
{
    unsigned code = c->reply.code;
    ASSERT(on_reply[c->state] != NULL);
    if (code == 421) {
        client_fail(c, client_reply_text(&c->reply));
    } else {
        on_reply[c->state](c, code);
    }
}
