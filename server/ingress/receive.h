/* receive.h - what the ways of receiving a message have in common. Internal to ingress/.
 *
 *     cmd_data.c  DATA -> receive_data.c   --+
 *                                            +--> receive.c: the put, its end, the queue's answer
 *     cmd_bdat.c  BDAT -> receive_chunk.c  --+
 *
 * What is not stored yet stands in txn->carry (normalized bytes) and then txn->header.pending, in
 * this order; nothing more is taken before both are in blocks (receive_drain()). */
#pragma once

#include "server/ingress/session.h"

#define DATA_MARK_BYTES                                                                            \
    3 /* ".CRLF", which ends DATA and is scanned and stored with the content                       \
       */

/* Begins the body: the put, our Received field, the scanner of the header section. `size_hint`: as
 * queue_put_begin(). Returns REPLY_NONE, or why the queue takes nothing now. */
enum reply_id receive_begin(struct session *s, uint64_t size_hint);
/* What is wrong with the message as far as it has come, or REPLY_NONE. */
enum reply_id receive_fault(const struct session *s);
/* From here on the rest of the message is only read to its end, and then answered with `id`. */
void receive_refuse(struct session *s, enum reply_id id);
/* Refuses it when receive_fault() finds something. */
void receive_check(struct session *s);
/* `bytes` have been looked at and stand in the put's memory. */
void receive_advance(struct transaction *txn, size_t bytes);
/* Moves what is pending into blocks. False: one must become free first. */
MUST_USE bool receive_drain(struct transaction *txn);
/* [space]; goes back to the present state. */
void receive_wait(struct session *s);
/* Runs the normalizing scanner over the front of `in` and stores, or carries, what it writes. There
 * is room for at least one byte in the put. Returns how much of `in` was taken. */
size_t receive_normalize(struct transaction *txn, struct slice in, enum data_status *status_out);
/* The connection fills `bytes` at `space`, which is the put's. */
void receive_open_window(struct session *s, char *space, size_t bytes);
/* All of the message has come: it is committed, or answered with the refusal. `mark_bytes` at the
 * end of the body are none of the content. */
void receive_end(struct session *s, size_t mark_bytes);

/* The window (receive_data.c and receive_chunk.c). */
void data_window(struct session *s, size_t bytes);
void chunk_window(struct session *s, size_t bytes);
/* All octets of the chunk were taken: stores what is pending, then answers. */
void chunk_end(struct session *s);

/* --- submission (receive_fields.c) --- */

/* Ends txn->header.wants_fields: puts the fields that the message lacks into header.pending, behind
 * `before` and in front of `behind`. */
void fields_add(struct session *s, struct slice before, struct slice behind);
