/* queue.h - the durable queue of one core: the whole public face of the store.
 *
 * A message goes: put (its body streamed into blocks and segment files, then its envelope into
 * LMDB by the committer thread), in delivery (owned by the caller), settled: deleted when nothing
 * is left to do, else back on disk until it is due. store/README.md has the state table.
 *
 * Not thread-safe: a queue belongs to the core that opened it; exceptions say so. Nothing here
 * blocks but queue_open() and queue_close(). */
#pragma once

#include "ring/base/counter.h"
#include "ring/blocks.h"
#include "ring/loop.h"
#include "store/message.h"
#include "store/spool.h"

struct queue;
struct put;

struct queue_options {
    struct loop *loop;
    struct blocks *blocks;
    struct spool *spool;
    unsigned core_index, core_count;
    uint64_t segment_bytes;       /* a multiple of 1 MiB; 0: QUEUE_SEGMENT_BYTES */
    uint64_t map_bytes_max;       /* of one LMDB environment; 0: QUEUE_MAP_BYTES */
    uint64_t free_bytes_min;      /* of the file system: below it queue_gate() refuses */
    unsigned free_percent_min;    /* the same as a share; the larger of both counts */
    uint32_t memory_messages_max; /* messages in memory at once; above it a put's message stays on
                                     disk until it is leased */
    /* A sync failed or the environment is broken: everything waiting has been answered with
     * -ERR_FAILED_SYNC; no put is taken any more; the process must stop. Runs on the core. */
    void (*on_fatal)(void *owner, int err);
    /* queue_edit() made something on disk due at `due_ms` (0: now); may be NULL. On the core. */
    void (*on_due)(void *owner, uint64_t due_ms);
    void *owner;
};

#define QUEUE_SEGMENT_BYTES (64ull << 20)
#define QUEUE_MAP_BYTES (64ull << 30)

/* Opens the shards of this core, recovers them, starts their committers. Blocking. */
MUST_USE int queue_open(const struct queue_options *options, struct queue **queue_out, char *why,
                        size_t why_cap);
/* Every put and message must have been given back. Commits what waits; blocking. NULL: allowed. */
void queue_close(struct queue *queue);

/* 0, or -ERR_FULL while the disk or the map is below its reserve: answer 452 4.3.1 at MAIL. */
int queue_gate(const struct queue *queue);

/* --- accepting --- */

/* Begins a message and gives it its id. `size_hint`: the declared SIZE, or 0. -ERR_FULL: the gate;
 * -ERR_AGAIN: no block is free (452 4.3.1). The put is owned by the caller until queue_put_take()
 * or queue_put_abort(). */
MUST_USE int queue_put_begin(struct queue *queue, uint64_t size_hint, struct put **put_out);
uint64_t queue_put_id(const struct put *put);
/* Memory for the next bytes of the body: *bytes_out is 0 when all blocks of this put are being
 * written; then queue_put_wait() tells when there is room again. Never moves while bytes are
 * outstanding; stays valid until queue_put_advance() or the put's end. */
char *queue_put_space(struct put *put, size_t *bytes_out);
/* `bytes` of that memory are now body. A full block starts on its way to the disk. */
void queue_put_advance(struct put *put, size_t bytes);
/* op->done() when queue_put_space() has room (0), or the body cannot be stored: -ERR_FULL, ... */
void queue_put_wait(struct put *put, struct ring_op *op);
/* Ends the body, which is the first `body_bytes` of what was advanced, and stores the message. The
 * envelope is borrowed during the call (the put keeps a copy). The result is 0: durable, answer
 * 250; or -ERR_FULL (452 4.3.1), -ERR_TOO_LARGE (552 5.3.4), -ERR_IO and others (451 4.3.0): then
 * nothing of it is left. */
void queue_put_finish(struct put *put, uint64_t body_bytes, const struct envelope *envelope,
                      struct ring_op *op);
/* After success: ends the put. Returns the message, owned by the caller and in delivery, or NULL
 * when too many are in memory: it will be leased later. */
MUST_USE struct message *queue_put_take(struct put *put);
/* Ends the put without a message: before queue_put_finish(), or after it failed. A queue_put_wait()
 * that still waits comes back with -ERR_CANCELED. NULL: allowed. */
void queue_put_abort(struct put *put);

/* --- delivering --- */

struct lease {
    struct ring_op op;    /* result: how many, or -ERR_* */
    uint32_t count_max;   /* set by the caller */
    struct list messages; /* struct message by node; owned by the caller from done() on */
    uint64_t next_due_ms; /* wall time of the earliest message that is still on disk; UINT64_MAX */
};

/* Reads due messages, the earliest first, shards in turn; their bodies stay on disk. What an
 * earlier run of the process had in delivery is due at once. One lease at a time. With no room in
 * memory the result is 0 and next_due_ms 0: ask again later. */
void queue_lease(struct queue *queue, struct lease *lease);

