/* record.c - encoding and decoding of message records. */
#include "store/record.h"

#include "ring/blocks.h"
#include "store/crc32c.h"

#define HEAD_BYTES 52
#define EXTENT_BYTES 16
#define CRC_BYTES 4
#define STRINGS_BYTES_MIN 13   /* six lengths, ret */
#define RECIPIENT_BYTES_MIN 20 /* three lengths, notify, state, attempts, next_ms */
#define AT_FLAGS 7
#define AT_DUE 16

enum record_flag {
    FLAG_8BIT = BIT(0),
    FLAG_BINARY = BIT(1),
    FLAG_UTF8 = BIT(2),
    FLAG_UTF8_HEADER = BIT(3),
    FLAG_REQUIRES_TLS = BIT(4),
    FLAG_OWN = BIT(5),
    FLAGS_KNOWN = BIT(6) - 1,
};
/* Within the byte of a recipient's state. */
#define STATE_MASK 3u
#define REPORT_SHIFT 2
#define REPORT_MASK 7u
#define FLAG_WARNED BIT(5)
#define AT_VERSION 4
#define AT_STATE 5
#define NOTIFY_KNOWN (DSN_NOTIFY_NEVER | DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY)

static struct slice kept_reply(struct slice reply)
{
    return slice_of(reply.data, MIN(reply.len, (size_t)MESSAGE_REPLY_BYTES_MAX));
}

size_t record_bytes(const struct envelope *envelope, uint32_t extent_count)
{
    size_t bytes = HEAD_BYTES + (size_t)extent_count * EXTENT_BYTES + CRC_BYTES;
    bytes += STRINGS_BYTES_MIN + envelope->sender.len + envelope->helo.len + envelope->client.len +
             envelope->listener.len + envelope->user.len + envelope->envid.len;
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        const struct recipient *r = &envelope->recipients[i];
        bytes += RECIPIENT_BYTES_MIN + r->address.len + r->orcpt.len + kept_reply(r->reply).len;
    }
    return bytes <= RECORD_BYTES_MAX ? bytes : 0;
}

static void write_extent(struct writer *w, const struct extent *extent)
{
    write_u32(w, extent->segment);
    write_u32(w, extent->at);
    write_u32(w, extent->bytes);
    write_u32(w, extent->crc32c);
}

static uint8_t flags_of(const struct envelope *envelope)
{
    unsigned flags =
        (envelope->is_8bit ? FLAG_8BIT : 0) | (envelope->is_binary ? FLAG_BINARY : 0) |
        (envelope->is_utf8 ? FLAG_UTF8 : 0) | (envelope->has_utf8_header ? FLAG_UTF8_HEADER : 0) |
        (envelope->requires_tls ? FLAG_REQUIRES_TLS : 0) | (envelope->is_own ? FLAG_OWN : 0);
    return (uint8_t)flags;
}

static uint8_t state_byte(const struct recipient *r)
{
    unsigned bits = (unsigned)r->state | ((unsigned)r->report << REPORT_SHIFT) |
                    (r->is_warned ? FLAG_WARNED : 0);
    return (uint8_t)bits;
}

/* False when it is none of this version. */
static bool read_state_byte(uint8_t byte, uint8_t version, struct recipient *r)
{
    unsigned state = byte & STATE_MASK, report = (byte >> REPORT_SHIFT) & REPORT_MASK;
    if (state > RECIPIENT_FAILED || report > REPORT_RELAYED || byte >= 2 * FLAG_WARNED)
        return false;
    if (version < 3 && byte > RECIPIENT_FAILED) return false;
    r->state = state;
    r->report = report;
    r->is_warned = (byte & FLAG_WARNED) != 0;
    if (version < 3 && r->state == RECIPIENT_FAILED) r->report = REPORT_FAILED;
    return true;
}

