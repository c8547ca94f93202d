/* index_scan.c - the read side of a shard's environment: what is due, what is there.
 *
 * A read transaction lives as long as one call, so that it never pins pages. */
#include "store/index_internal.h"

#include "ring/base/log.h"

#include <inttypes.h>

/* The clock may step back by this much before the lease cursor follows. */
#define REWIND_SLACK_MS 60000

struct scan {
    MDB_txn *txn;
    MDB_cursor *cursor;
};

static void scan_end(struct scan *scan)
{
    if (scan->cursor != NULL) mdb_cursor_close(scan->cursor);
    if (scan->txn != NULL) mdb_txn_abort(scan->txn);
    *scan = (struct scan){NULL, NULL};
}

static int scan_begin(struct index *index, MDB_dbi table, struct scan *scan)
{
    ASSERT(index->txn == NULL);
    *scan = (struct scan){NULL, NULL};
    int rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &scan->txn);
    if (rc == 0) rc = mdb_cursor_open(scan->txn, table, &scan->cursor);
    if (rc != 0) scan_end(scan);
    return index_err(index, rc);
}

bool index_add_bad(struct index *index, struct due_key key)
{
    for (uint32_t i = 0; i < index->bad_count; i++)
        if (index->bad[i].id == key.id) return true;
    if (index->bad_count == INDEX_BAD_MAX) return false;
    index->bad[index->bad_count++] = key;
    return true;
}

/* --- leasing --- */

static int seek_due(struct scan *scan, struct due_key from, struct due_key *key_out)
{
    uint8_t bytes[DUE_KEY_BYTES];
    due_key_write(from, bytes);
    MDB_val key = val_of(bytes, sizeof(bytes)), val;
    int rc = mdb_cursor_get(scan->cursor, &key, &val, MDB_SET_RANGE);
    if (rc == 0 && !due_key_read(&key, key_out)) rc = MDB_CORRUPTED;
    return rc;
}

static int next_due(struct scan *scan, struct due_key *key_out)
{
    MDB_val key, val;
    int rc = mdb_cursor_get(scan->cursor, &key, &val, MDB_NEXT);
    if (rc == 0 && !due_key_read(&key, key_out)) rc = MDB_CORRUPTED;
    return rc;
}

/* The first key behind the cursor. At time 0 stand the orphans of earlier runs, up to boot_id, and
 * behind them what this run put and has in delivery: those are passed over. */
static int seek_first(struct index *index, struct scan *scan, struct due_key *key_out)
{
    struct due_key from = {index->cursor.due_ms, index->cursor.id + 1};
    if (index->cursor.id == UINT64_MAX) from = (struct due_key){index->cursor.due_ms + 1, 0};
    int rc = seek_due(scan, from, key_out);
    if (rc == 0 && key_out->due_ms == 0 && key_out->id > index->boot_id)
        rc = seek_due(scan, (struct due_key){1, 0}, key_out);
    return rc;
}

/* Decodes the message of one due key into the result. 0 also when it is a bad one. */
static int lease_one(struct index *index, struct scan *scan, struct due_key due,
                     struct lease_result *result)
{
    MDB_val key = val_of(&due.id, sizeof(due.id)), record;
    int rc = mdb_get(scan->txn, index->message, &key, &record);
    if (rc != 0 && rc != MDB_NOTFOUND) return index_err(index, rc);

    struct stored *stored = NULL;
    int err = -ERR_CORRUPT;
    if (rc == 0) err = stored_decode(slice_of_val(&record), due.id, &stored);
    if (err == 0 && stored->state != RECORD_QUEUED) {
        stored_free(stored);
        err = -ERR_CORRUPT;
    }
    if (err == -ERR_CORRUPT) return index_add_bad(index, due) ? 0 : -ERR_AGAIN;
    if (err != 0) return err;

    stored->due_ms = due.due_ms;
    list_push_back(&result->messages, &stored->message.node);
    result->count++;
    return 0;
}

int index_lease(struct index *index, uint64_t now_ms, uint32_t count_max,
                struct lease_result *result)
{
    list_init(&result->messages);
    result->count = 0;
    result->next_due_ms = UINT64_MAX;
    struct scan scan;
    int err = scan_begin(index, index->due, &scan);
    if (err != 0) return err;

    struct due_key due = {0, 0};
    int rc = seek_first(index, &scan, &due);
    while (rc == 0 && due.due_ms <= now_ms && result->count < count_max) {
        err = lease_one(index, &scan, due, result);
        if (err != 0) break;
        index->cursor = due;
        rc = next_due(&scan, &due);
        if (rc == 0 && due.due_ms == 0 && due.id > index->boot_id)
            rc = seek_due(&scan, (struct due_key){1, 0}, &due);
    }
    scan_end(&scan);
    if (rc == 0) result->next_due_ms = due.due_ms;
    /* Memory or the list of bad ones is out: what was read is fine, the rest comes next time. */
    if (err == -ERR_AGAIN || err == -ERR_MEMORY) err = 0;
    if (err == 0 && rc != 0 && rc != MDB_NOTFOUND) err = index_err(index, rc);
    return err;
}

