/* Dots put in and taken out again: what DATA carries of a message holds one end, its last bytes,
 * no CR or LF that stands alone, and gives the message back. The first byte is the size of the
 * pieces. */
#include "ring/base/buf.h"
#include "server/delivery/stuff.h"
#include "server/delivery/unstuff.h"
#include "tests/support/data_oracle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append_list(const struct stuffer *stuffer, struct buf *out)
{
    ASSERT(stuffer->count <= STUFFER_PIECES_MAX);
    for (uint32_t i = 0; i < stuffer->count; i++)
        buf_append(out, stuffer->pieces[i].iov_base, stuffer->pieces[i].iov_len);
}

/* False when a CR or LF stands alone. */
static bool write_wire(struct slice in, size_t piece_max, struct buf *out)
{
    struct stuffer stuffer;
    stuffer_init(&stuffer);
    for (size_t at = 0; at < in.len;) {
        struct slice piece = slice_of(in.data + at, MIN(piece_max, in.len - at));
        at += piece.len;
        while (piece.len > 0) {
            size_t before = piece.len;
            if (!stuff(&stuffer, &piece)) return false;
            ASSERT(piece.len < before);
            append_list(&stuffer, out);
        }
    }
    stuffer.count = 0;
    if (!stuff_end(&stuffer)) return false;
    append_list(&stuffer, out);
    return true;
}

static void check_wire(struct slice in, struct slice wire, size_t piece_max)
{
    struct data_oracle seen = data_oracle_of(wire);
    ASSERT(seen.status == DATA_END && seen.taken == wire.len);
    ASSERT((seen.faults & DATA_BARE_LF) == 0 && (seen.faults & DATA_BARE_CR) == 0);
    struct slice stuffed = slice_of(wire.data, wire.len - 3);
    char *plain = malloc(stuffed.len + 1);
    size_t len = 0;
    struct unstuffer unstuffer = {0};
    for (size_t at = 0; at < stuffed.len;) {
        size_t piece = MIN(piece_max, stuffed.len - at);
        len += unstuff(&unstuffer, slice_of(stuffed.data + at, piece), plain + len);
        at += piece;
    }
    ASSERT(len >= in.len && (in.len == 0 || memcmp(plain, in.data, in.len) == 0));
    ASSERT(len == in.len || (len == in.len + 2 && memcmp(plain + in.len, "\r\n", 2) == 0));
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct slice in = slice_of(data + 1, size - 1);
    size_t room = 2 * in.len + 8, piece_max = 1 + data[0] % 64u;
    struct buf whole = {malloc(room), 0, room, false}, pieces = {malloc(room), 0, room, false};
    bool is_text = write_wire(in, in.len, &whole);
    ASSERT(write_wire(in, piece_max, &pieces) == is_text);
    if (is_text) {
        ASSERT(!whole.is_short && slice_eq(buf_slice(&whole), buf_slice(&pieces)));
        check_wire(in, buf_slice(&whole), piece_max);
    }
    free(whole.data);
    free(pieces.data);
    return 0;
}
