/* queue_list.c - pages of the queue, for the control thread. */
#include "store/queue_internal.h"

#include <stdlib.h>

static const enum queue_item_state item_states[] = {
    [RECORD_QUEUED] = ITEM_QUEUED,
    [RECORD_HELD] = ITEM_HELD,
    [RECORD_CORRUPT] = ITEM_CORRUPT,
};

static void free_messages(struct list *messages)
{
    struct list *node;
    while ((node = list_pop_front(messages)) != NULL)
        stored_free(stored_of(LIST_ENTRY(node, struct message, node)));
}

/* One more than the page holds, so that it is known whether there are more. */
static int list_shard(struct shard *shard, const struct queue_page *page, struct list *messages)
{
    struct list_job job = {.after_id = page->after_id, .count_max = page->count_max + 1};
    job.job.kind = JOB_LIST;
    list_init(&job.messages);
    committer_call(shard->committer, &job.job);
    list_init(messages);
    list_append_all(messages, &job.messages);
    return job.job.result;
}

/* The message with the smallest id of all lists, removed; NULL: none is left. */
static struct message *pop_smallest(struct list *lists, unsigned count)
{
    struct message *smallest = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (list_is_empty(&lists[i])) continue;
        struct message *message = LIST_ENTRY(lists[i].next, struct message, node);
        if (smallest == NULL || message->id < smallest->id) smallest = message;
    }
    if (smallest != NULL) list_remove(&smallest->node);
    return smallest;
}

int queue_list(struct queue *queue, struct queue_page *page)
{
    ASSERT(page->count_max > 0 && page->count_max < UINT32_MAX);
    page->has_more = false;
    int err = 0;
    struct list *lists = xcalloc(queue->shard_count, sizeof(*lists));
    for (unsigned i = 0; i < queue->shard_count; i++)
        list_init(&lists[i]);
    for (unsigned i = 0; i < queue->shard_count && err == 0; i++)
        err = list_shard(queue->shards[i], page, &lists[i]);

    struct message *message;
    for (uint32_t i = 0; err == 0 && i < page->count_max; i++) {
        message = pop_smallest(lists, queue->shard_count);
        if (message == NULL) break;
        struct stored *stored = stored_of(message);
        page->item(page->owner, item_states[stored->state], stored->due_ms, message);
        stored_free(stored);
    }
    for (unsigned i = 0; i < queue->shard_count; i++) {
        page->has_more = page->has_more || !list_is_empty(&lists[i]);
        free_messages(&lists[i]);
    }
    free(lists);
    return err;
}
