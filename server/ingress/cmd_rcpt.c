/* cmd_rcpt.c - RCPT TO (RFC 5321 4.1.1.3): who may be written to is what the routes say. */
#include "server/ingress/session.h"

/* In one transaction. A list that is longer than we take gets 452 for its rest and comes again
 * (RFC 5321 4.5.3.1.10); one that never ends is no list. */
#define RECIPIENTS_REFUSED_MAX 10000

/* Sets *route_out when a route refuses the recipient with a reply of its own. */
static enum reply_id rcpt_check(struct session *s, const struct command *command,
                                struct mailbox_address *recipient,
                                const struct config_route **route_out)
{
    *route_out = NULL;
    if (s->helo == NULL) return REPLY_NEED_HELO;
    if (s->txn == NULL) return REPLY_NEED_MAIL;
    if (!command->has_keyword) return REPLY_BAD_SYNTAX;
    struct slice rest;
    enum parse_status status = forward_path_parse(command->args, recipient, &rest);
    if (status == PARSE_NOT_ASCII) return REPLY_NOT_ASCII;
    if (status != PARSE_OK) return REPLY_BAD_RECIPIENT;
    enum reply_id bad = rcpt_params_parse(rest, s->is_esmtp);
    if (bad != REPLY_NONE) return bad;
    if (s->txn->recipient_count >= session_config(s)->limits.recipients)
        return REPLY_TOO_MANY_RECIPIENTS;
    const struct config_route *route =
        routing_find(s->ingress->options.routing, recipient->address);
    if (route == NULL) return REPLY_RELAY_DENIED;
    if (route->action == ACTION_REJECT) *route_out = route;
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
    struct mailbox_address recipient = {0};
    const struct config_route *refusing;
    enum reply_id bad = rcpt_check(s, command, &recipient, &refusing);
    if (bad == REPLY_NONE && refusing != NULL) {
        reject_by_route(s, refusing, recipient.address);
        return;
    }
    if (bad == REPLY_NONE) {
        enum add_status status = transaction_add(s->txn, &recipient);
        if (status == ADD_NO_MEMORY) bad = REPLY_TOO_MANY_RECIPIENTS;
        if (status == ADD_DUPLICATE) s->txn->recipient_refused++;
    } else if (s->txn != NULL) {
        s->txn->recipient_refused++;
    }
    if (s->txn != NULL && s->txn->recipient_refused > RECIPIENTS_REFUSED_MAX) {
        session_end(s, REPLY_TOO_MANY_COMMANDS);
        return;
    }
    if (bad != REPLY_NONE) {
        session_log_rejected(s, bad, recipient.address);
        session_reply(s, bad);
        return;
    }
    session_reply(s, REPLY_RECIPIENT_OK);
}
