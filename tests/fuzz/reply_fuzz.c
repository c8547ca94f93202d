/* Replies of a next hop: however the network cuts them, the reader comes to the same lines, codes
 * and words, and never keeps what could end a line of the log. The first byte is the size of the
 * pieces. */
#include "ring/base/buf.h"
#include "server/delivery/client_reply.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct slice text)
{
    ASSERT(text.len <= MESSAGE_REPLY_BYTES_MAX);
    for (size_t i = 0; i < text.len; i++)
        ASSERT(text.data[i] != '\r' && text.data[i] != '\n' && text.data[i] != '\0');
}

static void check_done(const struct client_reply *reply)
{
    ASSERT(reply->code >= 200 && reply->code <= 599);
    ASSERT(reply->line_count >= 1 && reply->line_count <= CLIENT_REPLY_LINES_MAX);
    check_text(client_reply_text(reply));
}

/* Notes each event with its place in the stream, and the text of each reply. */
static void read_replies(struct slice in, size_t piece_max, struct buf *notes)
{
    struct client_reply reply;
    client_reply_reset(&reply);
    for (size_t at = 0; at < in.len;) {
        size_t taken, piece = MIN(piece_max, in.len - at);
        enum client_reply_status status =
            client_reply_feed(&reply, slice_of(in.data + at, piece), &taken);
        ASSERT(taken <= piece && (status != CLIENT_REPLY_MORE || taken == piece));
        at += taken;
        if (status == CLIENT_REPLY_MORE) continue;
        buf_append_char(notes, (char)('0' + status));
        if (status == CLIENT_REPLY_BROKEN) return;
        buf_append(notes, &at, sizeof(at));
        ASSERT(taken > 0);
        check_text(client_reply_line(&reply));
        if (status == CLIENT_REPLY_LINE) continue;
        check_done(&reply);
        buf_append_slice(notes, client_reply_text(&reply));
        client_reply_reset(&reply);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct slice in = slice_of(data + 1, size - 1);
    size_t room = 16 * in.len + 64; /* an event takes a byte of input at least */
    struct buf whole = {malloc(room), 0, room, false}, pieces = {malloc(room), 0, room, false};
    read_replies(in, in.len, &whole);
    read_replies(in, 1 + data[0] % 64u, &pieces);
    ASSERT(!whole.is_short && slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    free(whole.data);
    free(pieces.data);
    return 0;
}
