/* receive.c - the content of a message on its way into the queue, whichever way it comes.
 *
 * The happy path: receive_begin(), then bytes into the put's blocks (receive_data.c,
 * receive_chunk.c), receive_end() with the envelope, and the queue's answer becomes the reply. A
 * message that is refused on the way loses its put at once; its rest is read in constant memory. */
#include "server/ingress/receive.h"

#include "ring/base/crash_point.h"
#include "server/ingress/forwarded.h"

#include "server/ingress/trace.h"
#include "server/smtp/raw.h"

/* --- the beginning --- */

enum reply_id receive_begin(struct session *s, uint64_t size_hint)
{
    struct transaction *txn = s->txn;
    ASSERT(txn->put == NULL);
    int err = queue_put_begin(s->ingress->options.queue, size_hint, &txn->put);
    if (err != 0) return err == -ERR_FAILED_SYNC ? REPLY_STORE_FAILED : REPLY_STORAGE_FULL;
    const struct config_listener *config = session_config(s);
    trace_write(s);
    bool is_binary = txn->params.body == BODY_TYPE_BINARYMIME;
    txn->is_normalizing = config->bare_newline == NEWLINE_NORMALIZE && !is_binary;
    header_init(&txn->header);
    txn->header.wants_fields = config->service == SERVICE_SUBMISSION;
    return REPLY_NONE;
}

/* --- the end of the content --- */

static void finish_refused(struct session *s)
{
    enum reply_id refusal = s->txn->refusal;
    session_log_rejected(s, refusal, (struct slice){0});
    session_reply(s, refusal);
    if (s->state == SESSION_CLOSING) return;
    session_go(s, SESSION_COMMAND);
    session_drop_transaction(s);
}

/* `client` is what the client's address is written to. */
static struct envelope envelope_of(struct session *s, struct buf *client)
{
    const struct transaction *txn = s->txn;
    const struct mail_params *params = &txn->params;
    endpoint_write_address(&s->peer, client);
    bool is_binary = params->body == BODY_TYPE_BINARYMIME && txn->scanner.faults != 0;
    return (struct envelope){
        .sender = txn->sender,
        .helo = forwarded_helo(s),
        .client = buf_slice(client),
        .listener = slice_of_cstr(session_config(s)->name),
        .received_ms = loop_wall_ms(s->conn.host->loop),
        .trace_bytes = txn->trace_bytes,
        .form = txn->is_chunked ? BODY_RAW : BODY_DATA,
        .user = s->user != NULL ? slice_of_cstr(s->user) : (struct slice){0},
        .envid = params->envid,
        .ret = (enum dsn_return)params->ret,
        .is_8bit = txn->scanner.has_8bit,
        .is_binary = is_binary,
        .is_utf8 = params->is_utf8,
        .has_utf8_header = txn->header.has_8bit,
        .requires_tls = params->requires_tls,
        .recipients = txn->recipients,
        .recipient_count = txn->recipient_count,
    };
}

void receive_end(struct session *s, size_t mark_bytes)
{
    struct transaction *txn = s->txn;
    s->reply_to = REPLY_TO_END_OF_DATA;
    txn->data_ended_ns = loop_now_ns(s->conn.host->loop);
    ASSERT((txn->put == NULL) == (txn->refusal != REPLY_NONE));
    if (txn->refusal != REPLY_NONE) {
        finish_refused(s);
        return;
    }
    char text[ENDPOINT_TEXT_MAX];
    struct buf client = {text, 0, sizeof(text), false};
    const struct envelope envelope = envelope_of(s, &client);
    ASSERT(txn->body_bytes >= txn->trace_bytes + mark_bytes);
    s->is_in_store = true;
    session_go(s, SESSION_COMMIT);
    queue_put_finish(txn->put, txn->body_bytes - mark_bytes, &envelope, &s->store_op);
}

/* --- while it streams by --- */

enum reply_id receive_fault(const struct session *s)
{
    const struct transaction *txn = s->txn;
    const struct config_listener *config = session_config(s);
    uint8_t newlines = DATA_BARE_CR | DATA_BARE_LF, faults = txn->scanner.faults;
    uint64_t mark_bytes = txn->is_chunked ? 0 : DATA_MARK_BYTES;
    if (txn->params.body == BODY_TYPE_BINARYMIME) faults = 0; /* it may hold whatever it likes */
    if (faults & DATA_NUL) return REPLY_NUL_IN_MESSAGE;
    if (!txn->is_normalizing && (faults & newlines) != 0) return REPLY_BARE_NEWLINE;
    if (txn->header.received_count >= HEADER_RECEIVED_MAX) return REPLY_TOO_MANY_HOPS;
    if (txn->header.bytes > HEADER_BYTES_MAX) return REPLY_HEADER_TOO_BIG;
    if (txn->scanner.bytes > config->limits.message_size + mark_bytes) return REPLY_TOO_BIG;
    return REPLY_NONE;
}

