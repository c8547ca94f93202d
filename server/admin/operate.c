/* operate.c - edits of the queue, and the list of suspended destinations. */
#include "server/admin/operate.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "server/admin/json_text.h"

#include <fcntl.h>
#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define FILE_NAME "suspended.json"
#define SUSPENDED_FILE_BYTES 65536
#define TIME_TEXT 32
#define DEFAULT_REASON "5.0.0 given up by an operator of this server"

static unsigned say(unsigned status, json_t *json, char **text_out)
{
    *text_out = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return *text_out != NULL ? status : MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static unsigned refuse(unsigned status, const char *why, char **text_out)
{
    return say(status, json_pack("{s:s}", "error", why), text_out);
}

/* --- the queue --- */

static const char *result_name(int result)
{
    switch (result) {
    case 0:
        return "done";
    case -ERR_BUSY:
        return "in_delivery";
    case -ERR_NOT_FOUND:
        return "not_found";
    case -ERR_INVALID:
        return "unfit";
    default:
        return "failed";
    }
}

unsigned operate_queue(const struct admin_source *source, enum queue_edit_kind kind,
                       const uint64_t *ids, size_t id_count, const char *reason, char **text_out)
{
    struct queue_edit edits[OPERATE_IDS_MAX];
    int results[OPERATE_IDS_MAX];
    if (id_count == 0 || id_count > OPERATE_IDS_MAX)
        return refuse(MHD_HTTP_BAD_REQUEST, "give 1 to 200 ids: ?id=ID&id=ID", text_out);
    for (size_t i = 0; i < id_count; i++)
        results[i] = -ERR_NOT_FOUND;
    for (unsigned core = 0; core < source->core_count; core++) {
        for (size_t i = 0; i < id_count; i++) {
            edits[i] = (struct queue_edit){
                .kind = kind,
                .id = ids[i],
                .reason = slice_of_cstr(reason != NULL ? reason : DEFAULT_REASON),
            };
        }
        int err = queue_edit(source->cores[core].queue, edits, id_count);
        for (size_t i = 0; i < id_count; i++) {
            if (edits[i].result != -ERR_NOT_FOUND) results[i] = edits[i].result;
            if (err != 0 && results[i] == -ERR_NOT_FOUND) results[i] = err;
        }
    }
    json_t *json = json_object();
    for (size_t i = 0; i < id_count; i++) {
        char id[MESSAGE_ID_TEXT + 1] = "";
        message_id_write(ids[i], id);
        json_object_set_new(json, id, json_string(result_name(results[i])));
    }
    return say(MHD_HTTP_OK, json_pack("{s:o}", "results", json), text_out);
}

/* --- destinations --- */

static json_t *json_of_time(uint64_t wall_ms)
{
    char text[TIME_TEXT];
    struct tm tm;
    time_t seconds = (time_t)(wall_ms / 1000);
    if (wall_ms == 0 || gmtime_r(&seconds, &tm) == NULL) return json_null();
    return json_stringn(text, strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm));
}

/* The same destination on several cores is one for people: counts are summed, and the worst of
 * its conditions stands. */
static void merge_view(struct destination_view *all, size_t *count, struct destination_view *view)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(all[i].name, view->name) != 0) continue;
        all[i].waiting += view->waiting;
        all[i].connections += view->connections;
        if (view->condition > all[i].condition) {
            all[i].condition = view->condition;
            all[i].until_ms = view->until_ms;
        }
        if (all[i].reason[0] == '\0') {
            char *reason = all[i].reason;
            all[i].reason = view->reason;
            view->reason = reason;
        }
        return;
    }
    all[(*count)++] = *view;
    *view = (struct destination_view){.name = NULL};
}

static int compare_views(const void *a, const void *b)
{
    return strcmp(((const struct destination_view *)a)->name,
                  ((const struct destination_view *)b)->name);
}

static json_t *json_of_view(const struct destination_view *view)
{
    static const char *const conditions[] = {[DESTINATION_GOOD] = "good",
                                             [DESTINATION_DOWN] = "down",
                                             [DESTINATION_SUSPENDED] = "suspended"};
    json_t *json = json_object();
    json_object_set_new(json, "name", json_text(slice_of_cstr(view->name)));
    json_object_set_new(json, "route", json_text(slice_of_cstr(view->route)));
    json_object_set_new(json, "state", json_string(conditions[view->condition]));
    json_object_set_new(json, "until", json_of_time(view->until_ms));
    json_object_set_new(json, "reason", json_text(slice_of_cstr(view->reason)));
    json_object_set_new(json, "waiting", json_integer(view->waiting));
    json_object_set_new(json, "connections", json_integer(view->connections));
    return json;
}

