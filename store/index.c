/* index.c - the write side of a shard's LMDB environment. */
#include "store/index_internal.h"

#include "ring/base/log.h"
#include "ring/base/memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#define FREE_TABLE 0 /* LMDB's own table of free pages */
#define PUT_PAGES                                                                                  \
    2 /* new pages of one put besides a large record; what is more the reserve has                 \
       */
#define PAGE_HEADER_BYTES 16
#define PAGE_BYTES_MIN 4096
#define DISK_RESERVE_BYTES (16ull << 20)

int index_err(struct index *index, int rc)
{
    index->is_map_full = rc == MDB_MAP_FULL;
    switch (rc) {
    case 0:
        return 0;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
        return -ERR_FULL;
    case MDB_NOTFOUND:
        return -ERR_NOT_FOUND;
    case MDB_VERSION_MISMATCH:
        return -ERR_VERSION;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return -ERR_CORRUPT;
    default:
        return rc > 0 ? -rc : -ERR_IO;
    }
}

/* --- keys and fixed values --- */

void due_key_write(struct due_key key, uint8_t out[DUE_KEY_BYTES])
{
    uint64_t parts[2] = {__builtin_bswap64(key.due_ms), __builtin_bswap64(key.id)};
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "keys are written big-endian");
    memcpy(out, parts, DUE_KEY_BYTES);
}

bool due_key_read(const MDB_val *val, struct due_key *key_out)
{
    if (val->mv_size != DUE_KEY_BYTES) return false;
    uint64_t parts[2];
    memcpy(parts, val->mv_data, DUE_KEY_BYTES);
    key_out->due_ms = __builtin_bswap64(parts[0]);
    key_out->id = __builtin_bswap64(parts[1]);
    return true;
}

bool index_is_in_delivery(const struct index *index, struct due_key key)
{
    if (key.due_ms == DUE_NEVER) return false;
    if (key.due_ms == 0 && key.id > index->boot_id) return true;
    return !due_key_is_after(key, index->cursor);
}

static void totals_write(const struct index_totals *totals, uint8_t out[TOTALS_BYTES])
{
    struct writer w = writer_of(out, TOTALS_BYTES);
    write_u64(&w, totals->queued);
    write_u64(&w, totals->held);
    write_u64(&w, totals->corrupt);
    write_u64(&w, totals->body_bytes);
    write_u64(&w, totals->last_id);
    ASSERT(!w.is_bad);
}

/* --- segment rows --- */

void index_rows_grow(struct index *index, uint32_t number)
{
    ASSERT(number <= RECORD_SEGMENT_MAX);
    if (number < index->row_count) return;
    uint32_t count = (uint32_t)ROUND_UP(number + 1, 64u);
    index->rows = xrealloc(index->rows, count * sizeof(*index->rows));
    memset(index->rows + index->row_count, 0, (count - index->row_count) * sizeof(*index->rows));
    index->row_count = count;
}

/* The row, remembered so that an abort restores it. */
static struct segment_row *row_touch(struct index *index, uint32_t number)
{
    index_rows_grow(index, number);
    if (index->rows[number].undo_at != 0) return &index->rows[number];
    if (index->undo_count == index->undo_cap) {
        index->undo_cap = MAX(index->undo_cap * 2, 16);
        index->undo = xrealloc(index->undo, index->undo_cap * sizeof(*index->undo));
    }
    index->undo[index->undo_count++] = (struct row_undo){number, index->rows[number]};
    index->rows[number].undo_at = index->undo_count;
    return &index->rows[number];
}

static void row_add(struct index *index, uint64_t id, const struct extent *extent)
{
    struct segment_row *row = row_touch(index, extent->segment);
    if (row->live == 0) {
        row->first_id = row->last_id = id;
    } else {
        row->first_id = MIN(row->first_id, id);
        row->last_id = MAX(row->last_id, id);
    }
    row->live += extent_room(extent);
}

static void row_sub(struct index *index, uint64_t id, const struct extent *extent)
{
    struct segment_row *row = row_touch(index, extent->segment);
    uint32_t room = extent_room(extent);
    if (row->live < room) {
        message_alarm("segment_count_wrong", id, NULL);
        return; /* too many bytes counted as alive only keeps a segment from being reused */
    }
    row->live -= room;
}

