/* receive_fields.c - Date and Message-ID, added to a submitted message that lacks them (RFC 6409
 * 8.2 and 8.3). Nothing else of it is changed. */
#include "server/ingress/receive.h"

/* "Date: " DATE CRLF "Message-ID: <" ID "@" HOSTNAME ">" CRLF, with room to spare. */
#define FIELDS_BYTES_MAX (DATE_BYTES + MESSAGE_ID_TEXT + DOMAIN_BYTES_MAX + 32)

static void write_fields(struct session *s, struct buf *out)
{
    const struct header_scanner *header = &s->txn->header;
    struct ingress *ingress = s->ingress;
    if (!header->has_date) {
        buf_append_cstr(out, "Date: ");
        buf_append_slice(out, date_text(&ingress->date, loop_wall_ms(ingress->options.loop)));
        buf_append_cstr(out, "\r\n");
    }
    if (!header->has_message_id) {
        char id[MESSAGE_ID_TEXT];
        message_id_write(queue_put_id(s->txn->put), id);
        buf_append_cstr(out, "Message-ID: <");
        buf_append(out, id, sizeof(id));
        buf_append_char(out, '@');
        buf_append_cstr(out, ingress->options.config->node.hostname);
        buf_append_cstr(out, ">\r\n");
    }
}

void fields_add(struct session *s, struct slice before, struct slice behind)
{
    struct transaction *txn = s->txn;
    ASSERT(txn->header.wants_fields && txn->header.pending.len == 0);
    txn->header.wants_fields = false;
    char text[FIELDS_BYTES_MAX];
    struct buf fields = {text, 0, sizeof(text), false};
    write_fields(s, &fields);
    ASSERT(!fields.is_short);
    if (fields.len == 0) before.len = 0; /* it was only to separate them */

    size_t bytes = before.len + fields.len + behind.len;
    if (bytes == 0) return;
    char *memory = arena_alloc(&txn->arena, bytes);
    if (memory == NULL) {
        receive_refuse(s, REPLY_STORAGE_FULL);
        return;
    }
    struct buf pending = {memory, 0, bytes, false};
    buf_append_slice(&pending, before);
    buf_append_slice(&pending, buf_slice(&fields));
    buf_append_slice(&pending, behind);
    txn->header.pending = buf_slice(&pending);
}
