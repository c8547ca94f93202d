/* queue.c - postern queue list and show: the pages of the daemon's queue, as a table or as JSON. */
#include "ring/base/clock.h"
#include "server/config/suggest.h"
#include "server/ctl/admin_client.h"
#include "server/ctl/commands.h"
#include "server/ctl/queue_edit.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#define PAGE_MESSAGES 500
#define CELL_BYTES_MAX 1100 /* a sender of any length, and a recipient with "+N" */

enum column { ID, AGE, SIZE, STATE, NEXT, SENDER, RECIPIENTS, COLUMN_COUNT };

static const struct {
    const char *title;
    bool is_number; /* aligned to the right */
} columns[COLUMN_COUNT] = {
    [ID] = {"ID", false},
    [AGE] = {"AGE", true},
    [SIZE] = {"SIZE", true},
    [STATE] = {"STATE", false},
    [NEXT] = {"NEXT", true},
    [SENDER] = {"SENDER", false},
    [RECIPIENTS] = {"RECIPIENTS", false},
};

struct row {
    char cells[COLUMN_COUNT][CELL_BYTES_MAX];
};

struct listing {
    const struct invocation *call;
    struct queue_filter filter;
    bool is_json;
    uint64_t left; /* messages still wanted */
    uint64_t printed;
    size_t widths[COLUMN_COUNT]; /* they only grow, so that a row never moves back */
};

/* What a peer sent as text for a terminal: no control characters, of C1 neither. */
static void set_text(char *cell, const char *text)
{
    size_t len = 0;
    for (; *text != '\0' && len < CELL_BYTES_MAX - 1; text++) {
        unsigned char c = (unsigned char)*text, second = (unsigned char)text[1];
        if (c == 0xc2 && second >= 0x80 && second < 0xa0) {
            text++;
            c = '?';
        }
        if (c < ' ' || c == 0x7f) c = '?';
        cell[len++] = (char)c;
    }
    cell[len] = '\0';
}

/* 2026-01-31T12:00:00Z, with or without a fraction; 0 when it is none. */
static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *end = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    return end != NULL ? (int64_t)timegm(&tm) : 0;
}

static void set_duration(char *cell, const char *prefix, int64_t seconds)
{
    static const struct {
        int64_t seconds;
        char name;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(units) && seconds < units[i].seconds) {
        i++;
    }
    snprintf(cell, CELL_BYTES_MAX, "%s%" PRId64 "%c", prefix, MAX(seconds, 0) / units[i].seconds,
             units[i].name);
}

