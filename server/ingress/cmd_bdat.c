/* cmd_bdat.c - BDAT (RFC 3030 2): "BDAT" SP octets [SP "LAST"], the octets right behind it.
 *
 * Whatever is wrong, the octets are taken before the answer: to leave them would make commands of
 * them. Only where their number cannot be read there is no way to go on. After a chunk that was
 * refused all others are, up to RSET or LAST: a message must not lose a part of itself. */
#include "server/ingress/receive.h"

#include "server/smtp/raw.h"

struct chunk {
    uint64_t bytes;
    bool is_last;
    bool has_more_args; /* something that is not LAST follows the size */
};

/* Up to the first blank; *rest_out gets what follows the blanks. */
static struct slice cut_word(struct slice in, struct slice *rest_out)
{
    size_t len = 0;
    while (len < in.len && in.data[len] != ' ' && in.data[len] != '\t')
        len++;
    *rest_out = slice_trim(slice_from(in, len));
    return slice_of(in.data, len);
}

/* False when nobody can tell how many octets follow. */
static bool chunk_parse(struct slice args, struct chunk *out)
{
    struct slice rest, size = cut_word(args, &rest);
    if (!slice_to_u64(size, INT64_MAX, &out->bytes)) return false;
    out->is_last = slice_eq_nocase(rest, SLICE("LAST"));
    out->has_more_args = rest.len > 0 && !out->is_last;
    return true;
}

/* Octets that belong to no transaction get one of their own, which ends with them (it is none of
 * the client's: is_chunked stays false). The first chunk decides how the message comes, even when
 * it is refused. False: memory is out. */
static bool open_body(struct session *s)
{
    bool is_stray = s->txn == NULL;
    if (is_stray) s->txn = transaction_create(&s->ingress->transactions_slab);
    if (s->txn == NULL) return false;
    raw_init(&s->txn->scanner);
    s->txn->is_chunked = !is_stray;
    s->txn->data_started_ns = loop_now_ns(s->conn.host->loop);
    return true;
}

static enum reply_id chunk_check(const struct session *s, const struct chunk *chunk)
{
    const struct transaction *txn = s->txn;
    if (chunk->has_more_args) return REPLY_BAD_ARGUMENT;
    if (!s->is_esmtp) return REPLY_CHUNK_OUT_OF_ORDER; /* it was not offered */
    if (!txn->is_chunked || txn->is_chunk_refused) return REPLY_CHUNK_OUT_OF_ORDER;
    if (txn->recipient_count == 0) return REPLY_CHUNK_OUT_OF_ORDER;
    uint64_t size_max = session_config(s)->limits.message_size, taken = txn->scanner.bytes;
    if (taken > size_max || chunk->bytes > size_max - taken) return REPLY_TOO_BIG;
    return REPLY_NONE;
}

void cmd_bdat(struct session *s, const struct command *command)
{
    struct chunk chunk;
    if (!chunk_parse(command->args, &chunk)) {
        session_end(s, REPLY_BAD_CHUNK_SIZE);
        return;
    }
    bool is_first = s->txn == NULL || !s->txn->is_chunked;
    if (is_first && !open_body(s)) {
        session_end(s, REPLY_NO_RESOURCES);
        return;
    }
    struct transaction *txn = s->txn;
    enum reply_id bad = chunk_check(s, &chunk);
    if (bad == REPLY_NONE && is_first) bad = receive_begin(s, MAX(txn->params.size, chunk.bytes));
    if (bad != REPLY_NONE) receive_refuse(s, bad);
    txn->scanner.chunk_bytes = txn->chunk_left = chunk.bytes;
    txn->is_last_chunk = chunk.is_last;
    session_go(s, SESSION_CHUNK);
    if (txn->chunk_left == 0) chunk_end(s);
}
