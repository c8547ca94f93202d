/* parcel.h - one message in the sending half, from its arrival to its settlement.
 *
 * A parcel goes in rounds: the recipients that are due are grouped into attempts; when the last
 * attempt has ended and some due recipients found no place (there are bounds), another round
 * follows; else the sender is told what it is to be told, and the message is settled. What ends
 * while other attempts go on is written at once. */
#pragma once

#include "ring/base/memory.h"
#include "ring/op.h"
#include "server/delivery/attempt.h"

#define PARCEL_ATTEMPTS_MAX 16             /* at once */
#define PARCEL_TEXT_BYTES_MAX (256u << 10) /* of replies kept for one message */
#define PARCEL_DUE_SLACK_MS 1000           /* recipients due so soon go along */

struct parcel {
    struct delivery *delivery;
    struct message *message;
    struct list attempts;
    struct attempt first; /* nearly every message needs just one */
    struct ring_op op;    /* the queue's, or of the next round */
    struct arena texts;   /* replies; until the queue has copied them */
    struct slice last_text, last_host;
    uint64_t settled_due_ms; /* when the settled message is due again; UINT64_MAX: never */
    uint64_t due_ms;         /* what is due until then is tried */
    uint32_t running;        /* attempts, and one more while a round is being made */
    bool is_first_used;
    bool is_partial;  /* the round had no place, or no result, for every recipient that is due */
    bool is_changed;  /* recipients have results that are not written */
    bool has_changed; /* ever since the message was taken */
    bool is_writing;  /* queue_update() runs */
    bool is_corrupt;  /* the body does not pass its check */
};

/* Takes ownership of the message. There must be room (DELIVERY_MESSAGES_MAX). */
void parcel_begin(struct delivery *delivery, struct message *message);
/* An attempt has ended: frees it and goes on with the message. */
void parcel_attempt_ended(struct parcel *parcel, struct attempt *attempt);
/* The stored body does not pass its check: the message is set aside when its attempts have ended.
 */
void parcel_body_is_corrupt(struct parcel *parcel);
/* A copy of `text` that lives as long as the parcel; a fixed text when too much is kept already. */
struct slice parcel_keep_text(struct parcel *parcel, struct slice text);
/* The same for the name of a host. */
struct slice parcel_keep_host(struct parcel *parcel, struct slice host);
