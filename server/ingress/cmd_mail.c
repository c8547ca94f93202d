/* cmd_mail.c - MAIL FROM (RFC 5321 4.1.1.2) opens a transaction. */
#include "server/auth/users.h"
#include "server/ingress/session.h"
#include "server/smtp/utf8.h"

struct mail {
    struct mailbox_address sender;
    struct mail_params params;
};

void session_param_offer(const struct session *s, struct param_offer *out)
{
    const struct config_listener *config = session_config(s);
    bool is_secured = conn_is_secured(&s->conn);
    *out = (struct param_offer){
        .is_esmtp = s->is_esmtp,
        .has_require_tls = is_secured,
        /* Also behind AUTH, when EHLO names it no more (RFC 4954 5). */
        .has_auth = config->auth.users != NULL && (is_secured || config->auth.is_plain_allowed),
        .size_max = config->limits.message_size,
    };
}

/* Whether it is the time, and this the client, for a MAIL of whatever kind. */
static enum reply_id turn_check(const struct session *s)
{
    const struct config_listener *config = session_config(s);
    if (s->helo == NULL) return REPLY_NEED_HELO;
    if (s->is_probe) return REPLY_NO_DUTY;
    if (s->txn != NULL) return s->txn->is_chunked ? REPLY_CHUNKING_BEGUN : REPLY_NESTED_MAIL;
    if (config->service != SERVICE_SUBMISSION || s->user != NULL) return REPLY_NONE;
    bool needs_tls = config->tls.mode != LISTENER_TLS_NONE && !conn_is_secured(&s->conn) &&
                     !config->auth.is_plain_allowed;
    return needs_tls ? REPLY_AUTH_NEEDS_TLS : REPLY_AUTH_REQUIRED;
}

/* The path is read as UTF-8 when SMTPUTF8 follows it; without, 8-bit bytes in it are refused for
 * what they are. */
static enum reply_id syntax_check(const struct session *s, const struct command *command,
                                  struct mail *mail)
{
    if (!command->has_keyword) return REPLY_BAD_SYNTAX;
    struct param_offer offer;
    session_param_offer(s, &offer);
    bool is_utf8 =
        offer.is_esmtp && utf8_is_needed(command->args) && mail_params_ask_utf8(command->args);
    struct slice rest;
    switch (reverse_path_parse(command->args, is_utf8, &mail->sender, &rest)) {
    case PARSE_OK:
        break;
    case PARSE_NOT_ASCII:
        return REPLY_NOT_ASCII;
    case PARSE_BAD_UTF8:
        return REPLY_BAD_UTF8;
    case PARSE_BAD:
        return REPLY_BAD_SENDER;
    }
    enum reply_id bad = mail_params_parse(rest, &offer, &mail->params);
    if (bad != REPLY_NONE) return bad;
    return mail->sender.is_utf8 && !mail->params.is_utf8 ? REPLY_NOT_ASCII : REPLY_NONE;
}

static bool is_sender_owned(const struct session *s, struct slice sender)
{
    if (s->user == NULL || session_config(s)->auth.senders != SENDERS_OWN) return true;
    const struct users *users = s->ingress->options.security[s->listener_index].users;
    /* A reload may have taken the users away from this listener: then nobody owns anything. */
    return users != NULL && users_owns_sender(users, slice_of_cstr(s->user), sender);
}

static enum reply_id mail_check(const struct session *s, const struct command *command,
                                struct mail *mail)
{
    enum reply_id bad = turn_check(s);
    if (bad == REPLY_NONE) bad = syntax_check(s, command, mail);
    if (bad != REPLY_NONE) return bad;
    if (!is_sender_owned(s, mail->sender.address)) return REPLY_SENDER_NOT_OWNED;
    uint64_t messages_max = session_config(s)->limits.messages;
    if (messages_max > 0 && s->messages >= messages_max) return REPLY_TOO_MANY_MESSAGES;
    if (queue_gate(s->ingress->options.queue) != 0) return REPLY_STORAGE_FULL;
    return REPLY_NONE;
}

/* False when memory is out. */
static bool open_transaction(struct session *s, const struct mail *mail)
{
    struct transaction *txn = transaction_create(&s->ingress->transactions_slab);
    if (txn == NULL) return false;
    if (!transaction_open(txn, mail->sender.address, &mail->params)) {
        transaction_destroy(&s->ingress->transactions_slab, txn);
        return false;
    }
    s->txn = txn;
    return true;
}

void mail_answer(struct session *s, enum reply_id bad)
{
    if (bad == REPLY_NONE) {
        session_reply(s, REPLY_SENDER_OK);
        return;
    }
    s->junk++;
    session_log_rejected(s, bad, (struct slice){0});
    session_reply(s, bad);
}

void cmd_mail(struct session *s, const struct command *command)
{
    struct mail mail = {.params = {.size = 0}};
    enum reply_id bad = mail_check(s, command, &mail);
    if (bad == REPLY_TOO_MANY_MESSAGES) {
        session_end(s, bad);
        return;
    }
    if (bad == REPLY_NONE && !open_transaction(s, &mail)) bad = REPLY_STORAGE_FULL;
    if (bad != REPLY_NONE) {
        mail_answer(s, bad);
        return;
    }
    switch (sender_check_begin(s, &mail.sender)) {
    case SENDER_CHECK_BEGUN:
        break; /* mail_answer() comes */
    case SENDER_CHECK_NOT_WANTED:
        mail_answer(s, REPLY_NONE);
        break;
    case SENDER_CHECK_IMPOSSIBLE:
        mail_answer(s, REPLY_SENDER_UNKNOWN_YET);
        session_drop_transaction(s);
        break;
    }
}
