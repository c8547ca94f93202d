/* stored.h - a message in memory, with what the store itself knows about it.
 *
 * One allocation holds the struct, its arrays and the record whose bytes the envelope's slices
 * point to: the envelope is copied once, into the form in which it is committed. */
#pragma once

#include "store/job.h"
#include "store/record.h"

struct shard;

struct stored {
    struct message message; /* message.memory points back here */
    uint64_t due_ms;        /* time of its key in the table `due` */
    enum record_state state;
    bool is_body_corrupt; /* a reader found it so */
    struct job job;       /* put or delete */
    struct ring_op *op;   /* of queue_settle() */
    uint8_t *record;
    size_t record_bytes;
};

static inline struct stored *stored_of(struct message *message)
{
    return message->memory;
}

/* A new message; its extents are to be set with stored_set_extent(). -ERR_TOO_LARGE: more
 * recipients or longer strings than a record holds; -ERR_MEMORY. */
MUST_USE int stored_create(const struct record_head *head, const struct envelope *envelope,
                           struct stored **stored_out);
void stored_set_extent(struct stored *stored, uint32_t index, const struct extent *extent);
/* A copy of a record as it lies on the disk. -ERR_CORRUPT, or -ERR_MEMORY. */
MUST_USE int stored_decode(struct slice record, uint64_t id, struct stored **stored_out);
/* The blocks must have been given back. NULL is allowed. */
void stored_free(struct stored *stored);
/* An error line about one message; `reason` may be NULL. */
void message_alarm(const char *event, uint64_t id, const char *reason);
/* Bytes that an extent takes in its segment. */
uint32_t extent_room(const struct extent *extent);