static void set_size(char *cell, int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    if (bytes < 1024) {
        snprintf(cell, CELL_BYTES_MAX, "%" PRId64 "B", MAX(bytes, 0));
        return;
    }
    double size = (double)bytes / 1024;
    size_t i = 0;
    for (; i + 1 < ARRAY_LEN(units) && size >= 1024; i++) {
        size /= 1024;
    }
    snprintf(cell, CELL_BYTES_MAX, "%.1f%s", size, units[i]);
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void fill_row(struct row *row, const json_t *message, int64_t now)
{
    int64_t received = parse_time(string_of(message, "received"));
    int64_t due = parse_time(string_of(message, "due"));
    const json_t *recipients = json_object_get(message, "recipients");
    size_t count = json_array_size(recipients);
    const char *sender = string_of(message, "sender");

    set_text(row->cells[ID], string_of(message, "id"));
    set_text(row->cells[STATE], string_of(message, "state"));
    set_text(row->cells[SENDER], sender[0] != '\0' ? sender : "<>");
    set_text(row->cells[RECIPIENTS],
             count > 0 ? string_of(json_array_get(recipients, 0), "address") : "-");
    size_t len = strlen(row->cells[RECIPIENTS]);
    if (count > 1) {
        len = MIN(len, (size_t)CELL_BYTES_MAX - 32);
        snprintf(row->cells[RECIPIENTS] + len, CELL_BYTES_MAX - len, " +%zu", count - 1);
    }
    set_size(row->cells[SIZE], json_integer_value(json_object_get(message, "size")));
    set_text(row->cells[AGE], "-");
    set_text(row->cells[NEXT], due == 0 ? "-" : "now");
    if (received != 0) set_duration(row->cells[AGE], "", now - received);
    if (due > now) set_duration(row->cells[NEXT], "in ", due - now);
}

/* Characters, as far as each of UTF-8 takes one column. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void print_row(const struct listing *l, const struct row *row)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const char *cell = row->cells[i];
        int pad = (int)(l->widths[i] - MIN(l->widths[i], width_of(cell)));
        bool is_last = i + 1 == COLUMN_COUNT;
        if (columns[i].is_number) {
            printf("%*s%s%s", pad, "", cell, is_last ? "\n" : "  ");
        } else {
            printf("%s%*s%s", cell, is_last ? 0 : pad, "", is_last ? "\n" : "  ");
        }
    }
}

static void print_table(struct listing *l, const json_t *messages)
{
    size_t count = json_array_size(messages);
    int64_t now = (int64_t)(clock_wall_ms() / 1000);
    struct row *rows = calloc(count + 1, sizeof(*rows));
    if (rows == NULL || count == 0) {
        free(rows);
        return;
    }
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        set_text(rows[0].cells[i], columns[i].title);
    }
    for (size_t i = 0; i < count; i++) {
        fill_row(&rows[i + 1], json_array_get(messages, i), now);
    }
    for (size_t i = 0; i < count + 1; i++) {
        for (size_t j = 0; j < COLUMN_COUNT; j++) {
            l->widths[j] = MAX(l->widths[j], width_of(rows[i].cells[j]));
        }
    }
    for (size_t i = l->printed == 0 ? 0 : 1; i < count + 1; i++) {
        print_row(l, &rows[i]);
    }
    free(rows);
}

static void print_json(const struct listing *l, const json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages); i++) {
        fputs(l->printed + i > 0 ? ",\n" : "\n", stdout);
        json_dumpf(json_array_get(messages, i), stdout, JSON_COMPACT);
    }
}

static int bad_answer(const struct listing *l, const char *why)
{
    fprintf(stderr, "postern %s: the daemon's answer is not understood: %s\n",
            l->call->command->name, why);
    return CTL_FAILED;
}

/* One page; `after` is the last id so far, and then the next one, or "" at the end. */
static int list_page(struct listing *l, struct admin_client *client, char *after, size_t after_cap)
{
    char path[256];
    struct admin_client_answer answer;
    uint64_t wanted = l->filter.is_any ? MIN(l->left, (uint64_t)PAGE_MESSAGES) : PAGE_MESSAGES;
    snprintf(path, sizeof(path), "/api/v1/queue?limit=%" PRIu64 "%s%s", wanted,
             after[0] != '\0' ? "&after=" : "", after);
    int err = admin_client_send(client, "GET", path, &answer);
    if (err != 0) return err;
    json_t *json = json_loadb(answer.body, answer.body_bytes, 0, NULL);
    json_t *messages = json_object_get(json, "messages");
    const char *next = string_of(json, "next");
    if (answer.status != 200) {
        char status[32];
        snprintf(status, sizeof(status), "status %ld", answer.status);
        err = bad_answer(l, status);
    } else if (!json_is_array(messages)) {
        err = bad_answer(l, "no list of messages");
    } else if (next[0] != '\0' && (strcmp(next, after) <= 0 || strlen(next) >= after_cap ||
                                   strspn(next, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij"
                                                "klmnopqrstuvwxyz-_") != strlen(next))) {
        err = bad_answer(l, "a page that leads nowhere"); /* else this would never end */
    } else {
        queue_filter_apply(&l->filter, messages, l->left);
        if (l->is_json) {
            print_json(l, messages);
        } else {
            print_table(l, messages);
        }
        size_t count = json_array_size(messages);
        l->printed += count;
        l->left -= MIN(l->left, count);
        snprintf(after, after_cap, "%s", next);
    }
    json_decref(json);
    free(answer.body);
    return err;
}

static int list(struct listing *l, struct admin_client *client)
{
    char after[64] = "";
    int err;
    if (l->is_json) fputs("{\"messages\": [", stdout);
    do {
        err = list_page(l, client, after, sizeof(after));
    } while (err == 0 && after[0] != '\0' && l->left > 0);
    if (err != 0) return err;
    if (l->is_json) {
        bool has_more = after[0] != '\0';
        printf("%s], \"next\": %s%s%s}\n", l->printed > 0 ? "\n" : "", has_more ? "\"" : "",
               has_more ? after : "null", has_more ? "\"" : "");
    } else if (l->printed == 0) {
        fputs("the queue is empty\n", stderr);
    } else if (after[0] != '\0') {
        fprintf(stderr, "there are more than these %" PRIu64 "\n", l->printed);
    }
    return finish_output(l->call);
}

static int list_queue(const struct invocation *call)
{
    struct listing l = {.call = call, .is_json = call->values[OPTION_JSON] != NULL};
    if (call->argument_count > 1)
        return usage_error(call, "list takes no ids: postern queue show ID");
    int err = queue_filter_read(call, &l.filter);
    if (err != 0) return err;
    l.left = l.filter.limit;
    struct admin_client *client;
    err = admin_client_open(call, &client);
    if (err != 0) return err;
    err = list(&l, client);
    admin_client_close(client);
    return err;
}

int command_queue(const struct invocation *call)
{
    static const char *const verbs[] = {"list",    "show",   "retry", "hold",
                                        "release", "remove", "bounce"};
    if (call->argument_count == 0)
        return usage_error(call, "say what: list, show, retry, hold, release, remove or bounce");
    const char *verb = call->arguments[0], *near = NULL;
    if (strcmp(verb, "list") == 0) return list_queue(call);
    if (strcmp(verb, "show") == 0) return queue_show(call);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verb, verbs[i]) == 0) return queue_change(call, verb);
        near = suggest(slice_of_cstr(verb), near, verbs[i]);
    }
    return usage_error(call, "'%s' is unknown%s%s%s", verb, near != NULL ? " (did you mean '" : "",
                       near != NULL ? near : "", near != NULL ? "'?)" : "");
}