bool index_wants_rewind(const struct index *index, uint64_t now_ms)
{
    return index->cursor.due_ms > now_ms + REWIND_SLACK_MS;
}

/* Moves one key to time 0, where it means "in delivery", in the record too. */
static int rewind_one(struct index *index, MDB_cursor *cursor, struct due_key due)
{
    uint8_t bytes[DUE_KEY_BYTES];
    int rc = mdb_cursor_del(cursor, 0);
    due_key_write((struct due_key){0, due.id}, bytes);
    MDB_val key = val_of(bytes, sizeof(bytes)), val = val_of("", 0);
    if (rc == 0) rc = mdb_put(index->txn, index->due, &key, &val, 0);
    if (rc != 0) return rc;

    key = val_of(&due.id, sizeof(due.id));
    rc = mdb_get(index->txn, index->message, &key, &val);
    struct record_head head;
    if (rc != 0 || !record_check(slice_of_val(&val), due.id, &head))
        return rc == MDB_NOTFOUND ? 0 : rc; /* a bad one is found when it is leased */
    size_t record_len = val.mv_size;
    void *record = index_scratch_copy(index, &val);
    record_set_due(record, 0);
    record_seal(record, record_len);
    val = val_of(record, record_len);
    return mdb_put(index->txn, index->message, &key, &val, 0);
}

/* All keys at or before the cursor are in delivery, so there are few of them. */
int index_rewind(struct index *index, uint64_t now_ms)
{
    ASSERT(index_wants_rewind(index, now_ms));
    int err = index_begin(index);
    if (err != 0) return err;

    struct scan scan = {index->txn, NULL};
    int rc = mdb_cursor_open(index->txn, index->due, &scan.cursor);
    bool is_open = rc == 0;
    struct due_key due;
    while (rc == 0) {
        rc = seek_due(&scan, (struct due_key){now_ms + 1, 0}, &due);
        if (rc != 0 || due_key_is_after(due, index->cursor)) break;
        rc = rewind_one(index, scan.cursor, due);
    }
    if (is_open) mdb_cursor_close(scan.cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        index_abort(index);
        return index_err(index, rc);
    }
    err = index_commit(index);
    if (err != 0) return err;
    log_text(LOG_WARN, "clock_stepped_back", "shard %u: by %" PRIu64 " ms", index->shard,
             index->cursor.due_ms - now_ms);
    index->cursor = (struct due_key){now_ms, UINT64_MAX};
    return 0;
}

/* --- finding extents --- */

/* Adds the extents of one message. True when there is room for more afterwards. */
static bool find_in_record(struct index *index, struct extent_find *find, uint64_t id,
                           const MDB_val *record)
{
    struct record_head head;
    /* A bad record keeps its extents. Leasing finds it and raises the alarm; the listing shows it.
     */
    if (!record_check(slice_of_val(record), id, &head)) return true;
    if (index_is_in_delivery(index, (struct due_key){head.due_ms, id})) return true;
    for (uint32_t i = id == find->id ? find->extent_index : 0; i < head.extent_count; i++) {
        struct extent extent = record_extent(record->mv_data, i);
        if (extent.segment != find->segment) continue;
        if (find->count == INDEX_FIND_MAX) {
            find->id = id;
            find->extent_index = i;
            return false;
        }
        find->found[find->count++] =
            (struct extent_move){.id = id, .extent_index = i, .from = extent};
    }
    return true;
}

int index_find(struct index *index, struct extent_find *find)
{
    ASSERT(find->segment < index->row_count);
    find->count = 0;
    find->is_end = true;
    const struct segment_row *row = &index->rows[find->segment];
    if (row->live == 0) return 0;
    struct scan scan;
    int err = scan_begin(index, index->message, &scan);
    if (err != 0) return err;

    uint64_t id = MAX(find->id, row->first_id);
    MDB_val key = val_of(&id, sizeof(id)), record;
    int rc = mdb_cursor_get(scan.cursor, &key, &record, MDB_SET_RANGE);
    for (unsigned visits = 0; rc == 0; visits++) {
        memcpy(&id, key.mv_data, sizeof(id));
        if (id > row->last_id) break;
        if (visits == INDEX_FIND_VISIT_MAX) {
            find->id = id;
            find->extent_index = 0;
            find->is_end = false;
            break;
        }
        if (!find_in_record(index, find, id, &record)) {
            find->is_end = false;
            break;
        }
        rc = mdb_cursor_get(scan.cursor, &key, &record, MDB_NEXT);
    }
    scan_end(&scan);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : index_err(index, rc);
}

/* --- listing --- */

