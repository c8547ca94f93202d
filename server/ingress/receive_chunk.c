/* receive_chunk.c - the octets of BDAT (RFC 3030), from the connection into the put's blocks.
 *
 * How many octets come is known, so the kernel receives them straight into the blocks from the
 * beginning, unless they are at hand already; a window never reaches past the chunk, so that the
 * command behind it is not in it. The octets of a chunk that is refused are passed over. */
#include "server/ingress/receive.h"

#include "server/smtp/raw.h"

#define WINDOW_BYTES_MIN 16384

_Static_assert(2 * HEADER_LOOK_BYTES_MAX <= TRANSACTION_CARRY_BYTES,
               "what is held of a line fits into the carry, however it grows");

/* --- the end of a chunk --- */

static void reply_taken(struct session *s)
{
    char text[64];
    struct buf out = {text, 0, sizeof(text), false};
    buf_append_cstr(&out, "250 2.0.0 ");
    buf_append_u64(&out, s->txn->scanner.chunk_bytes);
    buf_append_cstr(&out, " octets received\r\n");
    session_go(s, SESSION_COMMAND);
    session_reply_text(s, 250, buf_slice(&out));
}

/* The transaction stays, so that the chunks that may be on their way already get their answers;
 * octets that belonged to none leave nothing behind. */
static void reply_refused(struct session *s)
{
    struct transaction *txn = s->txn;
    session_log_rejected(s, txn->refusal, (struct slice){0});
    txn->is_chunk_refused = true;
    session_reply(s, txn->refusal);
    if (s->state == SESSION_CLOSING) return;
    session_go(s, SESSION_COMMAND);
    if (!txn->is_chunked) session_drop_transaction(s);
}

/* The content is over: what waited to see what follows it is written now. */
static void content_end(struct session *s)
{
    struct transaction *txn = s->txn;
    struct header_scanner *header = &txn->header;
    if (txn->is_normalizing) {
        struct buf out = {txn->carry, 0, sizeof(txn->carry), false};
        raw_normalize_end(&txn->scanner, &out);
        txn->carry_len = (uint8_t)out.len;
    } else {
        raw_end(&txn->scanner);
    }
    receive_check(s);
    if (txn->put == NULL || !header->wants_fields) return;
    /* A line of the header that does not end is ended; what cannot be a field stays behind. */
    bool is_cut = !header_is_at_line_start(header);
    fields_add(s, is_cut ? SLICE("\r\n") : SLICE(""), SLICE(""));
}

static bool content_is_stored(struct session *s)
{
    return s->txn->put == NULL || receive_drain(s->txn);
}

static void release_held(struct session *s, enum header_line kind);

void chunk_end(struct session *s)
{
    struct transaction *txn = s->txn;
    s->reply_to = VERB_BDAT;
    bool is_stored = content_is_stored(s);
    if (is_stored && txn->is_last_chunk && !txn->is_end_carried && txn->put != NULL) {
        txn->is_end_carried = true;
        if (txn->header.held_len > 0) release_held(s, HEADER_LINE_END);
        if (txn->put != NULL) content_end(s);
        is_stored = content_is_stored(s);
    }
    if (!is_stored)
        receive_wait(s);
    else if (txn->is_last_chunk && txn->is_chunked)
        receive_end(s, 0);
    else if (txn->put == NULL)
        reply_refused(s);
    else
        reply_taken(s);
}

/* --- the header section of a submission --- */

/* The held front of a line has been decided on. It has been counted as taken, but not been looked
 * at yet. */
static void release_held(struct session *s, enum header_line kind)
{
    struct transaction *txn = s->txn;
    struct header_scanner *header = &txn->header;
    struct slice held = slice_of(header->held, header->held_len);
    ASSERT(txn->carry_len == 0 && header->pending.len == 0);
    struct buf out = {txn->carry, 0, sizeof(txn->carry), false};
    if (txn->is_normalizing) {
        size_t taken = raw_normalize(&txn->scanner, held, &out);
        ASSERT(taken == held.len);
        if (txn->is_end_carried) raw_normalize_end(&txn->scanner, &out);
    } else {
        raw_scan(&txn->scanner, held);
        buf_append_slice(&out, held);
    }
    header->held_len = 0;
    if (!header->is_over) header_scan(header, held);
    if (kind == HEADER_LINE_INSIDE)
        txn->carry_len = (uint8_t)out.len;
    else
        fields_add(s, SLICE(""), buf_slice(&out));
    if (txn->put != NULL) receive_check(s);
}

static void hold(struct transaction *txn, struct slice bytes)
{
    struct header_scanner *header = &txn->header;
    ASSERT(header->held_len + bytes.len <= sizeof(header->held));
    memcpy(header->held + header->held_len, bytes.data, bytes.len);
    header->held_len = (uint8_t)(header->held_len + bytes.len);
    txn->chunk_left -= bytes.len;
}

/* What is known of the line that begins with what is held and goes on with `in`. */
static enum header_line held_line(const struct header_scanner *header, struct slice in)
{
    char text[HEADER_LOOK_BYTES_MAX];
    struct buf line = {text, 0, sizeof(text), false};
    buf_append(&line, header->held, header->held_len);
    buf_append(&line, in.data, MIN(in.len, buf_room(&line)));
    return header_line_of(buf_slice(&line), false);
}

