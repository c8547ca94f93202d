/* index.h - the LMDB environment of one shard: which messages there are, and when they are due.
 *
 * Belongs to the committer thread (queue_open() opens it before that thread starts). All calls
 * block. A write transaction is index_begin(), changes, index_commit() or index_abort(); what the
 * struct itself remembers (totals, segment rows) follows the transaction. store/README.md has the
 * tables. */
#pragma once

#include "store/stored.h"

struct index;

#define INDEX_MAP_RESERVE_BYTES (16ull << 20) /* behind the map's limit, for settling only */
#define INDEX_GROW_MAX 64                     /* times that reserve is added when it is used up */
#define INDEX_BAD_MAX 64                      /* bad records found in one batch of reads */

struct index_options {
    const char *path; /* of the data file */
    unsigned shard;
    uint64_t map_bytes_max;
};

/* Messages in each state, the bytes of their bodies, and the largest id ever committed. */
struct index_totals {
    uint64_t queued, held, corrupt, body_bytes, last_id;
};

/* One row of the table `segment`: bytes alive, and the range of ids that may have some there. */
struct segment_row {
    uint64_t live, first_id, last_id;
    uint32_t undo_at; /* the index's own: its place in the transaction's undo list, plus one */
};

/* Opens or makes it; `why` gets a line for people. -ERR_VERSION, -ERR_CORRUPT, or others. */
MUST_USE int index_open(const struct index_options *options, struct index **index_out, char *why,
                        size_t why_cap);
void index_close(struct index *index); /* NULL is allowed */

const struct index_totals *index_totals(const struct index *index);
/* Rows are numbered from 0 to below index_row_count(); rows with live == 0 are not on the disk. */
uint32_t index_row_count(const struct index *index);
const struct segment_row *index_row(const struct index *index, uint32_t number);

/* Each returns 0; or -ERR_FULL, -ERR_TOO_LARGE, -ERR_MEMORY: the transaction has to be aborted and
 * may be done again, smaller; or another: the environment cannot be trusted any more. */
MUST_USE int index_begin(struct index *index);
MUST_USE int index_commit(struct index *index);
void index_abort(struct index *index);
/* True when the last -ERR_FULL came from the map, not from the disk. */
bool index_is_map_full(const struct index *index);
/* Adds a reserve to the map; outside of transactions. */
MUST_USE int index_grow(struct index *index);
/* Pages that puts may still use. Counts free pages when the map is nearly used up. */
MUST_USE int index_pages_left(struct index *index, uint64_t *pages_out);
/* About so many pages a put of this record takes. */
uint64_t index_pages_for(size_t record_bytes);
/* Keeps disk space for settling behind the used end of the data file. Best effort. */
void index_reserve_disk(struct index *index);

/* The changes. *result_out is for the job: 0, -ERR_NOT_FOUND or -ERR_AGAIN; the returned value is
 * for the transaction, as above. */
MUST_USE int index_put(struct index *index, struct stored *stored);
MUST_USE int index_delete(struct index *index, const struct stored *stored, int *result_out);

struct replacement {
    struct job job;
    struct stored *stored; /* of settling; NULL: an update */
    struct ring_op *op;
    uint64_t id, old_due_ms, due_ms; /* due_ms: wanted in, or DUE_NEVER */
    bool keeps_due;                  /* still in delivery: the key stays what it is */
    enum record_state state;         /* it was RECORD_QUEUED */
    size_t record_bytes;
    uint8_t record[];
};
MUST_USE int index_replace(struct index *index, struct replacement *replacement, int *result_out);

/* One extent of a message that is not in delivery gets a new place. */
struct extent_move {
    uint64_t id;
    uint32_t extent_index;
    struct extent from, to;
};
MUST_USE int index_move(struct index *index, const struct extent_move *move, int *result_out);

/* One edit of an operator; edit->result stays as it is when there is no such message. Removed
 * messages are added to job->removed. */
struct edit_job;
struct queue_edit;
MUST_USE int index_edit(struct index *index, struct edit_job *job, struct queue_edit *edit);
/* Messages that version 1 of the format had parked as failed are queued again, due from `now_ms`
 * on at some distance from each other. */
MUST_USE int index_requeue_failed(struct index *index, uint64_t now_ms);

/* --- reads, outside of write transactions --- */

/* Messages that are due at now_ms and behind the lease cursor, which moves past them. */
struct lease_result {
    struct list messages; /* struct stored by message.node */
    uint32_t count;
    uint64_t next_due_ms;
};
MUST_USE int index_lease(struct index *index, uint64_t now_ms, uint32_t count_max,
                         struct lease_result *result);
/* The wall clock went back by more than a little: moves the lease cursor back, in a transaction of
 * its own, so that what is deferred now is not late by as much. */
bool index_wants_rewind(const struct index *index, uint64_t now_ms);
MUST_USE int index_rewind(struct index *index, uint64_t now_ms);

/* Extents in `segment`, of messages that are not in delivery, from (id, extent_index) on. */
#define INDEX_FIND_MAX 8
#define INDEX_FIND_VISIT_MAX 2048 /* records looked at in one call */
struct extent_find {
    uint32_t segment;
    uint64_t id;           /* in and out: where to go on */
    uint32_t extent_index; /* likewise */
    bool is_end;           /* out: nothing is left behind these */
    uint32_t count;
    struct extent_move found[INDEX_FIND_MAX]; /* `to` is not set */
};
MUST_USE int index_find(struct index *index, struct extent_find *find);

/* Messages with an id above `after_id`, in order, parked and corrupt ones too. A record that does
 * not pass its check comes as a message with nothing but its id, in state RECORD_CORRUPT. */
MUST_USE int index_list(struct index *index, uint64_t after_id, uint32_t count_max,
                        struct list *messages);

/* Bad records that the reads came across: puts them aside, in a transaction of its own. */
bool index_has_bad(const struct index *index);
MUST_USE int index_set_bad_aside(struct index *index);

/* When the oldest message of each state came (wall time, 0: none); ids are in order of time, and
 * only the first INDEX_OLDEST_VISIT_MAX are looked at. */
#define INDEX_OLDEST_VISIT_MAX 1024
struct index_oldest {
    uint64_t queued_ms, held_ms, corrupt_ms;
};
MUST_USE int index_oldest(struct index *index, struct index_oldest *oldest);
