/* client_body.c - sends a stored message, piece by piece, and its end.
 *
 *     354 -> read a piece -> send it -> ... -> send the last one with ".CRLF" -> the final reply
 *
 * The pieces are the message's own blocks: as they are by DATA when it came by DATA, as one chunk
 * by BDAT when it came by BDAT, and with dots put in between them when it has to change over. So
 * the attempt, and with it the message, is let go only when nothing is being sent from them or read
 * into them. */
#include "server/delivery/client_internal.h"
#include "server/delivery/parcel.h"

static void next_piece(struct client *c);

static void send_pieces(struct client *c, const struct iovec *pieces, uint32_t count, bool is_last)
{
    client_go(c, is_last ? CLIENT_DOT : CLIENT_BODY);
    if (count == 0) {
        conn_flush(&c->conn); /* an empty chunk is its command alone */
        return;
    }
    c->is_sending = true;
    conn_send_pieces(&c->conn, pieces, count);
}

/* The whole piece, and behind the last one what DATA ends with. */
static void send_as_it_is(struct client *c, bool is_last)
{
    static const char end[] = "\r\n.\r\n";
    struct slice bytes = c->body.bytes;
    uint32_t count = 0;
    if (bytes.len > 0) {
        c->pieces[count++] = (struct iovec){(void *)(uintptr_t)bytes.data, bytes.len};
        c->ends_with_lf = bytes.data[bytes.len - 1] == '\n';
    }
    if (is_last && c->script.handover.form == HANDOVER_DATA) {
        /* What came by DATA ends with CRLF, or is empty; the next hop must see the dot anyway. */
        size_t from = c->body_sent == 0 || c->ends_with_lf ? 2 : 0;
        c->pieces[count++] =
            (struct iovec){(void *)(uintptr_t)(end + from), sizeof(end) - 1 - from};
    }
    send_pieces(c, c->pieces, count, is_last);
}

/* What was sent is never ended by a dot, so that nothing of it is delivered. */
static void refuse_bare_newline(struct client *c)
{
    client_settle_all(
        c, OUTCOME_FAILED,
        SLICE("5.6.3 the message holds a CR or LF that stands alone, and the next hop "
              "takes only text (it offers no CHUNKING with BINARYMIME)"));
    client_close(c);
}

/* As much of what is left of the piece as one list can say. */
static void send_stuffed(struct client *c)
{
    struct client_stuffing *stuffing = c->stuffing;
    struct stuffer *stuffer = &stuffing->stuffer;
    bool is_whole = stuff(stuffer, &stuffing->rest);
    bool is_last =
        stuffing->rest.len == 0 && c->body_sent == attempt_message(c->attempt)->body_bytes;
    if (!is_whole || (is_last && !stuff_end(stuffer))) {
        refuse_bare_newline(c);
    } else if (stuffer->count == 0) {
        next_piece(c);
    } else {
        send_pieces(c, stuffer->pieces, stuffer->count, is_last);
    }
}

static void send_piece(struct client *c)
{
    struct slice bytes = c->body.bytes;
    uint64_t body_bytes = attempt_message(c->attempt)->body_bytes;
    c->body_sent += bytes.len;
    if (bytes.len == 0 ? c->body_sent != body_bytes : c->body_sent > body_bytes) {
        parcel_body_is_corrupt(c->attempt->parcel);
        client_close(c);
    } else if (c->stuffing != NULL) {
        c->stuffing->rest = bytes;
        send_stuffed(c);
    } else {
        send_as_it_is(c, c->body_sent == body_bytes);
    }
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
        client_close(c); /* without its end: nothing of it is delivered */
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

/* Says that the chunk follows, or gets ready to put dots in. False: there is no memory. */
static bool begin_form(struct client *c)
{
    char text[sizeof("BDAT  LAST\r\n") + 20];
    struct buf line = {text, 0, sizeof(text), false};
    switch (c->script.handover.form) {
    case HANDOVER_DATA:
        return true;
    case HANDOVER_CHUNK:
        buf_append_cstr(&line, "BDAT ");
        buf_append_u64(&line, attempt_message(c->attempt)->body_bytes);
        buf_append_cstr(&line, " LAST\r\n");
        return conn_write(&c->conn, buf_slice(&line)); /* goes out with the first piece */
    case HANDOVER_STUFF:
        c->stuffing = slab_get(&c->destination->delivery->stuffings);
        if (c->stuffing != NULL) stuffer_init(&c->stuffing->stuffer);
        return c->stuffing != NULL;
    }
    return false;
}

void client_body_start(struct client *c)
{
    client_go(c, CLIENT_BODY);
    if (!begin_form(c)) {
        client_fail(c, SLICE("4.3.1 no memory for output"));
        return;
    }
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
        if (c->stuffing != NULL && c->stuffing->rest.len > 0) {
            send_stuffed(c);
        } else {
            next_piece(c);
        }
    }
}

bool client_body_release(struct client *c)
{
    if (c->is_reading || c->is_body_closing) return false;
    slab_put(&c->destination->delivery->stuffings, c->stuffing);
    c->stuffing = NULL;
    if (!c->is_body_open) return true;
    c->is_body_open = false;
    c->is_body_closing = !body_close(&c->body, &c->body_op);
    return !c->is_body_closing;
}

void client_finish_transaction(struct client *c)
{
    ASSERT(!client_has_undecided(c));
    c->is_finishing = true;
    /* The reply can be here before the loop has told that the last send is done. */
    if (c->is_sending || !client_body_release(c)) return;
    c->is_finishing = false;
    if (c->needs_reset) {
        c->needs_reset = false;
        client_reset(c);
        return;
    }
    struct attempt *attempt = c->attempt;
    c->attempt = NULL;
    c->message_count++;
    client_end_attempt(c, attempt);
    client_rest(c);
}
