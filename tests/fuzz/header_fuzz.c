/* The header scanner: whatever the pieces are that the bytes come in, it sees the same, and says
 * what a scanner of the whole, line by line, says. */
#include "server/smtp/header.h"

#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Received fields of the section, the slow way. */
static uint32_t count_received(const uint8_t *data, size_t size)
{
    static const char name[] = "received";
    uint32_t count = 0;
    for (size_t from = 0; from < size;) {
        const uint8_t *end = memmem(data + from, size - from, "\r\n", 2);
        size_t len = end == NULL ? size - from : (size_t)(end - data) - from;
        if (end != NULL && len == 0) break;
        size_t at = sizeof(name) - 1;
        if (len > at && strncasecmp((const char *)data + from, name, at) == 0) {
            while (at < len && (data[from + at] == ' ' || data[from + at] == '\t'))
                at++;
            count += at < len && data[from + at] == ':';
        }
        if (end == NULL) break;
        from += len + 2;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    size_t step = 1 + data[0] % 40u;
    data++;
    size--;
    struct header_scanner whole, pieces;
    header_init(&whole);
    header_scan(&whole, slice_of(data, size));
    header_init(&pieces);
    for (size_t at = 0; at < size; at += step)
        header_scan(&pieces, slice_of(data + at, MIN(step, size - at)));
    ASSERT(whole.received_count == pieces.received_count && whole.bytes == pieces.bytes);
    ASSERT(whole.is_over == pieces.is_over && whole.has_8bit == pieces.has_8bit);
    ASSERT(whole.has_date == pieces.has_date && whole.has_message_id == pieces.has_message_id);
    ASSERT(whole.bytes <= size);
    /* A bare CR or LF is not for this one to judge. */
    bool is_plain = true;
    for (size_t i = 0; i < size; i++)
        if (data[i] == '\n' ? i == 0 || data[i - 1] != '\r'
                            : data[i] == '\r' && (i + 1 == size || data[i + 1] != '\n'))
            is_plain = false;
    if (is_plain) ASSERT(whole.received_count == count_received(data, size));
    for (int is_stuffed = 0; is_stuffed < 2; is_stuffed++) {
        struct header_scanner fresh;
        header_init(&fresh);
        bool is_end;
        ASSERT(header_inside(&fresh, slice_of(data, size), is_stuffed != 0, &is_end) <= size);
    }
    return 0;
}
