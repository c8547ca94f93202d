/* queue_edit.c - finds messages page by page, and has the daemon change them in batches. */
#include "server/ctl/queue_edit.h"

#include "ring/base/clock.h"
#include "server/config/value.h"
#include "server/ctl/admin_client.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define PAGE_MESSAGES 500
#define ID_TEXT_MAX 32

bool duration_parse(const char *text, uint64_t *seconds_out)
{
    uint64_t ms;
    if (value_parse(UNITS_DURATION, slice_of_cstr(text), &ms) != VALUE_OK) return false;
    *seconds_out = ms / 1000;
    return true;
}

bool is_confirmed(const struct invocation *call, const char *question)
{
    char line[16] = "";
    if (call->values[OPTION_YES] != NULL) return true;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        usage_error(call, "%s: give --yes, there is no terminal to ask on", question);
        return false;
    }
    fprintf(stderr, "%s? [y/N] ", question);
    return fgets(line, sizeof(line), stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

/* --- filters --- */

int queue_filter_read(const struct invocation *call, struct queue_filter *filter)
{
    const char *older = call->values[OPTION_OLDER], *limit = call->values[OPTION_LIMIT];
    *filter = (struct queue_filter){
        .domain = call->values[OPTION_DOMAIN],
        .sender = call->values[OPTION_SENDER],
        .recipient = call->values[OPTION_RECIPIENT],
        .state = call->values[OPTION_STATE],
        .limit = UINT64_MAX,
    };
    if (older != NULL && (!duration_parse(older, &filter->older_s) || filter->older_s == 0))
        return usage_error(call, "--older must be a duration such as 90s, 4h or 3d, not '%s'",
                           older);
    if (limit != NULL &&
        (!slice_to_u64(slice_of_cstr(limit), UINT64_MAX, &filter->limit) || filter->limit == 0))
        return usage_error(call, "--limit must be a number from 1 on, not '%s'", limit);
    const char *state = filter->state;
    if (state != NULL && strcmp(state, "queued") != 0 && strcmp(state, "held") != 0 &&
        strcmp(state, "corrupt") != 0)
        return usage_error(call, "--state must be queued, held or corrupt, not '%s'", state);
    filter->is_any = filter->domain == NULL && filter->sender == NULL &&
                     filter->recipient == NULL && state == NULL && older == NULL;
    return 0;
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* The local part as it is written, the domain in any case. */
static bool is_same_address(const char *a, const char *b)
{
    const char *at = strrchr(a, '@');
    size_t local = at != NULL ? (size_t)(at - a) : strlen(a);
    return strncmp(a, b, local) == 0 && strcasecmp(a + local, b + local) == 0;
}

static bool has_recipient(const struct queue_filter *filter, const json_t *message)
{
    if (filter->domain == NULL && filter->recipient == NULL) return true;
    const json_t *recipients = json_object_get(message, "recipients");
    for (size_t i = 0; i < json_array_size(recipients); i++) {
        const char *address = string_of(json_array_get(recipients, i), "address");
        const char *at = strrchr(address, '@');
        bool fits_domain =
            filter->domain == NULL || (at != NULL && strcasecmp(at + 1, filter->domain) == 0);
        bool fits_address =
            filter->recipient == NULL || is_same_address(filter->recipient, address);
        if (fits_domain && fits_address) return true;
    }
    return false;
}

static bool fits(const struct queue_filter *filter, const json_t *message, int64_t now_s)
{
    const char *sender = string_of(message, "sender");
    if (filter->state != NULL && strcmp(string_of(message, "state"), filter->state) != 0)
        return false;
    if (filter->sender != NULL) {
        const char *wanted = strcmp(filter->sender, "<>") == 0 ? "" : filter->sender;
        if (!is_same_address(wanted, sender)) return false;
    }
    if (filter->older_s != 0) {
        struct tm tm = {0};
        const char *received = string_of(message, "received");
        if (strptime(received, "%Y-%m-%dT%H:%M:%S", &tm) == NULL) return false;
        if (now_s - (int64_t)timegm(&tm) <= (int64_t)filter->older_s) return false;
    }
    return has_recipient(filter, message);
}

void queue_filter_apply(const struct queue_filter *filter, json_t *messages, uint64_t left)
{
    int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
    size_t kept = 0;
    while (kept < json_array_size(messages)) {
        bool is_kept = kept < left && fits(filter, json_array_get(messages, kept), now_s);
        if (is_kept)
            kept++;
        else
            json_array_remove(messages, kept);
    }
}

/* --- pages --- */

/* A page behind `after`, which becomes the next one's, "" at the end. *messages_out: owned. */
static int get_page(const struct invocation *call, struct admin_client *client, char *after,
                    size_t after_cap, json_t **messages_out)
{
    char path[128];
    struct admin_client_answer answer;
    *messages_out = NULL;
    snprintf(path, sizeof(path), "/api/v1/queue?limit=%d%s%s", PAGE_MESSAGES,
             after[0] != '\0' ? "&after=" : "", after);
    int err = admin_client_send(client, "GET", path, &answer);
    if (err != 0) return err;
    json_t *json = json_loadb(answer.body, answer.body_bytes, 0, NULL);
    json_t *messages = json_object_get(json, "messages");
    const char *next = string_of(json, "next");
    bool is_good = answer.status == 200 && json_is_array(messages) && strlen(next) < after_cap &&
                   (next[0] == '\0' || strcmp(next, after) > 0);
    if (is_good) {
        *messages_out = json_incref(messages);
        snprintf(after, after_cap, "%s", next);
    } else {
        fprintf(stderr, "postern %s: the daemon's answer is not understood: status %ld\n",
                call->command->name, answer.status);
    }
    json_decref(json);
    free(answer.body);
    return is_good ? 0 : CTL_FAILED;
}

/* --- show --- */

static void print_field(const char *name, const json_t *value)
{
    if (json_is_string(value)) {
        printf("%-12s %s\n", name, json_string_value(value));
    } else if (json_is_integer(value)) {
        printf("%-12s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
    } else if (json_is_true(value)) {
        printf("%-12s yes\n", name);
    }
}

/* Control characters are none of a terminal's business. */
static void disarm(json_t *json)
{
    const char *key;
    json_t *value;
    size_t index;
    if (json_is_string(json)) {
        char *text = strdup(json_string_value(json));
        for (char *at = text; at != NULL && *at != '\0'; at++) {
            if ((unsigned char)*at < ' ' || *at == 0x7f) *at = '?';
        }
        if (text != NULL) json_string_set(json, text);
        free(text);
    } else if (json_is_object(json)) {
        json_object_foreach(json, key, value) disarm(value);
    } else {
        json_array_foreach(json, index, value) disarm(value);
    }
}

static void print_message(json_t *message)
{
    const char *key;
    json_t *value;
    size_t index;
    disarm(message);
    json_object_foreach(message, key, value)
    {
        if (strcmp(key, "recipients") != 0) print_field(key, value);
    }
    json_array_foreach(json_object_get(message, "recipients"), index, value)
    {
        const char *name;
        json_t *field;
        printf("\n%s\n", string_of(value, "address"));
        json_object_foreach(value, name, field)
        {
            char indented[32];
            snprintf(indented, sizeof(indented), "  %s", name);
            if (strcmp(name, "address") != 0) print_field(indented, field);
        }
    }
}

/* The message of this id: the page behind the id before it begins with it. */
static int find_message(const struct invocation *call, struct admin_client *client, const char *id,
                        json_t **message_out)
{
    char after[ID_TEXT_MAX] = "";
    int err;
    *message_out = NULL;
    do {
        json_t *messages;
        err = get_page(call, client, after, sizeof(after), &messages);
        if (err != 0) return err;
        for (size_t i = 0; i < json_array_size(messages); i++) {
            json_t *message = json_array_get(messages, i);
            if (strcasecmp(string_of(message, "id"), id) == 0) *message_out = json_incref(message);
        }
        json_decref(messages);
    } while (*message_out == NULL && after[0] != '\0');
    if (*message_out != NULL) return 0;
    fprintf(stderr, "postern %s: there is no message %s\n", call->command->name, id);
    return CTL_FAILED;
}

int queue_show(const struct invocation *call)
{
    struct admin_client *client;
    json_t *message;
    if (call->argument_count != 2) return usage_error(call, "say which: postern queue show ID");
    int err = admin_client_open(call, &client);
    if (err != 0) return err;
    err = find_message(call, client, call->arguments[1], &message);
    admin_client_close(client);
    if (err != 0) return err;
    if (call->values[OPTION_JSON] != NULL) {
        json_dumpf(message, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_message(message);
    }
    json_decref(message);
    return finish_output(call);
}

/* --- changes --- */

struct change {
    const struct invocation *call;
    const char *verb;
    char *reason; /* escaped; or NULL */
    struct admin_client *client;
    json_t *results; /* id -> what became of it */
    size_t done, in_delivery, failed;
};

static void note_result(struct change *change, const char *id, const char *result)
{
    json_object_set_new(change->results, id, json_string(result));
    if (strcmp(result, "done") == 0 || strcmp(result, "would be changed") == 0)
        change->done++;
    else if (strcmp(result, "in_delivery") == 0)
        change->in_delivery++;
    else
        change->failed++;
    if (change->call->values[OPTION_JSON] == NULL) printf("%s  %s\n", id, result);
}

/* At most QUEUE_BATCH_MAX ids. */
static int send_batch(struct change *change, const char *const *ids, size_t count)
{
    if (change->call->values[OPTION_DRY_RUN] != NULL) {
        for (size_t i = 0; i < count; i++)
            note_result(change, ids[i], "would be changed");
        return 0;
    }
    char *path = NULL;
    size_t bytes;
    FILE *out = open_memstream(&path, &bytes);
    if (out == NULL) return CTL_FAILED;
    fprintf(out, "/api/v1/queue/%s?", change->verb);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%sid=%s", i > 0 ? "&" : "", ids[i]);
    if (change->reason != NULL) fprintf(out, "&reason=%s", change->reason);
    fclose(out);
    struct admin_client_answer answer;
    int err = admin_client_send(change->client, "POST", path, &answer);
    free(path);
    if (err != 0) return err;
    json_t *json = json_loadb(answer.body, answer.body_bytes, 0, NULL);
    const json_t *results = json_object_get(json, "results");
    if (answer.status != 200 || !json_is_object(results)) {
        fprintf(stderr, "postern %s: the daemon refused: %.200s\n", change->call->command->name,
                answer.body);
        err = CTL_FAILED;
    }
    for (size_t i = 0; err == 0 && i < count; i++)
        note_result(change, ids[i], string_of(results, ids[i]));
    json_decref(json);
    free(answer.body);
    return err;
}

static bool is_id(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len < ID_TEXT_MAX &&
           strspn(text, "0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz") == len;
}

static int change_ids(struct change *change)
{
    const struct invocation *call = change->call;
    for (size_t i = 1; i < call->argument_count; i++) {
        if (!is_id(call->arguments[i]))
            return usage_error(call, "'%s' is no id of a message", call->arguments[i]);
    }
    int err = 0;
    for (size_t at = 1; at < call->argument_count && err == 0; at += QUEUE_BATCH_MAX) {
        size_t count = MIN((size_t)QUEUE_BATCH_MAX, call->argument_count - at);
        err = send_batch(change, &call->arguments[at], count);
    }
    return err;
}

static int change_page(struct change *change, const json_t *messages)
{
    const char *ids[QUEUE_BATCH_MAX];
    size_t count = 0;
    int err = 0;
    for (size_t i = 0; i < json_array_size(messages) && err == 0; i++) {
        ids[count++] = string_of(json_array_get(messages, i), "id");
        if (count < QUEUE_BATCH_MAX && i + 1 < json_array_size(messages)) continue;
        err = send_batch(change, ids, count);
        count = 0;
    }
    return err;
}

static int change_matching(struct change *change, const struct queue_filter *filter)
{
    char after[ID_TEXT_MAX] = "";
    uint64_t left = filter->limit;
    int err;
    do {
        json_t *messages;
        err = get_page(change->call, change->client, after, sizeof(after), &messages);
        if (err != 0) break;
        queue_filter_apply(filter, messages, left);
        left -= MIN(left, (uint64_t)json_array_size(messages));
        err = change_page(change, messages);
        json_decref(messages);
    } while (err == 0 && after[0] != '\0' && left > 0);
    return err;
}

static int finish_change(const struct change *change)
{
    if (change->call->values[OPTION_JSON] != NULL) {
        json_t *json = json_pack("{s:O}", "results", change->results);
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(json);
    }
    fprintf(stderr, "%zu done, %zu in delivery, %zu not changed\n", change->done,
            change->in_delivery, change->failed);
    int err = finish_output(change->call);
    return err == 0 && change->failed > 0 ? CTL_FAILED : err;
}

static int check_call(const struct invocation *call, const char *verb,
                      const struct queue_filter *filter)
{
    bool has_ids = call->argument_count > 1;
    bool is_final = strcmp(verb, "remove") == 0 || strcmp(verb, "bounce") == 0;
    if (has_ids && !filter->is_any) return usage_error(call, "give ids or filters, not both");
    if (!has_ids && filter->is_any && call->values[OPTION_ALL] == NULL)
        return usage_error(call, "say which messages: ids, filters, or --all");
    if (call->values[OPTION_REASON] != NULL && strcmp(verb, "bounce") != 0)
        return usage_error(call, "--reason is for bounce");
    if (is_final && call->values[OPTION_DRY_RUN] == NULL &&
        !is_confirmed(call, strcmp(verb, "remove") == 0 ? "remove these messages for good"
                                                        : "give these messages up"))
        return CTL_USAGE;
    return 0;
}

int queue_change(const struct invocation *call, const char *verb)
{
    struct queue_filter filter;
    struct change change = {.call = call, .verb = verb};
    int err = queue_filter_read(call, &filter);
    if (err == 0) err = check_call(call, verb, &filter);
    if (err == 0) err = admin_client_open(call, &change.client);
    if (err != 0) return err;
    if (call->values[OPTION_REASON] != NULL)
        change.reason = admin_client_escape(call->values[OPTION_REASON]);
    change.results = json_object();
    err = call->argument_count > 1 ? change_ids(&change) : change_matching(&change, &filter);
    if (err == 0) err = finish_change(&change);
    json_decref(change.results);
    free(change.reason);
    admin_client_close(change.client);
    return err;
}
