/* index_internal.h - what index.c (writes) and index_scan.c (reads) share. */
#pragma once

#include "store/index.h"

#include <lmdb.h>

#define DUE_KEY_BYTES 16
#define TOTALS_BYTES 40 /* five numbers */
#define ROW_BYTES 24    /* live, first_id, last_id */

/* A key of the table `due`, ordered by time and then id. */
struct due_key {
    uint64_t due_ms, id;
};

/* A row as it was before the transaction. */
struct row_undo {
    uint32_t number;
    struct segment_row before;
};

struct index {
    MDB_env *env;
    MDB_dbi message, due, segment, meta, aside;
    MDB_txn *txn; /* the write transaction, or NULL */
    unsigned shard;
    uint32_t format; /* that the environment was written in */
    uint64_t map_bytes_max, map_bytes;
    uint64_t page_bytes;
    uint64_t reserved_end; /* of the file: disk space is kept up to there */
    unsigned grown;
    bool is_map_full;

    struct index_totals totals, totals_before;
    struct segment_row *rows;
    uint32_t row_count;
    struct row_undo *undo;
    uint32_t undo_count, undo_cap;

    uint64_t appended_id;  /* no id in `message` is larger */
    uint64_t boot_id;      /* no id of an earlier run is larger */
    struct due_key cursor; /* everything at or before it is in delivery, or was settled */
    uint8_t *scratch;      /* a record that is being changed */
    size_t scratch_bytes;

    struct due_key bad[INDEX_BAD_MAX];
    uint32_t bad_count;
};

/* LMDB's error as ours; remembers a full map. */
int index_err(struct index *index, int rc);
void due_key_write(struct due_key key, uint8_t out[DUE_KEY_BYTES]);
/* False when the key is not one. */
bool due_key_read(const MDB_val *val, struct due_key *key_out);
static inline bool due_key_is_after(struct due_key a, struct due_key b)
{
    return a.due_ms != b.due_ms ? a.due_ms > b.due_ms : a.id > b.id;
}
/* True while a message with this key is owned by the delivery half or by a put. */
bool index_is_in_delivery(const struct index *index, struct due_key key);
/* A copy of the record that may be changed; valid until the next one. */
void *index_scratch_copy(struct index *index, const MDB_val *record);
/* Makes room for this number in `rows`. */
void index_rows_grow(struct index *index, uint32_t number);
static inline MDB_val val_of(const void *data, size_t bytes)
{
    return (MDB_val){.mv_size = bytes, .mv_data = (void *)(uintptr_t)data};
}
static inline struct slice slice_of_val(const MDB_val *val)
{
    return slice_of(val->mv_data, val->mv_size);
}
/* Remembers a bad record for index_set_bad_aside(). False: too many at once. */
bool index_add_bad(struct index *index, struct due_key key);