void receive_refuse(struct session *s, enum reply_id id)
{
    struct transaction *txn = s->txn;
    ASSERT(txn->window == NULL);
    txn->refusal = id;
    queue_put_abort(txn->put);
    txn->put = NULL;
}

void receive_check(struct session *s)
{
    enum reply_id fault = receive_fault(s);
    if (fault != REPLY_NONE) receive_refuse(s, fault);
}

void receive_advance(struct transaction *txn, size_t bytes)
{
    queue_put_advance(txn->put, bytes);
    txn->body_bytes += bytes;
}

void receive_wait(struct session *s)
{
    s->is_in_store = true;
    s->space_from = s->state;
    session_go(s, SESSION_SPACE);
    queue_put_wait(s->txn->put, &s->store_op);
}

/* Copies as much of `bytes` as the next block has room for. 0: a block must become free first. */
static size_t store_some(struct transaction *txn, struct slice bytes)
{
    size_t room;
    char *space = queue_put_space(txn->put, &room);
    size_t count = MIN(room, bytes.len);
    if (count == 0) return 0;
    memcpy(space, bytes.data, count);
    receive_advance(txn, count);
    return count;
}

bool receive_drain(struct transaction *txn)
{
    while (txn->carry_len > 0) {
        size_t count = store_some(txn, slice_of(txn->carry, txn->carry_len));
        if (count == 0) return false;
        memmove(txn->carry, txn->carry + count, txn->carry_len - count);
        txn->carry_len = (uint8_t)(txn->carry_len - count);
    }
    struct slice *pending = &txn->header.pending;
    while (pending->len > 0) {
        size_t count = store_some(txn, *pending);
        if (count == 0) return false;
        *pending = slice_from(*pending, count);
    }
    return true;
}

/* Near the end of a block, where the text might not fit when it grows, it goes by way of the
 * carry. */
size_t receive_normalize(struct transaction *txn, struct slice in, enum data_status *status_out)
{
    size_t room, taken;
    char *space = queue_put_space(txn->put, &room);
    ASSERT(room > 0 && txn->carry_len == 0);
    bool is_tight = room < TRANSACTION_CARRY_BYTES;
    struct buf out = {is_tight ? txn->carry : space, 0, is_tight ? TRANSACTION_CARRY_BYTES : room,
                      false};
    *status_out = DATA_MORE;
    if (txn->is_chunked)
        taken = raw_normalize(&txn->scanner, in, &out);
    else
        *status_out = data_normalize(&txn->scanner, in, &out, &taken);
    if (is_tight)
        txn->carry_len = (uint8_t)out.len;
    else
        receive_advance(txn, out.len);
    return taken;
}

void receive_open_window(struct session *s, char *space, size_t bytes)
{
    s->txn->window = space;
    s->txn->window_bytes = bytes;
    conn_window_open(&s->conn, space, bytes);
}

void receive_window(struct session *s, size_t bytes)
{
    if (s->txn->is_chunked)
        chunk_window(s, bytes);
    else
        data_window(s, bytes);
}

/* --- the queue's answers --- */

static enum reply_id refusal_of(int err)
{
    if (err == -ERR_FULL || err == -ERR_AGAIN || err == -EDQUOT) return REPLY_STORAGE_FULL;
    if (err == -ERR_TOO_LARGE) return REPLY_TOO_BIG;
    return REPLY_STORE_FAILED;
}

/* As the client sent it: neither our fields nor the end of the data are counted. */
static uint64_t content_bytes(const struct transaction *txn)
{
    return txn->is_chunked ? txn->scanner.bytes : data_content_bytes(&txn->scanner);
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
    log_u64("size", content_bytes(txn));
    log_seconds("duration", duration_ns);
    forwarded_log(s);
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
    counter_add(&counters->message_bytes, content_bytes(txn));
    log_received(s, duration_ns);
    CRASH_POINT("accept");
    reply_queued(s, queue_put_id(txn->put));
    CRASH_POINT("accepted");
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
    struct transaction *txn = s->txn;
    /* The time that our disk took is not the client's. */
    uint64_t now_ns = loop_now_ns(s->conn.host->loop);
    txn->data_started_ns += now_ns - s->started_ns;
    s->input_ns = now_ns;
    session_go(s, (enum session_state)s->space_from);
    if (result != 0) {
        receive_refuse(s, refusal_of(result));
    } else if (!receive_drain(txn)) {
        receive_wait(s);
        return;
    }
    if (s->state == SESSION_CHUNK && txn->chunk_left == 0)
        chunk_end(s);
    else if (s->state == SESSION_DATA && txn->is_end_carried)
        receive_end(s, DATA_MARK_BYTES);
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
