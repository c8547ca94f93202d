/* Stored records. Any bytes are refused or read, and a record whose length, id and checksum were
 * made to fit is held to the limits of a message, with every slice inside of it. */
#include "store/stored.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 6000, BYTES_MIN = 56, VERSION_AT = 4, ID_AT = 8 };

static void check_inside(struct slice part, const struct stored *stored)
{
    const char *begin = (const char *)stored->record;
    if (part.len == 0) return;
    ASSERT(part.data >= begin && part.data + part.len <= begin + stored->record_bytes);
}

static void check_stored(const struct stored *stored, uint64_t id)
{
    const struct message *message = &stored->message;
    const struct envelope *e = &message->envelope;
    ASSERT(message->id == id && e->recipient_count <= MESSAGE_RECIPIENTS_MAX);
    ASSERT(message->extent_count <= RECORD_EXTENTS_MAX && stored->state <= RECORD_CORRUPT);
    ASSERT(e->form <= BODY_RAW && e->ret <= DSN_RETURN_HEADERS);
    const struct slice parts[] = {e->sender, e->helo, e->client, e->listener, e->user, e->envid};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        check_inside(parts[i], stored);
    for (uint32_t i = 0; i < e->recipient_count; i++) {
        const struct recipient *recipient = &e->recipients[i];
        ASSERT(recipient->state <= RECIPIENT_FAILED && recipient->report <= REPORT_RELAYED);
        check_inside(recipient->address, stored);
        check_inside(recipient->orcpt, stored);
        check_inside(recipient->reply, stored);
    }
    for (uint32_t i = 0; i < message->extent_count; i++)
        ASSERT(message->extents[i].segment <= RECORD_SEGMENT_MAX);
}

static void check_decode(struct slice record, uint64_t id)
{
    struct stored *stored;
    int err = stored_decode(record, id, &stored);
    ASSERT(err == 0 || err == -ERR_CORRUPT);
    if (err != 0) return;
    check_stored(stored, id);
    stored_free(stored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_decode(slice_of(data, size), 0);
    if (size < BYTES_MIN || size > BYTES_MAX) return 0;
    _Alignas(8) uint8_t record[BYTES_MAX];
    const uint32_t bytes = (uint32_t)size;
    const uint64_t id = 1;
    memcpy(record, data, size);
    memcpy(record, &bytes, sizeof(bytes));
    memcpy(record + ID_AT, &id, sizeof(id));
    record[VERSION_AT] =
        RECORD_VERSION_MIN + data[VERSION_AT] % (RECORD_VERSION - RECORD_VERSION_MIN + 1u);
    record_seal(record, size);
    check_decode(slice_of(record, size), id);
    return 0;
}