unsigned operate_list_destinations(const struct admin_source *source, char **text_out)
{
    struct destination_view *all = NULL;
    size_t count = 0;
    int err = 0;
    for (unsigned core = 0; core < source->core_count && err == 0; core++) {
        struct destination_view *views;
        size_t view_count;
        err = delivery_view(source->cores[core].delivery, &views, &view_count);
        all = xrealloc(all, (count + view_count + 1) * sizeof(*all));
        for (size_t i = 0; i < view_count; i++)
            merge_view(all, &count, &views[i]);
        delivery_view_free(views, view_count);
    }
    json_t *list = json_array();
    if (count > 0) qsort(all, count, sizeof(*all), compare_views);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_of_view(&all[i]));
    delivery_view_free(all, count);
    if (err == 0) return say(MHD_HTTP_OK, json_pack("{s:o}", "destinations", list), text_out);
    json_decref(list);
    return refuse(MHD_HTTP_SERVICE_UNAVAILABLE, "a core does not answer in time", text_out);
}

/* --- suspensions --- */

struct suspended {
    const struct admin_source *source;
    pthread_mutex_t lock;
    char *path, *directory;
    struct suspension entries[SUSPENSIONS_MAX]; /* under the lock, their texts too */
    size_t count;
};

static void tell_cores(const struct suspended *suspended)
{
    struct suspensions *set = suspensions_create(suspended->entries, suspended->count);
    for (unsigned i = 0; i < suspended->source->core_count; i++)
        delivery_suspend(suspended->source->cores[i].delivery, set);
    suspensions_unref(set);
}

static void drop(struct suspended *suspended, size_t at)
{
    free(suspended->entries[at].destination);
    free(suspended->entries[at].reason);
    suspended->entries[at] = suspended->entries[--suspended->count];
}

static void drop_ended(struct suspended *suspended)
{
    uint64_t now_ms = clock_wall_ms();
    for (size_t i = suspended->count; i > 0; i--) {
        const struct suspension *entry = &suspended->entries[i - 1];
        if (entry->until_ms != 0 && entry->until_ms <= now_ms) drop(suspended, i - 1);
    }
}

/* 0 or -errno: the file is whole, the old one or the new, whatever happens. */
static int save(const struct suspended *suspended)
{
    json_t *list = json_array();
    for (size_t i = 0; i < suspended->count; i++) {
        const struct suspension *entry = &suspended->entries[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I}", "destination",
                                              entry->destination, "reason", entry->reason,
                                              "since_ms", (json_int_t)entry->since_ms, "until_ms",
                                              (json_int_t)entry->until_ms));
    }
    char *text = json_dumps(list, JSON_INDENT(2)), *next = NULL;
    json_decref(list);
    if (text == NULL || asprintf(&next, "%s.new", suspended->path) < 0) {
        free(text);
        return -ENOMEM;
    }
    size_t len = strlen(text);
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int err = fd < 0 ? -errno : 0;
    if (err == 0 && write(fd, text, len) != (ssize_t)len) err = -EIO;
    if (err == 0 && fsync(fd) != 0) err = -errno;
    if (fd >= 0) close(fd);
    if (err == 0 && rename(next, suspended->path) != 0) err = -errno;
    int directory = err == 0 ? open(suspended->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (directory >= 0) {
        if (fsync(directory) != 0) err = -errno;
        close(directory);
    }
    free(next);
    free(text);
    return err;
}

