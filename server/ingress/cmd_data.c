/* cmd_data.c - DATA (RFC 5321 4.1.1.4). */
#include "server/ingress/receive.h"

static enum reply_id data_check(const struct session *s, const struct command *command)
{
    const struct transaction *txn = s->txn;
    if (command->args.len > 0) return REPLY_NO_ARGUMENT;
    if (s->helo == NULL) return REPLY_NEED_HELO;
    if (txn == NULL) return REPLY_NEED_MAIL;
    if (txn->is_chunked) return REPLY_CHUNKING_BEGUN;
    if (txn->params.body == BODY_TYPE_BINARYMIME) return REPLY_BINARY_NEEDS_BDAT;
    if (txn->recipient_count == 0)
        return txn->recipient_refused > 0 ? REPLY_NO_VALID_RECIPIENT : REPLY_NEED_RECIPIENT;
    return REPLY_NONE;
}

void cmd_data(struct session *s, const struct command *command)
{
    enum reply_id bad = data_check(s, command);
    if (bad == REPLY_NONE) bad = receive_begin(s, s->txn->params.size);
    if (bad != REPLY_NONE) {
        session_log_rejected(s, bad, (struct slice){0});
        session_reply(s, bad);
        return;
    }
    data_init(&s->txn->scanner);
    s->txn->data_started_ns = loop_now_ns(s->conn.host->loop);
    session_reply(s, REPLY_START_DATA);
    if (s->state == SESSION_COMMAND) session_go(s, SESSION_DATA);
}
