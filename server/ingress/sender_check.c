/* sender_check.c - asks the DNS whether a sender's domain can be answered at all, before MAIL is.
 *
 * The transaction is open already; the session waits in [verify], as it does for a password. A
 * bounce to a domain that does not exist, or that says it takes no mail (RFC 7505 4.2), could never
 * be delivered, so mail from there is refused. */
#include "server/ingress/session.h"

#include "resolver/route.h"
#include "server/smtp/idna.h"

#include <stdlib.h>

struct sender_check {
    struct session *session;
    struct ring_op op;
    struct route_lookup *lookup;
    struct route_result result;
    struct network anywhere[2]; /* whether its addresses may be connected to is no question here */
    char domain[DOMAIN_BYTES_MAX + 1];
};

static enum reply_id reply_of(int result, enum route_status status)
{
    if (result < 0) return REPLY_SENDER_UNKNOWN_YET;
    switch (status) {
    case ROUTE_FOUND:
    case ROUTE_IS_US:
        return REPLY_NONE;
    case ROUTE_NO_DOMAIN:
    case ROUTE_NO_ADDRESS:
        return REPLY_SENDER_NO_DOMAIN;
    case ROUTE_NULL_MX:
        return REPLY_SENDER_NULL_MX;
    case ROUTE_TRY_LATER:
        break;
    }
    return REPLY_SENDER_UNKNOWN_YET;
}

/* On the loop. The session was kept, but its connection may have ended. */
static void on_found(struct ring_op *op)
{
    struct sender_check *check = CONTAINER_OF(op, struct sender_check, op);
    struct session *s = check->session;
    enum reply_id bad = reply_of(op->result, check->result.status);
    ASSERT(s->sender_check == check);
    s->sender_check = NULL;
    free(check);
    if (s->state == SESSION_VERIFY) {
        s->reply_to = VERB_MAIL;
        session_go(s, SESSION_COMMAND);
        mail_answer(s, bad); /* and logs the sender */
        if (bad != REPLY_NONE) session_drop_transaction(s);
    }
    session_wait_over(s);
}

static bool is_wanted(const struct session *s, const struct mailbox_address *sender)
{
    if (!session_config(s)->verifies_sender_domain || s->user != NULL) return false;
    return sender->domain.len > 0 && !sender->is_literal;
}

enum sender_check_begun sender_check_begin(struct session *s, const struct mailbox_address *sender)
{
    if (!is_wanted(s, sender)) return SENDER_CHECK_NOT_WANTED;
    struct sender_check *check = calloc(1, sizeof(*check));
    if (check == NULL) return SENDER_CHECK_IMPOSSIBLE;
    struct buf domain = {check->domain, 0, sizeof(check->domain), false};
    bool is_fine = idna_to_ascii(sender->domain, &domain) &&
                   network_parse(SLICE("0.0.0.0/0"), &check->anywhere[0]) &&
                   network_parse(SLICE("::/0"), &check->anywhere[1]);
    const struct route_query query = {
        .op = &check->op,
        .domain = buf_slice(&domain),
        .port = 25,
        .allowed = check->anywhere,
        .allowed_count = ARRAY_LEN(check->anywhere),
    };
    check->session = s;
    check->op.done = on_found;
    if (!is_fine ||
        route_find(s->ingress->options.resolver, &query, &check->result, &check->lookup) != 0) {
        free(check);
        return SENDER_CHECK_IMPOSSIBLE;
    }
    s->sender_check = check;
    session_go(s, SESSION_VERIFY);
    return SENDER_CHECK_BEGUN;
}

void sender_check_cancel(struct session *s)
{
    if (s->sender_check != NULL) route_cancel(s->sender_check->lookup);
}