/* Reads a body from front to back, from memory or from disk, and checks every block. */
struct body_reader {
    struct ring_op *op; /* the caller's, while one read waits */
    struct message *message;
    struct queue *queue;
    struct slice bytes; /* the current piece; valid until the next body_read() or the end */
    uint32_t extent_next;
    uint64_t bytes_left;
    void *current, *ahead; /* blocks of this reader */
    uint8_t ahead_state;
    int ahead_err;
    uint32_t ahead_bytes; /* of the extent that are read */
    struct ring_op read_op;
    struct blocks_waiter waiter;
};
void body_open(struct body_reader *reader, struct queue *queue, struct message *message);
/* Sets reader->bytes to the next piece; empty at the end. True: it is there now; false: op->done()
 * comes, with 0 or -ERR_CORRUPT, -ERR_IO. A corrupt body is set aside by queue_settle(). */
bool body_read(struct body_reader *reader, struct ring_op *op);
/* Ends it; a read in flight is waited for: then op->done() comes later, else (true) it is over at
 * once and op is not used. A body_read() that still waits is forgotten: its op does not come. */
bool body_close(struct body_reader *reader, struct ring_op *op);

/* Writes the states of the recipients as they are now, while the message stays with the caller
 * (some of its destinations are still being tried). */
void queue_update(struct queue *queue, struct message *message, struct ring_op *op);
/* Takes the message back and writes what became of it: deleted when no recipient is queued and
 * nothing is to be reported; else kept on disk until the earliest `next_ms` of those. An edit that
 * was asked for meanwhile (queue_edit()) is carried out. The result is 0 or -ERR_*; the message is
 * gone for the caller in any case. */
void queue_settle(struct queue *queue, struct message *message, struct ring_op *op);
/* Takes the message back with an alarm: its body does not pass its check. It is kept, parked as
 * corrupt, and never delivered. */
void queue_set_aside(struct queue *queue, struct message *message, struct ring_op *op);
/* Takes the message back to be leased again by this run, when its earliest queued recipient is due:
 * there is no place for it now. */
void queue_put_back(struct queue *queue, struct message *message);
/* Gives the message back unchanged, due at the next start: for shutdown only. Nothing is written,
 * so no lease of this run sees it again. */
void queue_return(struct queue *queue, struct message *message);

/* --- seeing --- */

/* Records in each state; the same numbers that LMDB holds, as of the last commit. */
struct queue_counters {
    struct counter queued, held, corrupt; /* messages */
    /* Wall time at which the oldest message of each state came; 0: none. As of a moment ago. */
    struct counter oldest_queued_ms, oldest_held_ms, oldest_corrupt_ms;
    struct counter due_lag_ms; /* how late the last leased messages were */
    struct counter body_bytes;
    struct counter memory_messages;
    struct counter segments_free, segments_used;
    struct counter free_bytes; /* of the file system */
    struct counter is_full;    /* 1 while the gate refuses */
    struct counter puts, commits, commit_messages, aborts, compacted_messages, corrupt_found;
    struct histogram sync_duration; /* of synced segment writes */
    struct histogram commit_duration;
};
const struct queue_counters *queue_counters(const struct queue *queue); /* any thread may read */

enum queue_item_state { ITEM_QUEUED, ITEM_HELD, ITEM_CORRUPT };

/* One page of the queue in order of id, read by the committers. For the control thread: blocks the
 * caller, never the core. Any thread. */
struct queue_page {
    uint64_t after_id;  /* in: 0 for the first page */
    uint32_t count_max; /* in */
    /* Called for each message, on the calling thread; `message` is borrowed. */
    void (*item)(void *owner, enum queue_item_state state, uint64_t due_ms,
                 const struct message *message);
    void *owner;
    bool has_more; /* out */
};
MUST_USE int queue_list(struct queue *queue, struct queue_page *page);

/* --- what an operator does --- */

enum queue_edit_kind {
    EDIT_RETRY,   /* due now; a held message stays held */
    EDIT_HOLD,    /* kept, and not tried, until it is released; its time does not stop */
    EDIT_RELEASE, /* from a hold: due now */
    EDIT_REMOVE,  /* deleted, and nobody is told */
    EDIT_BOUNCE,  /* given up: queued recipients fail with `reason`, and the sender is told */
};

struct queue_edit {
    enum queue_edit_kind kind;
    uint64_t id;
    struct slice reason; /* EDIT_BOUNCE: "5.x.x words"; borrowed */
    /* out: 0; -ERR_NOT_FOUND; -ERR_INVALID: does not fit the message's state (a release of one that
     * is not held; all but a removal of a corrupt one); -ERR_BUSY: it is in delivery now, and the
     * edit is carried out when that has ended, if something of the message is left then */
    int result;
};
#define QUEUE_EDITS_MAX 1000         /* in one call */
#define QUEUE_EDITS_WAITING_MAX 4096 /* for messages in delivery, on one core; then -ERR_FULL */

/* Edits messages of this queue's shards, each call in one synced transaction per shard; ids of
 * other queues are -ERR_NOT_FOUND. For the control thread: blocks the caller, never the core. Any
 * thread. Returns 0 when every edit has its result. */
MUST_USE int queue_edit(struct queue *queue, struct queue_edit *edits, size_t count);
