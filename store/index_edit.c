/* index_edit.c - an operator's edits of messages on disk, in the committer's thread. */
#include "store/edit.h"
#include "store/index_internal.h"

#include "ring/base/memory.h"

#include <stdlib.h>

static bool fits_state(enum queue_edit_kind kind, enum record_state state)
{
    if (kind == EDIT_REMOVE) return true;
    if (state == RECORD_CORRUPT) return false;
    return kind != EDIT_RELEASE || state == RECORD_HELD;
}

static bool is_anything_left(const struct envelope *envelope)
{
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        const struct recipient *recipient = &envelope->recipients[i];
        if (recipient->state == RECIPIENT_QUEUED || recipient->report != REPORT_NONE) return true;
    }
    return false;
}

static enum record_state next_state(enum queue_edit_kind kind, enum record_state state)
{
    if (kind == EDIT_HOLD) return RECORD_HELD;
    if (kind == EDIT_RETRY) return state;
    return RECORD_QUEUED;
}

/* The message as it was goes; the totals follow. */
static int remove_message(struct index *index, struct stored *stored)
{
    int result = 0;
    enum record_state state = stored->state;
    int err = index_delete(index, stored, &result);
    if (err != 0 || state == RECORD_QUEUED) return err;
    /* index_delete() takes it for a queued one. */
    index->totals.queued++;
    if (state == RECORD_HELD)
        index->totals.held -= MIN(index->totals.held, 1);
    else
        index->totals.corrupt -= MIN(index->totals.corrupt, 1);
    return 0;
}

static int rewrite(struct index *index, struct edit_job *job, const struct queue_edit *edit,
                   struct stored *stored)
{
    struct message *message = &stored->message;
    enum record_state before = stored->state, after = next_state(edit->kind, before);
    if (edit->kind != EDIT_HOLD) edit_recipients(edit, &message->envelope, job->now_ms);
    size_t bytes = record_bytes(&message->envelope, message->extent_count);
    struct replacement *replacement = malloc(sizeof(*replacement) + bytes);
    if (replacement == NULL || bytes == 0) {
        free(replacement);
        return -ERR_MEMORY;
    }
    *replacement = (struct replacement){
        .id = message->id,
        .old_due_ms = stored->due_ms,
        .due_ms = after == RECORD_QUEUED ? job->now_ms : DUE_NEVER,
        .state = RECORD_QUEUED, /* the totals are changed here */
        .record_bytes = bytes,
    };
    const struct record_head head = {
        .state = after,
        .form = message->envelope.form,
        .id = message->id,
        .due_ms = DUE_NEVER,
        .received_ms = message->envelope.received_ms,
        .body_bytes = message->body_bytes,
        .trace_bytes = message->envelope.trace_bytes,
        .extent_count = message->extent_count,
        .recipient_count = message->envelope.recipient_count,
    };
    int result = 0;
    int err = record_write(replacement->record, bytes, &head, &message->envelope, message->extents)
                  ? index_replace(index, replacement, &result)
                  : -ERR_TOO_LARGE;
    free(replacement);
    if (err != 0) return err;
    if (before == RECORD_HELD && after == RECORD_QUEUED) {
        index->totals.held -= MIN(index->totals.held, 1);
        index->totals.queued++;
    } else if (before == RECORD_QUEUED && after == RECORD_HELD) {
        index->totals.queued -= MIN(index->totals.queued, 1);
        index->totals.held++;
    }
    job->is_due = job->is_due || after == RECORD_QUEUED;
    return 0;
}

static int edit_stored(struct index *index, struct edit_job *job, struct queue_edit *edit,
                       struct stored *stored)
{
    edit->result = 0;
    if (!fits_state(edit->kind, stored->state)) {
        edit->result = -ERR_INVALID;
        return 0;
    }
    if (stored->state == RECORD_QUEUED &&
        index_is_in_delivery(index, (struct due_key){stored->due_ms, edit->id})) {
        edit->result = -ERR_BUSY;
        return 0;
    }
    bool is_bounced = edit->kind == EDIT_BOUNCE;
    if (is_bounced) edit_recipients(edit, &stored->message.envelope, job->now_ms);
    bool is_over = is_bounced && !is_anything_left(&stored->message.envelope);
    if (edit->kind != EDIT_REMOVE && !is_over) return rewrite(index, job, edit, stored);
    return remove_message(index, stored);
}

int index_edit(struct index *index, struct edit_job *job, struct queue_edit *edit)
{
    ASSERT(index->txn != NULL);
    uint64_t id = edit->id;
    MDB_val key = val_of(&id, sizeof(id)), record;
    int rc = mdb_get(index->txn, index->message, &key, &record);
    if (rc == MDB_NOTFOUND) return 0;
    if (rc != 0) return index_err(index, rc);
    struct stored *stored;
    int err = stored_decode(slice_of_val(&record), id, &stored);
    if (err == -ERR_CORRUPT) {
        edit->result = -ERR_INVALID; /* a read puts it aside */
        return 0;
    }
    if (err != 0) return err;
    err = edit_stored(index, job, edit, stored);
    key = val_of(&id, sizeof(id));
    bool is_removed = err == 0 && edit->result == 0 &&
                      mdb_get(index->txn, index->message, &key, &record) == MDB_NOTFOUND;
    if (is_removed)
        list_push_back(&job->removed, &stored->message.node);
    else
        stored_free(stored);
    return err;
}

/* --- format 1 --- */

#define REQUEUE_STEP_MS 5 /* 200 a second */

/* Its record, queued and due at `due_ms`. */
static int requeue(struct index *index, MDB_cursor *cursor, const MDB_val *key,
                   const MDB_val *record, uint64_t due_ms)
{
    uint8_t bytes[DUE_KEY_BYTES];
    struct due_key due = {.due_ms = due_ms};
    memcpy(&due.id, key->mv_data, sizeof(due.id));
    size_t record_len = record->mv_size;
    void *changed = index_scratch_copy(index, record);
    record_set_state(changed, RECORD_QUEUED);
    record_set_due(changed, due_ms);
    record_seal(changed, record_len);
    MDB_val same = *key, val = val_of(changed, record_len);
    int rc = mdb_cursor_put(cursor, &same, &val, MDB_CURRENT);
    if (rc != 0) return rc;
    due_key_write(due, bytes);
    MDB_val due_val = val_of(bytes, sizeof(bytes)), none = val_of("", 0);
    return mdb_put(index->txn, index->due, &due_val, &none, 0);
}

int index_requeue_failed(struct index *index, uint64_t now_ms)
{
    ASSERT(index->txn != NULL);
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(index->txn, index->message, &cursor);
    if (rc != 0) return index_err(index, rc);
    MDB_val key, record;
    uint64_t count = 0;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &record, MDB_NEXT)) == 0) {
        struct record_head head;
        uint64_t id;
        if (key.mv_size != sizeof(id)) continue;
        memcpy(&id, key.mv_data, sizeof(id));
        if (!record_check(slice_of_val(&record), id, &head) || head.state != RECORD_HELD) continue;
        rc = requeue(index, cursor, &key, &record, now_ms + count++ * REQUEUE_STEP_MS);
    }
    mdb_cursor_close(cursor);
    index->totals.queued += count;
    index->totals.held = 0;
    return rc == MDB_NOTFOUND ? 0 : index_err(index, rc);
}
