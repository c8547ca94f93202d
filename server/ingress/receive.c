/* receive.c - the data of a message: from the connection into the blocks of the queue.
 *
 * The bytes are scanned where they are and kept as they came. Small messages are copied once, into
 * the put's block; past WINDOW_AFTER_BYTES the kernel receives straight into the blocks. A message
 * that is refused on the way is read on to its true end in constant memory and then answered, so
 * that nothing of it can be taken for a command. */
#include "server/ingress/session.h"

#define WINDOW_AFTER_BYTES 8192 /* the first block is copied: what is at hand already comes so */
#define WINDOW_BYTES_MIN 16384

/* --- the end of the data --- */

static void finish_refused(struct session *s)
{
    enum reply_id refusal = s->txn->refusal;
    session_log_rejected(s, refusal, (struct slice){0});
    session_reply(s, refusal);
    if (s->state == SESSION_CLOSING) return;
    session_go(s, SESSION_COMMAND);
    session_drop_transaction(s);
}

static void end_of_data(struct session *s)
{
    struct transaction *txn = s->txn;
    struct loop *loop = s->conn.host->loop;
    s->reply_to = REPLY_TO_END_OF_DATA;
    txn->data_ended_ns = loop_now_ns(loop);
    ASSERT((txn->put == NULL) == (txn->refusal != REPLY_NONE));
    if (txn->refusal != REPLY_NONE) {
        finish_refused(s);
        return;
    }
    char client[ENDPOINT_TEXT_MAX];
    struct buf text = {client, 0, sizeof(client), false};
    endpoint_write_address(&s->peer, &text);
    const struct envelope envelope = {
        .sender = txn->sender,
        .helo = slice_of_cstr(s->helo),
        .client = buf_slice(&text),
        .listener = slice_of_cstr(session_config(s)->name),
        .received_ms = loop_wall_ms(loop),
        .trace_bytes = txn->trace_bytes,
        .form = BODY_DATA,
        .is_8bit = txn->params.is_8bit || txn->scanner.has_8bit,
        .recipients = txn->recipients,
        .recipient_count = txn->recipient_count,
    };
    ASSERT(txn->body_bytes >= txn->trace_bytes + 3); /* the final ".CRLF" is part of it */
    s->is_in_store = true;
    session_go(s, SESSION_COMMIT);
    queue_put_finish(txn->put, txn->body_bytes - 3, &envelope, &s->store_op);
}

/* --- while it streams by --- */

static enum reply_id find_fault(const struct session *s)
{
    const struct transaction *txn = s->txn;
    const struct config_listener *config = session_config(s);
    uint8_t newlines = DATA_BARE_CR | DATA_BARE_LF;
    if (txn->scanner.faults & DATA_NUL) return REPLY_NUL_IN_MESSAGE;
    if (!txn->is_normalizing && (txn->scanner.faults & newlines) != 0) return REPLY_BARE_NEWLINE;
    if (txn->header.received_count >= HEADER_RECEIVED_MAX) return REPLY_TOO_MANY_HOPS;
    if (txn->header.bytes > HEADER_BYTES_MAX) return REPLY_HEADER_TOO_BIG;
    if (txn->scanner.bytes > config->limits.message_size + 3) return REPLY_TOO_BIG;
    return REPLY_NONE;
}

/* From here on the rest of the message is only read to its end. */
static void refuse(struct session *s, enum reply_id id)
{
    struct transaction *txn = s->txn;
    ASSERT(txn->window == NULL);
    txn->refusal = id;
    queue_put_abort(txn->put);
    txn->put = NULL;
}

/* `bytes` have been looked at and stand in the put's memory. */
static void after_scan(struct session *s, size_t bytes, enum data_status status)
{
    struct transaction *txn = s->txn;
    queue_put_advance(txn->put, bytes);
    txn->body_bytes += bytes;
    enum reply_id fault = find_fault(s);
    if (fault != REPLY_NONE) refuse(s, fault);
    if (status == DATA_END) end_of_data(s);
}

static void wait_for_space(struct session *s)
{
    s->is_in_store = true;
    session_go(s, SESSION_SPACE);
    queue_put_wait(s->txn->put, &s->store_op);
}

