/* queue_json.c - gathers one page from every core's queue, orders it by id, and writes it. */
#include "server/admin/queue_json.h"

#include "ring/base/memory.h"
#include "server/admin/json_text.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#define RFC3339_TEXT 32

struct page_item {
    uint64_t id;
    json_t *json; /* owned */
};

struct page {
    struct page_item *items;
    size_t count, cap;
};

/* null for 0: there is no such time. */
static json_t *json_of_time(uint64_t wall_ms)
{
    if (wall_ms == 0) return json_null();
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[RFC3339_TEXT];
    if (gmtime_r(&seconds, &tm) == NULL) return json_null();
    size_t len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_stringn(text, len);
}

/* null for empty text: it was not given. */
static json_t *json_of_given(struct slice text)
{
    return text.len == 0 ? json_null() : json_text(text);
}

/* What NOTIFY asked for, as a list; null: nothing. */
static json_t *json_of_notify(unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *name;
    } words[] = {
        {DSN_NOTIFY_NEVER, "never"},
        {DSN_NOTIFY_SUCCESS, "success"},
        {DSN_NOTIFY_FAILURE, "failure"},
        {DSN_NOTIFY_DELAY, "delay"},
    };
    if (notify == 0) return json_null();
    json_t *json = json_array();
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if ((notify & words[i].bit) != 0) json_array_append_new(json, json_string(words[i].name));
    return json;
}

static json_t *json_of_ret(enum dsn_return ret)
{
    if (ret == DSN_RETURN_UNSET) return json_null();
    return json_string(ret == DSN_RETURN_FULL ? "full" : "headers");
}

static json_t *json_of_recipient(const struct recipient *recipient)
{
    static const char *const states[] = {
        [RECIPIENT_QUEUED] = "queued",
        [RECIPIENT_DELIVERED] = "delivered",
        [RECIPIENT_FAILED] = "failed",
    };
    bool is_queued = recipient->state == RECIPIENT_QUEUED;
    json_t *json = json_object();
    json_object_set_new(json, "address", json_text(recipient->address));
    json_object_set_new(json, "state", json_string(states[recipient->state]));
    json_object_set_new(json, "attempts", json_integer(recipient->attempts));
    json_object_set_new(json, "next", json_of_time(is_queued ? recipient->next_ms : 0));
    json_object_set_new(json, "reply", json_text(recipient->reply));
    json_object_set_new(json, "notify", json_of_notify(recipient->notify));
    json_object_set_new(json, "orcpt", json_of_given(recipient->orcpt));
    return json;
}

/* How the body came, and what it asks of the hop that it goes to. */
static void add_demands(json_t *json, const struct envelope *envelope)
{
    const char *body = envelope->is_binary ? "binary" : envelope->is_8bit ? "8bit" : "7bit";
    json_object_set_new(json, "form", json_string(envelope->form == BODY_RAW ? "raw" : "data"));
    json_object_set_new(json, "body", json_string(body));
    json_object_set_new(json, "smtputf8", json_boolean(envelope->is_utf8));
    json_object_set_new(json, "requiretls", json_boolean(envelope->requires_tls));
    json_object_set_new(json, "ret", json_of_ret(envelope->ret));
    json_object_set_new(json, "envid", json_of_given(envelope->envid));
}

static void on_item(void *owner, enum queue_item_state state, uint64_t due_ms,
                    const struct message *message)
{
    static const char *const states[] = {
        [ITEM_QUEUED] = "queued",
        [ITEM_HELD] = "held",
        [ITEM_CORRUPT] = "corrupt",
    };
    struct page *page = owner;
    const struct envelope *envelope = &message->envelope;
    char id[MESSAGE_ID_TEXT];
    message_id_write(message->id, id);

    json_t *json = json_object(), *recipients = json_array();
    json_object_set_new(json, "id", json_stringn(id, sizeof(id)));
    json_object_set_new(json, "state", json_string(states[state]));
    json_object_set_new(json, "received", json_of_time(envelope->received_ms));
    json_object_set_new(json, "due", json_of_time(state == ITEM_QUEUED ? due_ms : 0));
    json_object_set_new(json, "size", json_integer((json_int_t)message->body_bytes));
    json_object_set_new(json, "sender", json_text(envelope->sender));
    json_object_set_new(json, "client", json_text(envelope->client));
    json_object_set_new(json, "helo", json_text(envelope->helo));
    json_object_set_new(json, "listener", json_text(envelope->listener));
    json_object_set_new(json, "user", json_of_given(envelope->user));
    add_demands(json, envelope);
    for (uint32_t i = 0; i < envelope->recipient_count; i++)
        json_array_append_new(recipients, json_of_recipient(&envelope->recipients[i]));
    json_object_set_new(json, "recipients", recipients);

    if (page->count == page->cap) {
        page->cap = MAX(64u, page->cap * 2);
        page->items = xrealloc(page->items, page->cap * sizeof(*page->items));
    }
    page->items[page->count++] = (struct page_item){message->id, json};
}

static int compare_items(const void *a, const void *b)
{
    uint64_t left = ((const struct page_item *)a)->id, right = ((const struct page_item *)b)->id;
    return left < right ? -1 : left > right;
}

static json_t *page_json(const struct page *page, uint32_t count_max, bool has_more)
{
    json_t *messages = json_array();
    for (size_t i = 0; i < page->count && i < count_max; i++)
        json_array_append(messages, page->items[i].json);
    json_t *root = json_object(), *next = json_null();
    if ((has_more || page->count > count_max) && page->count > 0) {
        char id[MESSAGE_ID_TEXT];
        message_id_write(page->items[MIN(page->count, count_max) - 1].id, id);
        next = json_stringn(id, sizeof(id));
    }
    json_object_set_new(root, "messages", messages);
    json_object_set_new(root, "next", next);
    return root;
}

char *queue_json(const struct admin_source *source, uint64_t after_id, uint32_t count_max)
{
    struct page page = {0};
    bool has_more = false;
    int err = 0;
    for (unsigned i = 0; i < source->core_count && err == 0; i++) {
        struct queue_page part = {
            .after_id = after_id, .count_max = count_max, .item = on_item, .owner = &page};
        err = queue_list(source->cores[i].queue, &part);
        has_more = has_more || part.has_more;
    }
    char *text = NULL;
    if (err == 0) {
        if (page.count > 0) qsort(page.items, page.count, sizeof(*page.items), compare_items);
        json_t *root = page_json(&page, count_max, has_more);
        text = json_dumps(root, JSON_COMPACT);
        json_decref(root);
    }
    for (size_t i = 0; i < page.count; i++)
        json_decref(page.items[i].json);
    free(page.items);
    return text;
}
