/* receive_data.c - the data of a message that comes by DATA: up to CRLF "." CRLF.
 *
 * The bytes are scanned where they are and kept as they came, dots stuffed. Small messages are
 * copied once, into the put's block; past WINDOW_AFTER_BYTES the kernel receives straight into the
 * blocks. A message that is refused on the way is read on to its true end in constant memory and
 * then answered, so that nothing of it can be taken for a command. */
#include "server/ingress/receive.h"

#define WINDOW_AFTER_BYTES 8192 /* the first block is copied: what is at hand already comes so */
#define WINDOW_BYTES_MIN 16384

static size_t receive_discard(struct session *s, struct slice in)
{
    size_t taken;
    if (data_scan(&s->txn->scanner, in, &taken) == DATA_END) receive_end(s, DATA_MARK_BYTES);
    return taken;
}

/* `bare_newline: normalize`. There is room in the put. */
static size_t take_normalized(struct session *s, struct slice in)
{
    struct transaction *txn = s->txn;
    enum data_status status;
    size_t taken = receive_normalize(txn, in, &status);
    if (!txn->header.is_over) header_scan(&txn->header, slice_of(in.data, taken));
    receive_check(s);
    if (status != DATA_END) return taken;
    if (txn->put != NULL && !receive_drain(txn)) {
        txn->is_end_carried = true;
        receive_wait(s);
    } else {
        receive_end(s, DATA_MARK_BYTES);
    }
    return taken;
}

static size_t take_copied(struct session *s, struct slice in, char *space)
{
    struct transaction *txn = s->txn;
    size_t taken;
    enum data_status status = data_scan(&txn->scanner, in, &taken);
    memcpy(space, in.data, taken);
    if (!txn->header.is_over) header_scan(&txn->header, slice_of(in.data, taken));
    receive_advance(txn, taken);
    receive_check(s);
    if (status == DATA_END) receive_end(s, DATA_MARK_BYTES);
    return taken;
}

/* How much of `in` may be taken before it is known where the header section ends: its last bytes
 * wait in the connection while they may begin the line that ends it. At the end the fields that the
 * message lacks are made, and all of `in` stands behind them. */
static struct slice header_part(struct session *s, struct slice in)
{
    bool is_end;
    size_t inside = header_inside(&s->txn->header, in, true, &is_end);
    if (inside > 0 || !is_end) return slice_of(in.data, inside);
    fields_add(s, SLICE(""), SLICE(""));
    return in;
}

static bool is_window_worth_it(const struct transaction *txn, size_t room)
{
    return txn->scanner.bytes >= WINDOW_AFTER_BYTES && room >= WINDOW_BYTES_MIN &&
           !txn->header.wants_fields;
}

size_t receive_input(struct session *s, struct slice in)
{
    struct transaction *txn = s->txn;
    if (txn->header.wants_fields && txn->put != NULL) {
        in = header_part(s, in);
        if (in.len == 0) return 0;
    }
    if (txn->put == NULL) return receive_discard(s, in);

    size_t room = 0;
    char *space = receive_drain(txn) ? queue_put_space(txn->put, &room) : NULL;
    if (room == 0) {
        receive_wait(s);
        return 0;
    }
    if (txn->is_normalizing) return take_normalized(s, in);
    if (is_window_worth_it(txn, room)) {
        receive_open_window(s, space, room);
        return 0;
    }
    return take_copied(s, slice_of(in.data, MIN(in.len, room)), space);
}

/* The connection has put `bytes` more into the block itself. */
void data_window(struct session *s, size_t bytes)
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
    bool is_last = status == DATA_END || receive_fault(s) != REPLY_NONE || is_full;
    if (is_last) {
        if (!is_full) conn_window_close(&s->conn);
        txn->window = NULL;
    }
    receive_advance(txn, taken);
    receive_check(s);
    if (status == DATA_END) receive_end(s, DATA_MARK_BYTES);
    if (!is_full || s->state != SESSION_DATA || txn->put == NULL) return;
    size_t room;
    space = queue_put_space(txn->put, &room);
    if (room == 0)
        receive_wait(s);
    else
        receive_open_window(s, space, room);
}