static int rows_store(struct index *index)
{
    for (uint32_t i = 0; i < index->undo_count; i++) {
        uint32_t number = index->undo[i].number;
        const struct segment_row *row = &index->rows[number];
        MDB_val key = val_of(&number, sizeof(number));
        int rc;
        if (row->live == 0) {
            rc = mdb_del(index->txn, index->segment, &key, NULL);
            if (rc == MDB_NOTFOUND) rc = 0;
        } else {
            uint8_t bytes[ROW_BYTES];
            struct writer w = writer_of(bytes, sizeof(bytes));
            write_u64(&w, row->live);
            write_u64(&w, row->first_id);
            write_u64(&w, row->last_id);
            MDB_val val = val_of(bytes, sizeof(bytes));
            rc = mdb_put(index->txn, index->segment, &key, &val, 0);
        }
        if (rc != 0) return rc;
    }
    return 0;
}

static void rows_keep(struct index *index)
{
    for (uint32_t i = 0; i < index->undo_count; i++)
        index->rows[index->undo[i].number].undo_at = 0;
    index->undo_count = 0;
}

static void rows_undo(struct index *index)
{
    for (uint32_t i = 0; i < index->undo_count; i++)
        index->rows[index->undo[i].number] = index->undo[i].before;
    index->undo_count = 0;
}

/* --- transactions --- */

int index_begin(struct index *index)
{
    ASSERT(index->txn == NULL);
    ASSERT(index->undo_count == 0);
    int rc = mdb_txn_begin(index->env, NULL, 0, &index->txn);
    if (rc != 0) {
        index->txn = NULL;
        return index_err(index, rc);
    }
    index->totals_before = index->totals;
    return 0;
}

static int totals_store(struct index *index)
{
    uint8_t bytes[TOTALS_BYTES];
    totals_write(&index->totals, bytes);
    MDB_val key = val_of("totals", 6), val = val_of(bytes, sizeof(bytes));
    return mdb_put(index->txn, index->meta, &key, &val, 0);
}

int index_commit(struct index *index)
{
    ASSERT(index->txn != NULL);
    int rc = rows_store(index);
    if (rc == 0) rc = totals_store(index);
    if (rc != 0) {
        index_abort(index);
        return index_err(index, rc);
    }
    rc = mdb_txn_commit(index->txn);
    index->txn = NULL; /* freed by LMDB, also when it failed */
    if (rc != 0) {
        rows_undo(index);
        index->totals = index->totals_before;
        return index_err(index, rc);
    }
    rows_keep(index);
    return 0;
}

void index_abort(struct index *index)
{
    if (index->txn == NULL) return;
    mdb_txn_abort(index->txn);
    index->txn = NULL;
    rows_undo(index);
    index->totals = index->totals_before;
}

/* --- changes --- */

/* The time at which a message may be put without being missed by the lease cursor. */
static uint64_t due_place(const struct index *index, uint64_t due_ms)
{
    if (due_ms == DUE_NEVER) return due_ms;
    return MAX(due_ms, index->cursor.due_ms + 1);
}

static int due_insert(struct index *index, struct due_key due)
{
    if (due.due_ms == DUE_NEVER) return 0;
    uint8_t bytes[DUE_KEY_BYTES];
    due_key_write(due, bytes);
    MDB_val key = val_of(bytes, sizeof(bytes)), val = val_of("", 0);
    return mdb_put(index->txn, index->due, &key, &val, 0);
}

/* Removes the key. A rewind may have moved that of a message in delivery to time 0. */
static int due_remove(struct index *index, struct due_key due)
{
    if (due.due_ms == DUE_NEVER) return 0;
    uint8_t bytes[DUE_KEY_BYTES];
    due_key_write(due, bytes);
    MDB_val key = val_of(bytes, sizeof(bytes));
    int rc = mdb_del(index->txn, index->due, &key, NULL);
    if (rc == MDB_NOTFOUND && due.due_ms != 0) {
        due_key_write((struct due_key){0, due.id}, bytes);
        rc = mdb_del(index->txn, index->due, &key, NULL);
    }
    if (rc != MDB_NOTFOUND) return rc;
    message_alarm("due_key_missing", due.id, NULL);
    return 0;
}

static int record_store(struct index *index, uint64_t id, const void *record, size_t bytes,
                        unsigned flags)
{
    MDB_val key = val_of(&id, sizeof(id)), val = val_of(record, bytes);
    return mdb_put(index->txn, index->message, &key, &val, flags);
}