static size_t receive_discard(struct session *s, struct slice in)
{
    size_t taken;
    if (data_scan(&s->txn->scanner, in, &taken) == DATA_END) end_of_data(s);
    return taken;
}

/* Moves the carry into the put's blocks. False: a block must become free first. */
static bool carry_drain(struct transaction *txn)
{
    while (txn->carry_len > 0) {
        size_t room;
        char *space = queue_put_space(txn->put, &room);
        if (room == 0) return false;
        size_t count = MIN(room, txn->carry_len);
        memcpy(space, txn->carry, count);
        memmove(txn->carry, txn->carry + count, txn->carry_len - count);
        txn->carry_len = (uint8_t)(txn->carry_len - count);
        queue_put_advance(txn->put, count);
        txn->body_bytes += count;
    }
    return true;
}

/* Runs the rewriting scanner over the front of `in`. Near the end of a block, where the text might
 * not fit when it grows, it goes by way of the carry. */
static enum data_status normalize_some(struct transaction *txn, struct slice in, size_t *taken)
{
    size_t room;
    char *space = queue_put_space(txn->put, &room);
    bool is_tight = room < TRANSACTION_CARRY_BYTES;
    struct buf out = {is_tight ? txn->carry : space, 0, is_tight ? TRANSACTION_CARRY_BYTES : room,
                      false};
    enum data_status status = data_normalize(&txn->scanner, in, &out, taken);
    if (is_tight) {
        txn->carry_len = (uint8_t)out.len;
    } else {
        queue_put_advance(txn->put, out.len);
        txn->body_bytes += out.len;
    }
    return status;
}

/* `bare_newline: normalize`. */
static size_t receive_normalized(struct session *s, struct slice in)
{
    struct transaction *txn = s->txn;
    size_t room = 0, taken;
    if (!carry_drain(txn) || (queue_put_space(txn->put, &room), room == 0)) {
        wait_for_space(s);
        return 0;
    }
    enum data_status status = normalize_some(txn, in, &taken);
    if (!txn->header.is_over) header_scan(&txn->header, slice_of(in.data, taken));
    enum reply_id fault = find_fault(s);
    if (fault != REPLY_NONE) refuse(s, fault);
    if (status != DATA_END) return taken;
    if (txn->put != NULL && !carry_drain(txn)) {
        txn->is_end_carried = true;
        wait_for_space(s);
    } else {
        end_of_data(s);
    }
    return taken;
}

static void open_window(struct session *s, char *space, size_t room)
{
    s->txn->window = space;
    s->txn->window_bytes = room;
    conn_window_open(&s->conn, space, room);
}

static bool is_window_worth_it(const struct transaction *txn, size_t room)
{
    return txn->scanner.bytes >= WINDOW_AFTER_BYTES && room >= WINDOW_BYTES_MIN;
}

size_t receive_input(struct session *s, struct slice in)
{
    struct transaction *txn = s->txn;
    if (txn->put == NULL) return receive_discard(s, in);
    if (txn->is_normalizing) return receive_normalized(s, in);

    size_t room;
    char *space = queue_put_space(txn->put, &room);
    if (room == 0) {
        wait_for_space(s);
        return 0;
    }
    if (is_window_worth_it(txn, room)) {
        open_window(s, space, room);
        return 0;
    }
    size_t taken;
    enum data_status status =
        data_scan(&txn->scanner, slice_of(in.data, MIN(in.len, room)), &taken);
    memcpy(space, in.data, taken);
    if (!txn->header.is_over) header_scan(&txn->header, slice_of(in.data, taken));
    after_scan(s, taken, status);
    return taken;
}

/* The connection has put `bytes` more into the block itself. */
void receive_window(struct session *s, size_t bytes)
{
    struct transaction *txn = s->txn;
    char *space = txn->window;
    ASSERT(space != NULL && bytes <= txn->window_bytes);
    size_t taken;
    enum data_status status = data_scan(&txn->scanner, slice_of(space, bytes), &taken);
    if (taken < bytes) conn_unread(&s->conn, slice_of(space + taken, bytes - taken));
    if (!txn->header.is_over) header_scan(&txn->header, slice_of(space, taken));

    txn->window += bytes;
    txn->window_bytes -= bytes;
    bool is_full = txn->window_bytes == 0;
    bool is_last = status == DATA_END || find_fault(s) != REPLY_NONE || is_full;
    if (is_last) {
        if (!is_full) conn_window_close(&s->conn);
        txn->window = NULL;
    }
    after_scan(s, taken, status);
    if (!is_full || s->state != SESSION_DATA || txn->put == NULL) return;
    size_t room;
    space = queue_put_space(txn->put, &room);
    if (room == 0)
        wait_for_space(s);
    else
        open_window(s, space, room);
}