static void write_head(struct writer *w, size_t bytes, const struct record_head *head,
                       uint8_t flags)
{
    write_u32(w, (uint32_t)bytes);
    write_u8(w, RECORD_VERSION);
    write_u8(w, (uint8_t)head->state);
    write_u8(w, (uint8_t)head->form);
    write_u8(w, flags);
    write_u64(w, head->id);
    write_u64(w, head->due_ms);
    write_u64(w, head->received_ms);
    write_u64(w, head->body_bytes);
    write_u32(w, head->trace_bytes);
    write_u32(w, head->extent_count);
    write_u32(w, head->recipient_count);
}

bool record_write(void *record, size_t bytes, const struct record_head *head,
                  const struct envelope *envelope, const struct extent *extents)
{
    ASSERT(bytes <= RECORD_BYTES_MAX);
    ASSERT(head->recipient_count == envelope->recipient_count);
    static const struct extent none;

    struct writer w = writer_of(record, bytes - CRC_BYTES);
    write_head(&w, bytes, head, flags_of(envelope));
    for (uint32_t i = 0; i < head->extent_count; i++)
        write_extent(&w, extents != NULL ? &extents[i] : &none);
    write_bytes16(&w, envelope->sender);
    write_bytes16(&w, envelope->helo);
    write_bytes16(&w, envelope->client);
    write_bytes16(&w, envelope->listener);
    write_bytes16(&w, envelope->user);
    write_bytes16(&w, envelope->envid);
    write_u8(&w, (uint8_t)envelope->ret);
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        const struct recipient *r = &envelope->recipients[i];
        write_bytes16(&w, r->address);
        write_bytes16(&w, r->orcpt);
        write_u8(&w, r->notify);
        write_u8(&w, state_byte(r));
        write_u32(&w, r->attempts);
        write_u64(&w, r->next_ms);
        write_bytes16(&w, kept_reply(r->reply));
    }
    return !w.is_bad && writer_len(&w) == bytes - CRC_BYTES;
}

void record_set_due(void *record, uint64_t due_ms)
{
    struct writer w = writer_of((uint8_t *)record + AT_DUE, 8);
    write_u64(&w, due_ms);
}

void record_set_state(void *record, enum record_state state)
{
    ((uint8_t *)record)[AT_STATE] = (uint8_t)state;
}

void record_set_extent(void *record, uint32_t index, const struct extent *extent)
{
    ASSERT(extent->bytes > 0 && extent->bytes <= BLOCK_LARGE_BYTES);
    struct writer w =
        writer_of((uint8_t *)record + HEAD_BYTES + (size_t)index * EXTENT_BYTES, EXTENT_BYTES);
    write_extent(&w, extent);
}

void record_seal(void *record, size_t bytes)
{
    struct writer w = writer_of((uint8_t *)record + bytes - CRC_BYTES, CRC_BYTES);
    write_u32(&w, crc32c(0, record, bytes - CRC_BYTES));
}

static bool check_sum(struct slice record)
{
    if (record.len < HEAD_BYTES + STRINGS_BYTES_MIN + CRC_BYTES) return false;
    struct reader r = reader_of(record.data + record.len - CRC_BYTES, CRC_BYTES);
    return read_u32(&r) == crc32c(0, record.data, record.len - CRC_BYTES);
}

bool record_check(struct slice record, uint64_t id, struct record_head *head_out)
{
    if (!check_sum(record)) return false;

    struct reader r = reader_of(record.data, record.len - CRC_BYTES);
    uint32_t bytes = read_u32(&r);
    uint8_t version = read_u8(&r), state = read_u8(&r), form = read_u8(&r), flags = read_u8(&r);
    struct record_head head = {.state = state, .form = form};
    head.id = read_u64(&r);
    head.due_ms = read_u64(&r);
    head.received_ms = read_u64(&r);
    head.body_bytes = read_u64(&r);
    head.trace_bytes = read_u32(&r);
    head.extent_count = read_u32(&r);
    head.recipient_count = read_u32(&r);

    *head_out = head;
    return !r.is_bad && bytes == record.len && version >= RECORD_VERSION_MIN &&
           version <= RECORD_VERSION && head.id == id && state <= RECORD_CORRUPT &&
           form <= BODY_RAW && flags <= FLAGS_KNOWN && head.trace_bytes <= head.body_bytes &&
           head.extent_count <= RECORD_EXTENTS_MAX &&
           head.extent_count <= reader_left(&r) / EXTENT_BYTES && head.recipient_count > 0 &&
           head.recipient_count <= MESSAGE_RECIPIENTS_MAX &&
           head.recipient_count <= reader_left(&r) / RECIPIENT_BYTES_MIN;
}