int index_put(struct index *index, struct stored *stored)
{
    ASSERT(index->txn != NULL);
    ASSERT(stored->state == RECORD_QUEUED);
    struct message *message = &stored->message;

    /* A fresh message that stays in memory is in delivery from the start: time 0. */
    if (stored->due_ms != 0) stored->due_ms = due_place(index, stored->due_ms);
    record_set_due(stored->record, stored->due_ms);
    record_seal(stored->record, stored->record_bytes);

    unsigned flags = message->id > index->appended_id ? MDB_APPEND : MDB_NOOVERWRITE;
    int rc = record_store(index, message->id, stored->record, stored->record_bytes, flags);
    if (rc == 0) rc = due_insert(index, (struct due_key){stored->due_ms, message->id});
    if (rc != 0) return index_err(index, rc);

    for (uint32_t i = 0; i < message->extent_count; i++)
        row_add(index, message->id, &message->extents[i]);
    index->totals.queued++;
    index->totals.body_bytes += message->body_bytes;
    index->totals.last_id = MAX(index->totals.last_id, message->id);
    index->appended_id = MAX(index->appended_id, message->id);
    return 0;
}

/* A message whose record was put aside while it was in memory, whole: it is gone from there. */
static int aside_remove(struct index *index, uint64_t id, int *result_out)
{
    MDB_val key = val_of(&id, sizeof(id));
    int rc = mdb_del(index->txn, index->aside, &key, NULL);
    *result_out = rc == MDB_NOTFOUND ? -ERR_NOT_FOUND : 0;
    if (rc == MDB_NOTFOUND) return 0;
    if (rc == 0) index->totals.corrupt -= MIN(index->totals.corrupt, 1);
    return rc;
}

int index_delete(struct index *index, const struct stored *stored, int *result_out)
{
    ASSERT(index->txn != NULL);
    const struct message *message = &stored->message;
    *result_out = 0;

    MDB_val key = val_of(&message->id, sizeof(message->id));
    int rc = mdb_del(index->txn, index->message, &key, NULL);
    if (rc == 0) {
        index->totals.queued -= MIN(index->totals.queued, 1);
        rc = due_remove(index, (struct due_key){stored->due_ms, message->id});
    } else if (rc == MDB_NOTFOUND) {
        rc = aside_remove(index, message->id, result_out);
    }
    if (rc != 0) return index_err(index, rc);
    if (*result_out != 0) return 0;

    for (uint32_t i = 0; i < message->extent_count; i++)
        row_sub(index, message->id, &message->extents[i]);
    index->totals.body_bytes -= MIN(index->totals.body_bytes, message->body_bytes);
    return 0;
}

/* The key as it is now: that of memory, or time 0 after a rewind. */
static int due_find(struct index *index, uint64_t id, uint64_t *due_ms)
{
    uint8_t bytes[DUE_KEY_BYTES];
    due_key_write((struct due_key){*due_ms, id}, bytes);
    MDB_val key = val_of(bytes, sizeof(bytes)), val;
    int rc = mdb_get(index->txn, index->due, &key, &val);
    if (rc == MDB_NOTFOUND) {
        *due_ms = 0;
        return 0;
    }
    return rc;
}

int index_replace(struct index *index, struct replacement *replacement, int *result_out)
{
    ASSERT(index->txn != NULL);
    uint64_t id = replacement->id, due_ms = replacement->old_due_ms;
    *result_out = 0;

    MDB_val key = val_of(&id, sizeof(id)), old;
    int rc = mdb_get(index->txn, index->message, &key, &old);
    if (rc == MDB_NOTFOUND) {
        *result_out = -ERR_NOT_FOUND;
        return 0;
    }
    if (rc == 0 && replacement->keeps_due) {
        rc = due_find(index, id, &due_ms);
    } else if (rc == 0) {
        rc = due_remove(index, (struct due_key){due_ms, id});
        due_ms = due_place(index, replacement->due_ms);
        if (rc == 0) rc = due_insert(index, (struct due_key){due_ms, id});
    }
    if (rc != 0) return index_err(index, rc);

    record_set_due(replacement->record, due_ms);
    record_seal(replacement->record, replacement->record_bytes);
    rc = record_store(index, id, replacement->record, replacement->record_bytes, 0);
    if (rc != 0) return index_err(index, rc);
    if (replacement->state != RECORD_QUEUED) {
        index->totals.queued -= MIN(index->totals.queued, 1);
        if (replacement->state == RECORD_HELD)
            index->totals.held++;
        else
            index->totals.corrupt++;
    }
    return 0;
}

/* A copy of the record that may be changed. */
void *index_scratch_copy(struct index *index, const MDB_val *record)
{
    if (record->mv_size > index->scratch_bytes) {
        index->scratch = xrealloc(index->scratch, record->mv_size);
        index->scratch_bytes = record->mv_size;
    }
    memcpy(index->scratch, record->mv_data, record->mv_size);
    return index->scratch;
}