static void load(struct suspended *suspended)
{
    json_error_t error;
    if (access(suspended->path, F_OK) != 0) return;
    json_t *list = json_load_file(suspended->path, 0, &error);
    if (!json_is_array(list)) {
        log_text(LOG_ERROR, "suspended_unread", "%s: %s: nothing is suspended", suspended->path,
                 list == NULL ? error.text : "no list");
        json_decref(list);
        return;
    }
    for (size_t i = 0; i < json_array_size(list) && suspended->count < SUSPENSIONS_MAX; i++) {
        const json_t *json = json_array_get(list, i);
        const char *destination = json_string_value(json_object_get(json, "destination"));
        const char *reason = json_string_value(json_object_get(json, "reason"));
        if (destination == NULL || reason == NULL) continue;
        suspended->entries[suspended->count++] = (struct suspension){
            .destination = xstrdup(destination),
            .reason = xstrdup(reason),
            .since_ms = (uint64_t)json_integer_value(json_object_get(json, "since_ms")),
            .until_ms = (uint64_t)json_integer_value(json_object_get(json, "until_ms")),
        };
    }
    json_decref(list);
}

struct suspended *suspended_open(const struct admin_source *source, const char *directory)
{
    struct suspended *suspended = xcalloc(1, sizeof(*suspended));
    suspended->source = source;
    suspended->directory = xstrdup(directory);
    if (asprintf(&suspended->path, "%s/" FILE_NAME, directory) < 0) ASSERT(false);
    pthread_mutex_init(&suspended->lock, NULL);
    load(suspended);
    drop_ended(suspended);
    if (suspended->count > 0) tell_cores(suspended);
    return suspended;
}

void suspended_close(struct suspended *suspended)
{
    if (suspended == NULL) return;
    while (suspended->count > 0)
        drop(suspended, suspended->count - 1);
    pthread_mutex_destroy(&suspended->lock);
    free(suspended->directory);
    free(suspended->path);
    free(suspended);
}

static size_t find(const struct suspended *suspended, const char *destination)
{
    size_t at = 0;
    while (at < suspended->count &&
           strcasecmp(suspended->entries[at].destination, destination) != 0)
        at++;
    return at;
}

/* Under the lock. */
static unsigned apply(struct suspended *suspended, size_t changed, char **text_out)
{
    tell_cores(suspended);
    int err = save(suspended);
    if (err != 0) {
        log_thread_start(SUSPENDED_FILE_BYTES);
        log_text(LOG_ERROR, "suspended_unsaved", "%s: %s: lost at the next start", suspended->path,
                 err_str(err));
        log_thread_stop();
    }
    return say(MHD_HTTP_OK,
               json_pack("{s:I, s:b}", "changed", (json_int_t)changed, "saved", err == 0),
               text_out);
}

static bool is_plain_text(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) return false;
    }
    return true;
}

unsigned operate_suspend(struct suspended *suspended, const char *destination, const char *reason,
                         uint64_t seconds, char **text_out)
{
    if (destination == NULL || destination[0] == '\0' || strlen(destination) > 4096)
        return refuse(MHD_HTTP_BAD_REQUEST, "name: the destination to suspend", text_out);
    if (strlen(reason) > SUSPENSION_REASON_BYTES_MAX || !is_plain_text(reason))
        return refuse(MHD_HTTP_BAD_REQUEST, "reason: one line of at most 200 bytes", text_out);
    pthread_mutex_lock(&suspended->lock);
    drop_ended(suspended);
    size_t at = find(suspended, destination);
    if (at < suspended->count) drop(suspended, at);
    if (suspended->count == SUSPENSIONS_MAX) {
        pthread_mutex_unlock(&suspended->lock);
        return refuse(MHD_HTTP_CONFLICT, "too many destinations are suspended", text_out);
    }
    uint64_t now_ms = clock_wall_ms();
    suspended->entries[suspended->count++] = (struct suspension){
        .destination = xstrdup(destination),
        .reason = xstrdup(reason),
        .since_ms = now_ms,
        .until_ms = seconds == 0 ? 0 : now_ms + seconds * 1000,
    };
    unsigned status = apply(suspended, 1, text_out);
    pthread_mutex_unlock(&suspended->lock);
    return status;
}

unsigned operate_resume(struct suspended *suspended, const char *destination, char **text_out)
{
    size_t changed = 0;
    pthread_mutex_lock(&suspended->lock);
    drop_ended(suspended);
    for (size_t i = suspended->count; i > 0; i--) {
        if (destination != NULL &&
            strcasecmp(suspended->entries[i - 1].destination, destination) != 0)
            continue;
        drop(suspended, i - 1);
        changed++;
    }
    unsigned status = apply(suspended, changed, text_out);
    pthread_mutex_unlock(&suspended->lock);
    return status;
}
