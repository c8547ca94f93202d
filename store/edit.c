/* edit.c - queue_edit() and what of it happens on the core. */
#include "store/edit.h"

#include "store/queue_internal.h"

#include <stdlib.h>

/* One that waits until its message has been settled. */
struct waiting_edit {
    struct map_node node;
    struct queue_edit edit; /* its reason is the memory behind it */
    char reason[];
};

/* To the core. */
struct edit_mail {
    struct mail mail;
    struct queue *queue;
    struct list removed; /* struct stored */
    struct waiting_edit **waiting;
    size_t waiting_count;
    bool is_due;
};

static struct slice key_of(const uint64_t *id)
{
    return slice_of((const char *)id, sizeof(*id));
}

static bool edit_match(const struct map_node *node, struct slice key)
{
    const struct waiting_edit *waiting = CONTAINER_OF(node, const struct waiting_edit, node);
    return slice_eq(key_of(&waiting->edit.id), key);
}

void edits_init(struct queue *queue)
{
    map_init(&queue->edits);
}

void edits_finish(struct queue *queue)
{
    struct map_node *node;
    while ((node = map_next(&queue->edits, NULL)) != NULL) {
        map_remove(&queue->edits, node);
        free(CONTAINER_OF(node, struct waiting_edit, node));
    }
    map_finish(&queue->edits);
}

/* --- what an edit does --- */

static bool is_reported(const struct envelope *envelope, const struct recipient *recipient)
{
    if (envelope->sender.len == 0 || envelope->is_own) return false;
    return recipient->notify == 0 || (recipient->notify & DSN_NOTIFY_FAILURE) != 0;
}

void edit_recipients(const struct queue_edit *edit, struct envelope *envelope, uint64_t now_ms)
{
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        struct recipient *recipient = &envelope->recipients[i];
        bool is_left = recipient->state == RECIPIENT_QUEUED || recipient->report != REPORT_NONE;
        if (!is_left) continue;
        recipient->next_ms = now_ms;
        if (edit->kind != EDIT_BOUNCE || recipient->state != RECIPIENT_QUEUED) continue;
        recipient->state = RECIPIENT_FAILED;
        recipient->reply = edit->reason;
        recipient->report = is_reported(envelope, recipient) ? REPORT_FAILED : REPORT_NONE;
    }
}

bool edits_apply(struct queue *queue, struct message *message, enum record_state *state_out)
{
    if (queue->edits.count == 0) return false;
    struct map_node *node = map_find(&queue->edits, key_of(&message->id), edit_match);
    if (node == NULL) return false;
    struct waiting_edit *waiting = CONTAINER_OF(node, struct waiting_edit, node);
    map_remove(&queue->edits, node);
    bool is_removed = waiting->edit.kind == EDIT_REMOVE;
    if (waiting->edit.kind == EDIT_HOLD) {
        *state_out = RECORD_HELD;
    } else if (!is_removed) {
        /* The reason lives on with the queue's other settled edits until the record is written,
         * which is done before queue_settle() returns. */
        edit_recipients(&waiting->edit, &message->envelope, loop_wall_ms(queue->loop));
        free(queue->edit_applied);
        queue->edit_applied = waiting;
        return false;
    }
    free(waiting);
    return is_removed;
}

/* --- on the core --- */

static void release_removed(struct list *removed)
{
    struct list *node;
    while ((node = list_pop_front(removed)) != NULL) {
        struct message *message = LIST_ENTRY(node, struct message, node);
        for (uint32_t at = 0; at < message->extent_count; at++)
            segments_release(&message->shard->segments, &message->extents[at]);
        stored_free(stored_of(message));
    }
}

static void keep_waiting(struct queue *queue, struct waiting_edit *waiting)
{
    struct map_node *node = map_find(&queue->edits, key_of(&waiting->edit.id), edit_match);
    if (node != NULL) { /* the later one counts */
        map_remove(&queue->edits, node);
        free(CONTAINER_OF(node, struct waiting_edit, node));
    }
    if (queue->edits.count >= QUEUE_EDITS_WAITING_MAX) {
        message_alarm("edit_dropped", waiting->edit.id,
                      "too many edits wait for deliveries to end");
        free(waiting);
        return;
    }
    map_insert(&queue->edits, key_of(&waiting->edit.id), &waiting->node);
}

static void on_edit_mail(struct mail *mail)
{
    struct edit_mail *edit = CONTAINER_OF(mail, struct edit_mail, mail);
    struct queue *queue = edit->queue;
    release_removed(&edit->removed);
    for (size_t i = 0; i < edit->waiting_count; i++)
        keep_waiting(queue, edit->waiting[i]);
    if (edit->is_due && queue->options.on_due != NULL)
        queue->options.on_due(queue->options.owner, 0);
    free(edit->waiting);
    free(edit);
}

/* --- on the control thread --- */

static struct waiting_edit *make_waiting(const struct queue_edit *edit)
{
    size_t len = MIN(edit->reason.len, (size_t)MESSAGE_REPLY_BYTES_MAX);
    struct waiting_edit *waiting = xcalloc(1, sizeof(*waiting) + len);
    waiting->edit = *edit;
    if (len > 0) memcpy(waiting->reason, edit->reason.data, len);
    waiting->edit.reason = slice_of(waiting->reason, len);
    return waiting;
}

/* What the core has to know of edits that were carried out, or have to wait. */
static void tell_core(struct queue *queue, const struct queue_edit *edits, size_t count,
                      struct list *removed, bool is_due)
{
    struct edit_mail *mail = xcalloc(1, sizeof(*mail));
    mail->mail.deliver = on_edit_mail;
    mail->queue = queue;
    mail->is_due = is_due;
    mail->waiting = xcalloc(count, sizeof(mail->waiting[0]));
    list_init(&mail->removed);
    list_append_all(&mail->removed, removed);
    for (size_t i = 0; i < count; i++) {
        if (edits[i].result == -ERR_BUSY)
            mail->waiting[mail->waiting_count++] = make_waiting(&edits[i]);
    }
    if (!is_due && mail->waiting_count == 0 && list_is_empty(&mail->removed)) {
        free(mail->waiting);
        free(mail);
        return;
    }
    mailbox_post(mailbox_of(queue->loop), &mail->mail);
}

int queue_edit(struct queue *queue, struct queue_edit *edits, size_t count)
{
    ASSERT(count > 0 && count <= QUEUE_EDITS_MAX);
    struct list removed;
    bool is_due = false;
    int err = 0;
    list_init(&removed);
    for (size_t i = 0; i < count; i++)
        edits[i].result = -ERR_NOT_FOUND;
    for (unsigned i = 0; i < queue->shard_count && err == 0; i++) {
        struct edit_job job = {
            .edits = edits,
            .count = count,
            .now_ms = clock_wall_ms(),
        };
        job.job.kind = JOB_EDIT;
        list_init(&job.removed);
        committer_call(queue->shards[i]->committer, &job.job);
        err = job.job.result;
        struct message *message;
        LIST_FOR_EACH(message, &job.removed, struct message, node)
        {
            message->shard = queue->shards[i];
        }
        list_append_all(&removed, &job.removed);
        is_due = is_due || job.is_due;
    }
    tell_core(queue, edits, count, &removed, is_due);
    return err;
}
