/* trace.c - the Received field in front of a message (RFC 5321 4.4). */
#include "server/ingress/trace.h"
#include "server/ingress/forwarded.h"

#include "server/mail/received.h"

struct slice session_protocol(const struct session *s)
{
    /* Plain SMTP knows no extension, and its name none of the letters for them. */
    static const struct slice ascii[2][2] = {
        {{"ESMTP", 5}, {"ESMTPA", 6}},
        {{"ESMTPS", 6}, {"ESMTPSA", 7}},
    };
    static const struct slice utf8[2][2] = {
        {{"UTF8SMTP", 8}, {"UTF8SMTPA", 9}},
        {{"UTF8SMTPS", 9}, {"UTF8SMTPSA", 10}},
    };
    if (!s->is_esmtp) return SLICE("SMTP");
    bool is_utf8 = s->txn != NULL && s->txn->params.is_utf8;
    bool is_secured = conn_is_secured(&s->conn), has_user = s->user != NULL;
    return is_utf8 ? utf8[is_secured][has_user] : ascii[is_secured][has_user];
}

/* "TLSv1.3 TLS_AES_256_GCM_SHA384", or nothing without TLS. */
static void write_tls(const struct session *s, struct buf *out)
{
    struct tls_info info;
    if (!conn_tls_info(&s->conn, &info)) return;
    buf_append_cstr(out, info.version);
    buf_append_char(out, ' ');
    buf_append_cstr(out, info.cipher);
}

void trace_write(struct session *s)
{
    struct transaction *txn = s->txn;
    struct ingress *ingress = s->ingress;
    char id[MESSAGE_ID_TEXT];
    message_id_write(queue_put_id(txn->put), id);
    char literal[ENDPOINT_TEXT_MAX + 8], tls_text[RECEIVED_WORD_BYTES_MAX];
    struct buf client = {literal, 0, sizeof(literal), false};
    struct buf tls = {tls_text, 0, sizeof(tls_text), false};
    endpoint_write_literal(&s->peer, &client);
    write_tls(s, &tls);
    const struct received received = {
        .helo = forwarded_helo(s),
        .client = buf_slice(&client),
        .hostname = slice_of_cstr(ingress->options.config->node.hostname),
        .protocol = session_protocol(s),
        .tls = buf_slice(&tls),
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
