/* stored.c - messages in memory: made from an envelope or from a record. */
#include "store/stored.h"

#include "ring/base/log.h"
#include "ring/blocks.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct extent) == 16, "extents are kept tightly");

/* One block: struct stored, recipients, block pointers, extents, record. */
static struct stored *allocate(const struct record_head *head, size_t record_bytes)
{
    size_t recipients = (size_t)head->recipient_count * sizeof(struct recipient);
    size_t blocks = (size_t)head->extent_count * sizeof(void *);
    size_t extents = (size_t)head->extent_count * sizeof(struct extent);
    struct stored *stored = malloc(sizeof(*stored) + recipients + blocks + extents + record_bytes);
    if (stored == NULL) return NULL;

    memset(stored, 0, sizeof(*stored) + recipients + blocks);
    char *at = (char *)(stored + 1);
    stored->message.envelope.recipients = (struct recipient *)(void *)at;
    stored->message.blocks = (void **)(void *)(at + recipients);
    stored->message.extents = (struct extent *)(void *)(at + recipients + blocks);
    stored->record = (uint8_t *)at + recipients + blocks + extents;
    stored->record_bytes = record_bytes;
    stored->due_ms = head->due_ms;
    stored->state = head->state;
    stored->message.memory = stored;
    list_init(&stored->message.node);
    return stored;
}

int stored_create(const struct record_head *head, const struct envelope *envelope,
                  struct stored **stored_out)
{
    ASSERT(head->extent_count <= RECORD_EXTENTS_MAX);
    *stored_out = NULL;
    if (envelope->recipient_count > MESSAGE_RECIPIENTS_MAX) return -ERR_TOO_LARGE;
    size_t bytes = record_bytes(envelope, head->extent_count);
    if (bytes == 0) return -ERR_TOO_LARGE;

    struct stored *stored = allocate(head, bytes);
    if (stored == NULL) return -ERR_MEMORY;
    if (!record_write(stored->record, bytes, head, envelope, NULL) ||
        !record_read_envelope(slice_of(stored->record, bytes), head, &stored->message)) {
        stored_free(stored);
        return -ERR_TOO_LARGE;
    }
    *stored_out = stored;
    return 0;
}

void stored_set_extent(struct stored *stored, uint32_t index, const struct extent *extent)
{
    ASSERT(index < stored->message.extent_count);
    stored->message.extents[index] = *extent;
    record_set_extent(stored->record, index, extent);
}

int stored_decode(struct slice record, uint64_t id, struct stored **stored_out)
{
    *stored_out = NULL;
    struct record_head head;
    if (!record_check(record, id, &head)) return -ERR_CORRUPT;

    struct stored *stored = allocate(&head, record.len);
    if (stored == NULL) return -ERR_MEMORY;
    memcpy(stored->record, record.data, record.len);
    if (!record_read_extents(stored->record, &head, &stored->message) ||
        !record_read_envelope(slice_of(stored->record, record.len), &head, &stored->message)) {
        stored_free(stored);
        return -ERR_CORRUPT;
    }
    *stored_out = stored;
    return 0;
}

void stored_free(struct stored *stored)
{
    free(stored);
}

void message_alarm(const char *event, uint64_t id, const char *reason)
{
    char text[MESSAGE_ID_TEXT];
    message_id_write(id, text);
    if (!log_begin(LOG_ERROR, event)) return;
    log_slice("id", slice_of(text, sizeof(text)));
    log_str("reason", reason);
    log_end();
}

uint32_t extent_room(const struct extent *extent)
{
    return (uint32_t)ROUND_UP(extent->bytes, (uint32_t)BLOCK_ALIGN);
}
