/* Lines and verbs. A stream must give the same lines whole and byte by byte, and no line may hold
 * what ends one. */
#include "ring/base/buf.h"
#include "server/smtp/command.h"
#include "server/smtp/header.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(struct slice line)
{
    ASSERT(line.len + 2 <= COMMAND_LINE_BYTES_MAX);
    ASSERT(line.len == 0 || memchr(line.data, '\n', line.len) == NULL);
    ASSERT(line.len == 0 || memchr(line.data, '\r', line.len) == NULL);
    ASSERT(line.len == 0 || memchr(line.data, '\0', line.len) == NULL);
    struct command command = command_parse(line);
    ASSERT(verb_name(command.verb) != NULL);
    ASSERT(command.args.data >= line.data);
    ASSERT(command.args.data + command.args.len <= line.data + line.len);
    if (command.has_keyword) ASSERT(command.verb == VERB_MAIL || command.verb == VERB_RCPT);
}

/* Notes each line's status and length; pieces of `piece_max` bytes arrive at a time. */
static void read_lines(struct slice in, size_t piece_max, struct buf *notes)
{
    struct line_reader reader = {0};
    size_t at = 0, end = 0;
    for (;;) {
        struct slice line;
        size_t taken;
        enum line_status status =
            line_read(&reader, slice_of(in.data + at, end - at), &line, &taken);
        ASSERT(taken <= end - at);
        at += taken;
        if (status == LINE_MORE || status == LINE_SKIPPED) {
            ASSERT((taken == 0) == (status == LINE_MORE));
            ASSERT(end - at < COMMAND_LINE_BYTES_MAX);
            if (end == in.len) return;
            end += MIN(piece_max, in.len - end);
            continue;
        }
        ASSERT(reader.skipped == 0);
        if (status == LINE_OK) check_line(line);
        buf_append_char(notes, (char)('0' + status));
        if (status == LINE_OK) buf_append_slice(notes, line);
    }
}

static void check_headers(struct slice in)
{
    struct header_scanner whole, bytewise;
    header_init(&whole);
    header_scan(&whole, in);
    header_init(&bytewise);
    for (size_t i = 0; i < in.len; i++) {
        header_scan(&bytewise, slice_of(in.data + i, 1));
    }
    ASSERT(whole.received_count == bytewise.received_count);
    ASSERT(whole.bytes == bytewise.bytes && whole.is_over == bytewise.is_over);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct slice in = slice_of(data + 1, size - 1);
    struct buf whole = {malloc(in.len), 0, in.len, false};
    struct buf pieces = {malloc(in.len), 0, in.len, false};
    read_lines(in, in.len, &whole);
    read_lines(in, 1 + data[0] % 16u, &pieces);
    ASSERT(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    ASSERT(!whole.is_short);
    check_headers(in);
    free(whole.data);
    free(pieces.data);
    return 0;
}