/* --- the queue's answers --- */

static enum reply_id refusal_of(int err)
{
    if (err == -ERR_FULL || err == -ERR_AGAIN || err == -EDQUOT) return REPLY_STORAGE_FULL;
    if (err == -ERR_TOO_LARGE) return REPLY_TOO_BIG;
    return REPLY_STORE_FAILED;
}

static void log_received(const struct session *s, uint64_t duration_ns)
{
    const struct transaction *txn = s->txn;
    if (!session_log(s, LOG_INFO, "received")) return;
    char id[MESSAGE_ID_TEXT];
    message_id_write(queue_put_id(txn->put), id);
    log_slice("id", slice_of(id, sizeof(id)));
    log_slice("sender", txn->sender);
    log_slice("recipient", txn->recipients[0].address);
    if (txn->recipient_count > 1) log_u64("recipients", txn->recipient_count);
    log_u64("size", data_content_bytes(&txn->scanner));
    log_seconds("duration", duration_ns);
    log_end();
}

static void reply_queued(struct session *s, uint64_t message_id)
{
    char text[64];
    struct buf out = {text, 0, sizeof(text), false};
    char id[MESSAGE_ID_TEXT];
    message_id_write(message_id, id);
    buf_append_cstr(&out, "250 2.0.0 Queued as ");
    buf_append(&out, id, sizeof(id));
    buf_append_cstr(&out, "\r\n");
    session_reply_text(s, 250, buf_slice(&out));
}

static void accepted(struct session *s)
{
    struct transaction *txn = s->txn;
    struct ingress *ingress = s->ingress;
    struct ingress_listener_counters *counters = session_counters(s);
    uint64_t duration_ns = loop_now_ns(s->conn.host->loop) - txn->data_ended_ns;
    histogram_add(&ingress->accept_duration, duration_ns);
    counter_add(&counters->messages, 1);
    counter_add(&counters->message_bytes, data_content_bytes(&txn->scanner));
    log_received(s, duration_ns);
    reply_queued(s, queue_put_id(txn->put));
    s->messages++;
    s->errors = s->junk = 0;

    struct message *message = queue_put_take(txn->put);
    txn->put = NULL;
    if (message != NULL)
        ingress->options.on_message(ingress->options.owner, message);
    else
        ingress->options.on_spill(ingress->options.owner);
}

static void on_commit(struct session *s, int result)
{
    s->reply_to = REPLY_TO_END_OF_DATA;
    if (result == 0) {
        accepted(s);
    } else {
        enum reply_id refusal = refusal_of(result);
        session_log_rejected(s, refusal, (struct slice){0});
        session_reply(s, refusal);
    }
    if (s->state == SESSION_COMMIT)
        session_go(s, s->is_aborted ? SESSION_CLOSING : SESSION_COMMAND);
    session_drop_transaction(s);
}

static void on_space(struct session *s, int result)
{
    /* The time that our disk took is not the client's. */
    uint64_t now_ns = loop_now_ns(s->conn.host->loop);
    s->txn->data_started_ns += now_ns - s->started_ns;
    s->input_ns = now_ns;
    session_go(s, SESSION_DATA);
    if (result != 0)
        refuse(s, refusal_of(result));
    else if (!carry_drain(s->txn)) {
        wait_for_space(s);
        return;
    }
    if (s->txn->is_end_carried) end_of_data(s);
}

void receive_on_store(struct ring_op *op)
{
    struct session *s = CONTAINER_OF(op, struct session, store_op);
    if (s->state == SESSION_COMMIT)
        on_commit(s, op->result);
    else if (s->state == SESSION_SPACE)
        on_space(s, op->result);
    /* else: the session ended while it waited for a block */
}
