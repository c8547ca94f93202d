/* cmd_data.c - DATA (RFC 5321 4.1.1.4): opens the body with our Received field in front. */
#include "server/ingress/session.h"

#include "server/mail/received.h"

/* Puts the trace field where the body begins: it is stored, checked and relayed with it. */
static void write_trace(struct session *s)
{
    struct transaction *txn = s->txn;
    struct ingress *ingress = s->ingress;
    char id[MESSAGE_ID_TEXT];
    message_id_write(queue_put_id(txn->put), id);
    char literal[ENDPOINT_TEXT_MAX + 8];
    struct buf client = {literal, 0, sizeof(literal), false};
    endpoint_write_literal(&s->peer, &client);
    const struct received received = {
        .helo = slice_of_cstr(s->helo),
        .client = buf_slice(&client),
        .hostname = slice_of_cstr(ingress->options.config->node.hostname),
        .protocol = s->is_esmtp ? SLICE("ESMTP") : SLICE("SMTP"),
        .id = slice_of(id, sizeof(id)),
        .recipient = txn->recipient_count == 1 ? txn->recipients[0].address : (struct slice){0},
        .date = date_text(&ingress->date, loop_wall_ms(ingress->options.loop)),
    };
    char text[RECEIVED_BYTES_MAX];
    struct buf out = {text, 0, sizeof(text), false};
    bool is_written = received_write(&received, &out);
    ASSERT(is_written); /* everything in it is bounded */

    size_t room;
    char *space = queue_put_space(txn->put, &room);
    ASSERT(room >= out.len); /* a new put begins with an empty block */
    memcpy(space, out.data, out.len);
    queue_put_advance(txn->put, out.len);
    txn->trace_bytes = (uint32_t)out.len;
    txn->body_bytes = out.len;
}

static enum reply_id data_check(struct session *s, const struct command *command)
{
    if (command->args.len > 0) return REPLY_NO_ARGUMENT;
    if (s->helo == NULL) return REPLY_NEED_HELO;
    if (s->txn == NULL) return REPLY_NEED_MAIL;
    if (s->txn->recipient_count == 0)
        return s->txn->recipient_refused > 0 ? REPLY_NO_VALID_RECIPIENT : REPLY_NEED_RECIPIENT;
    int err = queue_put_begin(s->ingress->options.queue, s->txn->params.size, &s->txn->put);
    if (err != 0) return err == -ERR_FAILED_SYNC ? REPLY_STORE_FAILED : REPLY_STORAGE_FULL;
    return REPLY_NONE;
}

void cmd_data(struct session *s, const struct command *command)
{
    enum reply_id bad = data_check(s, command);
    if (bad != REPLY_NONE) {
        session_log_rejected(s, bad, (struct slice){0});
        session_reply(s, bad);
        return;
    }
    struct transaction *txn = s->txn;
    write_trace(s);
    txn->is_normalizing = session_config(s)->bare_newline == NEWLINE_NORMALIZE;
    data_init(&txn->scanner);
    header_init(&txn->header);
    txn->data_started_ns = loop_now_ns(s->conn.host->loop);
    session_reply(s, REPLY_START_DATA);
    if (s->state == SESSION_COMMAND) session_go(s, SESSION_DATA);
}
