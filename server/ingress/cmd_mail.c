/* cmd_mail.c - MAIL FROM (RFC 5321 4.1.1.2) opens a transaction. */
#include "server/ingress/session.h"

static enum reply_id mail_check(struct session *s, const struct command *command,
                                struct mailbox_address *sender, struct mail_params *params)
{
    if (s->helo == NULL) return REPLY_NEED_HELO;
    if (s->txn != NULL) return REPLY_NESTED_MAIL;
    if (!command->has_keyword) return REPLY_BAD_SYNTAX;
    struct slice rest;
    enum parse_status status = reverse_path_parse(command->args, sender, &rest);
    if (status == PARSE_NOT_ASCII) return REPLY_NOT_ASCII;
    if (status != PARSE_OK) return REPLY_BAD_SENDER;
    const struct config_listener *config = session_config(s);
    enum reply_id bad = mail_params_parse(rest, s->is_esmtp, config->limits.message_size, params);
    if (bad != REPLY_NONE) return bad;
    if (config->limits.messages > 0 && s->messages >= config->limits.messages)
        return REPLY_TOO_MANY_COMMANDS;
    if (queue_gate(s->ingress->options.queue) != 0) return REPLY_STORAGE_FULL;
    return REPLY_NONE;
}

/* False when memory is out. */
static bool open_transaction(struct session *s, const struct mailbox_address *sender,
                             const struct mail_params *params)
{
    struct transaction *txn = transaction_create(&s->ingress->transactions_slab);
    if (txn == NULL) return false;
    txn->params = *params;
    if (sender->address.len > 0) {
        char *copy = arena_copy(&txn->arena, sender->address.data, sender->address.len);
        if (copy == NULL) {
            transaction_destroy(&s->ingress->transactions_slab, txn);
            return false;
        }
        txn->sender = slice_of(copy, sender->address.len);
    }
    s->txn = txn;
    return true;
}

void cmd_mail(struct session *s, const struct command *command)
{
    struct mailbox_address sender;
    struct mail_params params;
    enum reply_id bad = mail_check(s, command, &sender, &params);
    if (bad == REPLY_TOO_MANY_COMMANDS) {
        session_end(s, bad);
        return;
    }
    if (bad == REPLY_NONE && !open_transaction(s, &sender, &params)) bad = REPLY_STORAGE_FULL;
    if (bad != REPLY_NONE) {
        s->junk++;
        session_log_rejected(s, bad, (struct slice){0});
        session_reply(s, bad);
        return;
    }
    session_reply(s, REPLY_SENDER_OK);
}
