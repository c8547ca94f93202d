/* edit.h - what an operator changes: on disk by the committer, in memory by the core.
 *
 *     control thread: queue_edit() --call--> committer: one transaction
 *                          |                 (index_edit.c)
 *                          +--mail--> core: gives the places of removed messages back; keeps the
 *                                     edits of messages in delivery until those are settled */
#pragma once

#include "ring/mailbox.h"
#include "store/queue.h"
#include "store/stored.h"

/* Some edits of one shard. */
struct edit_job {
    struct job job;
    struct queue_edit *edits;
    size_t count;
    uint64_t now_ms;
    struct list removed; /* out: struct stored by message.node */
    bool is_due;         /* out: something is due now */
};

/* Carries out what waits for this message, on the message in memory. True: it is to be deleted.
 * *state_out is RECORD_HELD when it is to be held. Core thread. */
bool edits_apply(struct queue *queue, struct message *message, enum record_state *state_out);
void edits_init(struct queue *queue);
void edits_finish(struct queue *queue);
/* What EDIT_RETRY, EDIT_RELEASE and EDIT_BOUNCE do to the recipients. */
void edit_recipients(const struct queue_edit *edit, struct envelope *envelope, uint64_t now_ms);