static int list_message(uint64_t id, const MDB_val *record, struct list *messages)
{
    struct stored *stored;
    int err = -ERR_CORRUPT;
    if (record != NULL) err = stored_decode(slice_of_val(record), id, &stored);
    if (err == -ERR_CORRUPT) {
        struct record_head head = {.state = RECORD_CORRUPT, .id = id, .due_ms = DUE_NEVER};
        err = stored_create(&head, &(struct envelope){.recipients = NULL}, &stored);
    }
    if (err == 0) list_push_back(messages, &stored->message.node);
    return err;
}

static int seek_id(MDB_cursor *cursor, uint64_t from, uint64_t *id_out, MDB_val *record)
{
    MDB_val key = val_of(&from, sizeof(from));
    int rc = mdb_cursor_get(cursor, &key, record, MDB_SET_RANGE);
    *id_out = UINT64_MAX;
    if (rc == 0) memcpy(id_out, key.mv_data, sizeof(*id_out));
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int index_list(struct index *index, uint64_t after_id, uint32_t count_max, struct list *messages)
{
    struct scan scan;
    int err = scan_begin(index, index->message, &scan);
    if (err != 0) return err;
    MDB_cursor *aside = NULL;
    int rc = mdb_cursor_open(scan.txn, index->aside, &aside);

    uint64_t from = after_id + 1, id, aside_id;
    for (uint32_t i = 0; i < count_max && rc == 0 && err == 0 && from != 0; i++) {
        MDB_val record, ignored;
        rc = seek_id(scan.cursor, from, &id, &record);
        if (rc == 0) rc = seek_id(aside, from, &aside_id, &ignored);
        if (rc != 0 || MIN(id, aside_id) == UINT64_MAX) break;
        err = list_message(MIN(id, aside_id), id <= aside_id ? &record : NULL, messages);
        from = MIN(id, aside_id) + 1;
    }
    if (aside != NULL) mdb_cursor_close(aside);
    scan_end(&scan);
    return err != 0 ? err : index_err(index, rc);
}

/* --- bad records --- */

bool index_has_bad(const struct index *index)
{
    return index->bad_count > 0;
}

/* Moves the raw bytes to `aside`. Their extents stay counted as alive: nobody knows them, and the
 * bodies are kept for whoever looks into it. */
static int set_aside(struct index *index, struct due_key bad)
{
    MDB_val key = val_of(&bad.id, sizeof(bad.id)), record;
    int rc = mdb_get(index->txn, index->message, &key, &record);
    if (rc == 0) {
        MDB_val copy = val_of(index_scratch_copy(index, &record), record.mv_size);
        rc = mdb_put(index->txn, index->aside, &key, &copy, 0);
        if (rc == 0) rc = mdb_del(index->txn, index->message, &key, NULL);
        if (rc != 0) return rc;
        index->totals.queued -= MIN(index->totals.queued, 1);
        index->totals.corrupt++;
        message_alarm("record_corrupt", bad.id, "its record is put aside");
    } else if (rc == MDB_NOTFOUND) {
        message_alarm("due_key_dangling", bad.id, "it is due, but there is no such message");
    } else {
        return rc;
    }
    uint8_t bytes[DUE_KEY_BYTES];
    due_key_write(bad, bytes);
    key = val_of(bytes, sizeof(bytes));
    rc = mdb_del(index->txn, index->due, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int index_set_bad_aside(struct index *index)
{
    int err = index_begin(index);
    if (err != 0) return err;
    int rc = 0;
    for (uint32_t i = 0; i < index->bad_count && rc == 0; i++)
        rc = set_aside(index, index->bad[i]);
    if (rc != 0) {
        index_abort(index);
        return index_err(index, rc);
    }
    err = index_commit(index);
    if (err == 0) index->bad_count = 0;
    return err;
}

int index_oldest(struct index *index, struct index_oldest *oldest)
{
    *oldest = (struct index_oldest){0};
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    int rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) return index_err(index, rc);
    rc = mdb_cursor_open(txn, index->message, &cursor);
    MDB_val key, record;
    for (unsigned i = 0; rc == 0 && i < INDEX_OLDEST_VISIT_MAX; i++) {
        struct record_head head;
        uint64_t id;
        rc = mdb_cursor_get(cursor, &key, &record, MDB_NEXT);
        if (rc != 0 || key.mv_size != sizeof(id)) break;
        memcpy(&id, key.mv_data, sizeof(id));
        if (!record_check(slice_of_val(&record), id, &head)) continue;
        uint64_t *at = head.state == RECORD_QUEUED ? &oldest->queued_ms
                       : head.state == RECORD_HELD ? &oldest->held_ms
                                                   : &oldest->corrupt_ms;
        if (*at == 0) *at = head.received_ms;
        if (oldest->queued_ms != 0 && oldest->held_ms != 0) break;
    }
    if (cursor != NULL) mdb_cursor_close(cursor); /* a read-only transaction does not end it */
    mdb_txn_abort(txn);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : index_err(index, rc);
}