struct extent record_extent(const void *record, uint32_t index)
{
    struct reader r = reader_of((const uint8_t *)record + HEAD_BYTES + (size_t)index * EXTENT_BYTES,
                                EXTENT_BYTES);
    struct extent extent = {.segment = read_u32(&r)};
    extent.at = read_u32(&r);
    extent.bytes = read_u32(&r);
    extent.crc32c = read_u32(&r);
    return extent;
}

bool record_read_extents(const void *record, const struct record_head *head,
                         struct message *message)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < head->extent_count; i++) {
        struct extent extent = record_extent(record, i);
        if (extent.bytes == 0 || extent.bytes > BLOCK_LARGE_BYTES) return false;
        if (extent.segment > RECORD_SEGMENT_MAX) return false;
        sum += extent.bytes;
        message->extents[i] = extent;
    }
    return sum >= head->body_bytes;
}

static bool read_recipients(struct reader *r, uint8_t version, struct envelope *envelope)
{
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        struct recipient *recipient = &envelope->recipients[i];
        recipient->address = read_bytes16(r);
        recipient->orcpt = read_bytes16(r);
        recipient->notify = read_u8(r);
        uint8_t state = read_u8(r);
        recipient->attempts = read_u32(r);
        recipient->next_ms = read_u64(r);
        recipient->reply = read_bytes16(r);
        if (!read_state_byte(state, version, recipient)) return false;
        if (recipient->notify > NOTIFY_KNOWN) return false;
    }
    return true;
}

static void read_flags(uint8_t flags, struct envelope *envelope)
{
    envelope->is_8bit = (flags & FLAG_8BIT) != 0;
    envelope->is_binary = (flags & FLAG_BINARY) != 0;
    envelope->is_utf8 = (flags & FLAG_UTF8) != 0;
    envelope->has_utf8_header = (flags & FLAG_UTF8_HEADER) != 0;
    envelope->requires_tls = (flags & FLAG_REQUIRES_TLS) != 0;
    envelope->is_own = (flags & FLAG_OWN) != 0;
}

bool record_read_envelope(struct slice record, const struct record_head *head,
                          struct message *message)
{
    ASSERT(head->recipient_count == 0 || message->envelope.recipients != NULL);
    struct envelope *envelope = &message->envelope;
    message->id = head->id;
    message->body_bytes = head->body_bytes;
    message->extent_count = head->extent_count;
    envelope->received_ms = head->received_ms;
    envelope->trace_bytes = head->trace_bytes;
    envelope->form = head->form;
    read_flags((uint8_t)record.data[AT_FLAGS], envelope);
    envelope->recipient_count = head->recipient_count;

    size_t skip = HEAD_BYTES + (size_t)head->extent_count * EXTENT_BYTES;
    struct reader r = reader_of(record.data + skip, record.len - skip - CRC_BYTES);
    envelope->sender = read_bytes16(&r);
    envelope->helo = read_bytes16(&r);
    envelope->client = read_bytes16(&r);
    envelope->listener = read_bytes16(&r);
    envelope->user = read_bytes16(&r);
    envelope->envid = read_bytes16(&r);
    uint8_t ret = read_u8(&r);
    envelope->ret = ret;
    if (ret > DSN_RETURN_HEADERS) return false;
    if (!read_recipients(&r, (uint8_t)record.data[AT_VERSION], envelope)) return false;
    return !r.is_bad && reader_left(&r) == 0;
}
