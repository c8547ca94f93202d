/* client_body.c - sends a stored message: its bytes as they are, piece by piece, and the final dot.
 *
 *     354 -> read a piece -> send it -> ... -> send the last one with ".CRLF" -> the final reply
 *
 * The pieces are the message's own blocks. So the attempt, and with it the message, is let go only
 * when nothing is being sent from them or read into them. */
#include "server/delivery/client_internal.h"
#include "server/delivery/parcel.h"

static void send_piece(struct client *c)
{
    static const char end[] = "\r\n.\r\n";
    struct slice bytes = c->body.bytes;
    uint64_t body_bytes = attempt_message(c->attempt)->body_bytes;
    uint32_t count = 0;
    c->body_sent += bytes.len;
    if (bytes.len == 0 ? c->body_sent != body_bytes : c->body_sent > body_bytes) {
        parcel_body_is_corrupt(c->attempt->parcel);
        client_close(c);
        return;
    }
    if (bytes.len > 0) {
        c->pieces[count++] = (struct iovec){(void *)(uintptr_t)bytes.data, bytes.len};
        c->ends_with_lf = bytes.data[bytes.len - 1] == '\n';
    }
    bool is_last = c->body_sent == body_bytes;
    if (is_last) {
        /* What came by DATA ends with CRLF, or is empty; the next hop must see the dot anyway. */
        size_t from = c->body_sent == 0 || c->ends_with_lf ? 2 : 0;
        c->pieces[count++] =
            (struct iovec){(void *)(uintptr_t)(end + from), sizeof(end) - 1 - from};
    }
    c->is_sending = true;
    client_go(c, is_last ? CLIENT_DOT : CLIENT_BODY);
    conn_send_pieces(&c->conn, c->pieces, count);
}

static void next_piece(struct client *c)
{
    if (body_read(&c->body, &c->body_op)) {
        send_piece(c);
    } else {
        c->is_reading = true;
    }
}

static void on_read(struct client *c, int err)
{
    if (c->state == CLIENT_CLOSING) {
        client_teardown(c);
    } else if (err == -ERR_CORRUPT) {
        parcel_body_is_corrupt(c->attempt->parcel);
        client_close(c); /* without a dot: nothing of it is delivered */
    } else if (err < 0) {
        client_fail(c, SLICE("4.3.0 the stored message cannot be read now"));
    } else {
        send_piece(c);
    }
}

static void on_body_op(struct ring_op *op)
{
    struct client *c = CONTAINER_OF(op, struct client, body_op);
    if (c->is_reading) {
        c->is_reading = false;
        on_read(c, op->result);
        return;
    }
    ASSERT(c->is_body_closing);
    c->is_body_closing = false;
    if (c->state == CLIENT_CLOSING) {
        client_teardown(c);
    } else {
        client_finish_transaction(c);
    }
}

void client_body_init(struct client *c)
{
    c->body_op.done = on_body_op;
}

void client_body_start(struct client *c)
{
    client_go(c, CLIENT_BODY);
    c->body_sent = 0;
    c->ends_with_lf = false;
    body_open(&c->body, c->destination->delivery->queue, attempt_message(c->attempt));
    c->is_body_open = true;
    next_piece(c);
}

void client_body_on_sent(struct client *c)
{
    c->is_sending = false;
    if (c->is_finishing) {
        client_finish_transaction(c);
    } else if (c->state == CLIENT_BODY) {
        next_piece(c);
    }
}

bool client_body_release(struct client *c)
{
    if (c->is_reading || c->is_body_closing) return false;
    if (!c->is_body_open) return true;
    c->is_body_open = false;
    c->is_body_closing = !body_close(&c->body, &c->body_op);
    return !c->is_body_closing;
}

void client_finish_transaction(struct client *c)
{
    ASSERT(c->attempt->undecided == 0);
    c->is_finishing = true;
    /* The reply can be here before the loop has told that the last send is done. */
    if (c->is_sending || !client_body_release(c)) return;
    struct attempt *attempt = c->attempt;
    c->attempt = NULL;
    c->is_finishing = false;
    c->message_count++;
    attempt_end(attempt);
    client_rest(c);
}