/* The line that begins with what is held: false while nothing can be said of it. */
static bool decide_on_held(struct session *s, struct slice in)
{
    enum header_line kind = held_line(&s->txn->header, in);
    if (kind != HEADER_LINE_UNKNOWN) release_held(s, kind);
    return kind != HEADER_LINE_UNKNOWN;
}

/* As in receive_data.c, but the last bytes of a chunk cannot wait in the connection, where the next
 * command follows them: they are held. Shortens `in` to what may be taken now. Returns how much of
 * it is held instead. */
static size_t header_part(struct session *s, struct slice *in)
{
    struct transaction *txn = s->txn;
    struct header_scanner *header = &txn->header;
    bool is_end = false, is_whole = in->len == txn->chunk_left;
    size_t inside = 0;
    if (header->held_len == 0 || decide_on_held(s, *in)) {
        if (!header->wants_fields || txn->put == NULL) return 0;
        inside = header_inside(header, *in, false, &is_end);
    }
    if (inside == 0 && is_end) {
        fields_add(s, SLICE(""), SLICE(""));
        return 0;
    }
    size_t held = inside == 0 && is_whole ? in->len : 0;
    if (held > 0) hold(txn, *in);
    in->len = inside;
    return held;
}

/* --- octets --- */

static size_t chunk_discard(struct session *s, struct slice in)
{
    struct transaction *txn = s->txn;
    txn->scanner.bytes += in.len; /* for the rate */
    txn->chunk_left -= in.len;
    if (txn->chunk_left == 0) chunk_end(s);
    return in.len;
}

static size_t take_normalized(struct session *s, struct slice in)
{
    enum data_status status;
    size_t taken = receive_normalize(s->txn, in, &status);
    if (!s->txn->header.is_over) header_scan(&s->txn->header, slice_of(in.data, taken));
    return taken;
}

static size_t take_copied(struct session *s, struct slice in, char *space)
{
    struct transaction *txn = s->txn;
    raw_scan(&txn->scanner, in);
    memcpy(space, in.data, in.len);
    if (!txn->header.is_over) header_scan(&txn->header, in);
    receive_advance(txn, in.len);
    return in.len;
}

static bool is_window_worth_it(const struct transaction *txn, size_t at_hand, size_t room)
{
    return txn->chunk_left >= at_hand + WINDOW_BYTES_MIN && room >= WINDOW_BYTES_MIN &&
           !txn->is_normalizing && !txn->header.wants_fields;
}

/* Takes some of `in`, which is of this chunk and not empty; 0: a window was opened, or a block must
 * become free first. */
static size_t chunk_take(struct session *s, struct slice in)
{
    struct transaction *txn = s->txn;
    size_t room = 0, taken;
    char *space = receive_drain(txn) ? queue_put_space(txn->put, &room) : NULL;
    if (room == 0) {
        receive_wait(s);
        return 0;
    }
    if (is_window_worth_it(txn, in.len, room)) {
        receive_open_window(s, space, (size_t)MIN((uint64_t)room, txn->chunk_left));
        return 0;
    }
    if (txn->is_normalizing)
        taken = take_normalized(s, in);
    else
        taken = take_copied(s, slice_of(in.data, MIN(in.len, room)), space);
    txn->chunk_left -= taken;
    receive_check(s);
    if (txn->chunk_left == 0) chunk_end(s);
    return taken;
}

size_t chunk_input(struct session *s, struct slice in)
{
    struct transaction *txn = s->txn;
    ASSERT(txn->chunk_left > 0);
    in.len = (size_t)MIN((uint64_t)in.len, txn->chunk_left);
    if (txn->header.wants_fields && txn->put != NULL) {
        size_t held = header_part(s, &in);
        if (in.len == 0 && txn->chunk_left == 0) chunk_end(s);
        if (in.len == 0) return held;
    }
    return txn->put == NULL ? chunk_discard(s, in) : chunk_take(s, in);
}

/* The connection has put `bytes` more into the block itself. */
void chunk_window(struct session *s, size_t bytes)
{
    struct transaction *txn = s->txn;
    struct slice in = slice_of(txn->window, bytes);
    ASSERT(in.data != NULL && bytes <= txn->window_bytes && bytes <= txn->chunk_left);
    raw_scan(&txn->scanner, in);
    if (!txn->header.is_over) header_scan(&txn->header, in);
    txn->chunk_left -= bytes;
    txn->window += bytes;
    txn->window_bytes -= bytes;
    bool is_full = txn->window_bytes == 0;
    if (is_full || receive_fault(s) != REPLY_NONE) {
        if (!is_full) conn_window_close(&s->conn);
        txn->window = NULL;
    }
    receive_advance(txn, bytes);
    receive_check(s);
    if (txn->chunk_left == 0) {
        chunk_end(s);
        return;
    }
    if (!is_full || txn->put == NULL) return;
    size_t room;
    char *space = queue_put_space(txn->put, &room);
    if (room == 0)
        receive_wait(s);
    else
        receive_open_window(s, space, (size_t)MIN((uint64_t)room, txn->chunk_left));
}