int index_move(struct index *index, const struct extent_move *move, int *result_out)
{
    ASSERT(index->txn != NULL);
    ASSERT(move->from.bytes == move->to.bytes);
    uint64_t id = move->id;
    *result_out = -ERR_NOT_FOUND;

    MDB_val key = val_of(&id, sizeof(id)), record;
    int rc = mdb_get(index->txn, index->message, &key, &record);
    if (rc == MDB_NOTFOUND) return 0;
    if (rc != 0) return index_err(index, rc);

    struct record_head head;
    if (!record_check(slice_of_val(&record), id, &head)) return 0;
    if (move->extent_index >= head.extent_count) return 0;
    struct extent now = record_extent(record.mv_data, move->extent_index);
    if (memcmp(&now, &move->from, sizeof(now)) != 0) return 0;
    if (index_is_in_delivery(index, (struct due_key){head.due_ms, id})) {
        *result_out = -ERR_AGAIN;
        return 0;
    }

    size_t bytes = record.mv_size;
    void *changed = index_scratch_copy(index, &record);
    record_set_extent(changed, move->extent_index, &move->to);
    record_seal(changed, bytes);
    rc = record_store(index, id, changed, bytes, 0);
    if (rc != 0) return index_err(index, rc);
    row_sub(index, id, &move->from);
    row_add(index, id, &move->to);
    *result_out = 0;
    return 0;
}

/* --- room --- */

bool index_is_map_full(const struct index *index)
{
    return index->is_map_full;
}

int index_grow(struct index *index)
{
    ASSERT(index->txn == NULL);
    if (index->grown >= INDEX_GROW_MAX) return -ERR_FULL;
    int rc = mdb_env_set_mapsize(index->env, index->map_bytes + INDEX_MAP_RESERVE_BYTES);
    if (rc != 0) return index_err(index, rc);
    index->grown++;
    index->map_bytes += INDEX_MAP_RESERVE_BYTES;
    log_text(LOG_WARN, "map_grown", "shard %u: map of %" PRIu64 " bytes, its reserve was used up",
             index->shard, index->map_bytes);
    return 0;
}

/* Each row of LMDB's free table is a list of pages that begins with its length. */
static int count_free_pages(struct index *index, uint64_t *pages_out)
{
    *pages_out = 0;
    MDB_txn *txn;
    int rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) return index_err(index, rc);
    MDB_cursor *cursor;
    rc = mdb_cursor_open(txn, FREE_TABLE, &cursor);
    if (rc == 0) {
        MDB_val key, val;
        while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
            size_t count = 0;
            if (val.mv_size >= sizeof(count)) memcpy(&count, val.mv_data, sizeof(count));
            *pages_out += count;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return rc == MDB_NOTFOUND ? 0 : index_err(index, rc);
}

int index_pages_left(struct index *index, uint64_t *pages_out)
{
    ASSERT(index->txn == NULL);
    MDB_envinfo info;
    int rc = mdb_env_info(index->env, &info);
    if (rc != 0) return index_err(index, rc);

    uint64_t pages_max = index->map_bytes_max / index->page_bytes, used = info.me_last_pgno + 1;
    if (used > pages_max / 4 * 3) {
        uint64_t free_pages;
        int err = count_free_pages(index, &free_pages);
        if (err != 0) return err;
        used -= MIN(used, free_pages);
    }
    *pages_out = pages_max - MIN(pages_max, used);
    return 0;
}

uint64_t index_pages_for(size_t record_bytes)
{
    return PUT_PAGES + (record_bytes + PAGE_HEADER_BYTES) / PAGE_BYTES_MIN;
}

void index_reserve_disk(struct index *index)
{
    MDB_envinfo info;
    int file;
    if (mdb_env_info(index->env, &info) != 0 || mdb_env_get_fd(index->env, &file) != 0) return;
    uint64_t end = (info.me_last_pgno + 1) * index->page_bytes;
    if (end + DISK_RESERVE_BYTES / 2 <= index->reserved_end) return;
    /* When the disk is full already there is nothing to keep; some file systems cannot. */
    if (fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)end, (off_t)DISK_RESERVE_BYTES) == 0)
        index->reserved_end = end + DISK_RESERVE_BYTES;
}

/* --- state --- */

const struct index_totals *index_totals(const struct index *index)
{
    return &index->totals;
}

uint32_t index_row_count(const struct index *index)
{
    return index->row_count;
}

const struct segment_row *index_row(const struct index *index, uint32_t number)
{
    ASSERT(number < index->row_count);
    return &index->rows[number];
}
