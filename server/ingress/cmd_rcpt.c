/* cmd_rcpt.c - RCPT TO (RFC 5321 4.1.1.3): who may be written to is what the routes say. */
#include "server/ingress/session.h"

/* In one transaction. A list that is longer than we take gets 452 for its rest and comes again
 * (RFC 5321 4.5.3.1.10); one that never ends is no list. */
#define RECIPIENTS_REFUSED_MAX 10000

struct rcpt {
    struct mailbox_address mailbox;
    struct rcpt_params params;
    const struct config_route *refusing; /* a route that refuses it with a reply of its own */
};

static enum reply_id turn_check(const struct session *s)
{
    if (s->helo == NULL) return REPLY_NEED_HELO;
    if (s->is_probe) return REPLY_NO_DUTY;
    if (s->txn == NULL) return REPLY_NEED_MAIL;
    return s->txn->is_chunked ? REPLY_CHUNKING_BEGUN : REPLY_NONE;
}

static enum reply_id syntax_check(const struct session *s, const struct command *command,
                                  struct rcpt *rcpt)
{
    if (!command->has_keyword) return REPLY_BAD_SYNTAX;
    bool is_utf8 = s->txn->params.is_utf8;
    struct slice rest;
    switch (forward_path_parse(command->args, is_utf8, &rcpt->mailbox, &rest)) {
    case PARSE_OK:
        break;
    case PARSE_NOT_ASCII:
        return REPLY_NOT_ASCII;
    case PARSE_BAD_UTF8:
        return REPLY_BAD_UTF8;
    case PARSE_BAD:
        return REPLY_BAD_RECIPIENT;
    }
    struct param_offer offer;
    session_param_offer(s, &offer);
    return rcpt_params_parse(rest, &offer, is_utf8, &rcpt->params);
}

static enum reply_id rcpt_check(const struct session *s, const struct command *command,
                                struct rcpt *rcpt)
{
    enum reply_id bad = turn_check(s);
    if (bad == REPLY_NONE) bad = syntax_check(s, command, rcpt);
    if (bad != REPLY_NONE) return bad;
    if (s->txn->recipient_count >= session_config(s)->limits.recipients)
        return REPLY_TOO_MANY_RECIPIENTS;
    const struct config_route *route =
        routing_find(s->ingress->options.routing, rcpt->mailbox.address, s->user != NULL);
    if (route == NULL) return REPLY_RELAY_DENIED;
    if (route->action == ACTION_REJECT) rcpt->refusing = route;
    return REPLY_NONE;
}

static enum reply_id rcpt_add(struct session *s, const struct rcpt *rcpt)
{
    uint64_t domains_max = session_config(s)->limits.recipient_domains;
    switch (transaction_add(s->txn, &rcpt->mailbox, &rcpt->params, domains_max)) {
    case ADD_NEW:
        break;
    case ADD_DUPLICATE:
        s->txn->recipient_refused++; /* it counts against a list that never ends */
        break;
    case ADD_NO_MEMORY:
        return REPLY_TOO_MANY_RECIPIENTS;
    case ADD_TOO_MANY_DOMAINS:
        return REPLY_TOO_MANY_DOMAINS;
    }
    return REPLY_NONE;
}

/* The reply of a `reject` route: "550 5.1.1 Text", checked when the configuration was read. */
static void reject_by_route(struct session *s, const struct config_route *route,
                            struct slice recipient)
{
    char text[SESSION_OUTPUT_ROOM_MIN];
    struct buf line = {text, 0, sizeof(text), false};
    buf_append_cstr(&line, route->reject_reply);
    if (session_log(s, LOG_INFO, "rejected")) {
        log_slice("sender", s->txn->sender);
        log_slice("recipient", recipient);
        log_str("route", route->name);
        log_slice("reply", buf_slice(&line));
        log_end();
    }
    buf_append_cstr(&line, "\r\n");
    ASSERT(!line.is_short);
    uint64_t code = 0;
    bool is_code = slice_to_u64(slice_of(line.data, 3), 599, &code);
    ASSERT(is_code);
    counter_add(&session_counters(s)->rejections_by_route, 1);
    s->txn->recipient_refused++;
    session_reply_text(s, (unsigned)code, buf_slice(&line));
}

void cmd_rcpt(struct session *s, const struct command *command)
{
    struct rcpt rcpt = {.refusing = NULL};
    enum reply_id bad = rcpt_check(s, command, &rcpt);
    if (bad == REPLY_NONE && rcpt.refusing != NULL) {
        reject_by_route(s, rcpt.refusing, rcpt.mailbox.address);
        return;
    }
    if (bad == REPLY_NONE) bad = rcpt_add(s, &rcpt);
    if (bad != REPLY_NONE && s->txn != NULL) s->txn->recipient_refused++;
    if (s->txn != NULL && s->txn->recipient_refused > RECIPIENTS_REFUSED_MAX) {
        session_end(s, REPLY_TOO_MANY_COMMANDS);
        return;
    }
    if (bad != REPLY_NONE) {
        session_log_rejected(s, bad, rcpt.mailbox.address);
        session_reply(s, bad);
        return;
    }
    session_reply(s, REPLY_RECIPIENT_OK);
}
