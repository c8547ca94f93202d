/* overlay.c - see overlay.h. */
#include "server/config/overlay.h"

#include "server/config/reading.h"

#include <stdlib.h>

struct overlay {
    struct arena *arena;
    struct report *report;
    struct place place;
    struct slice parts[OVERLAY_DEPTH_MAX]; /* of the key's path */
    size_t count;
};

#define QUOTED(text) (int)MIN((text).len, 60u), (text).data

static void *need(struct overlay *o, void *memory)
{
    if (memory == NULL) report_add(o->report, &o->place, "the configuration is too large");
    return memory;
}

/* Names are compared as the environment can write them. */
static bool name_matches(struct slice part, struct slice name)
{
    if (part.len != name.len) return false;
    for (size_t i = 0; i < part.len; i++) {
        char a = ascii_lower(part.data[i]), b = ascii_lower(name.data[i]);
        if ((a == '-' ? '_' : a) != (b == '-' ? '_' : b)) return false;
    }
    return true;
}

/* The child of that key, made when it is missing. NULL: `parent` is of a wrong type, which the
 * reading reports, or memory is out. */
static struct node *get_child(struct overlay *o, struct node *parent, const char *key)
{
    if (node_is_empty(parent)) parent->kind = NODE_MAPPING;
    if (parent->kind != NODE_MAPPING) return NULL;
    struct node *child = node_find(parent, key);
    if (child != NULL) return child;
    child = need(o, node_create(o->arena, NODE_MAPPING, o->place));
    if (child == NULL) return NULL;
    child->key = key;
    node_append(parent, child);
    return child;
}

static struct node *find_entry(struct overlay *o, const struct schema_key *key, struct node *list,
                               struct slice part)
{
    uint64_t number = 0;
    bool is_number = slice_to_u64(part, SIZE_MAX, &number);
    char names[200];
    struct buf known = {names, 0, sizeof(names), false};
    size_t at = 1;
    for (struct node *entry = list->first; entry != NULL; entry = entry->next, at++) {
        bool has_names = schema_entries_have_names(key);
        const struct node *name = has_names ? node_find(entry, key->keys[0].name) : NULL;
        char label[KEY_PATH_BYTES_MAX];
        snprintf(label, sizeof(label), "%s%s%zu", has_names ? key->name : "", has_names ? "-" : "",
                 at);
        if (key->fallback != NULL) snprintf(label, sizeof(label), "%s-%zu", key->fallback, at);
        if (name != NULL && name->kind == NODE_SCALAR) {
            snprintf(label, sizeof(label), "%.100s", name->text.data);
        }
        if (name_matches(part, slice_of_cstr(label)) || (is_number && number == at)) return entry;
        buf_append_format(&known, "%s%s", at > 1 ? ", " : "", label);
    }
    report_add(o->report, &o->place, "no entry of '%s' is named '%.*s' (there are: %.*s)",
               key->name, QUOTED(part), (int)known.len, known.data);
    return NULL;
}

static void set_list(struct overlay *o, struct node *node, struct slice value)
{
    node->kind = NODE_SEQUENCE;
    node->first = node->last = NULL;
    node->count = 0;
    while (value.len > 0) {
        const char *comma = memchr(value.data, ',', value.len);
        size_t len = comma != NULL ? (size_t)(comma - value.data) : value.len;
        struct slice word = slice_trim(slice_of(value.data, len));
        value = slice_from(value, comma != NULL ? len + 1 : len);
        struct node *child = need(o, node_create(o->arena, NODE_SCALAR, o->place));
        char *copy = child != NULL ? need(o, arena_copy(o->arena, word.data, word.len)) : NULL;
        if (copy == NULL) return;
        child->text = slice_of(copy, word.len);
        node_append(node, child);
    }
}

static void set_value(struct overlay *o, const struct schema_key *key, struct node *node,
                      const char *value)
{
    node->place = o->place;
    if (key_types[key->kind].is_list) {
        set_list(o, node, slice_of_cstr(value));
        return;
    }
    node->kind = NODE_SCALAR;
    node->text = slice_of_cstr(value);
    node->is_plain = true;
}

/* DOMAIN__FILE: the list's other form. */
static void set_file(struct overlay *o, struct node *node, const char *value)
{
    node->kind = NODE_MAPPING;
    node->place = o->place;
    node->first = node->last = NULL;
    node->count = 0;
    struct node *file = get_child(o, node, "file");
    if (file == NULL) return;
    file->kind = NODE_SCALAR;
    file->text = slice_of_cstr(value);
}

static void report_unknown(struct overlay *o, const struct schema_key *keys, struct slice part)
{
    const char *near = schema_suggest(keys, part);
    report_add(o->report, &o->place, "unknown key '%.*s'%s%s%s", QUOTED(part),
               near != NULL ? " (did you mean '" : "", near != NULL ? near : "",
               near != NULL ? "'?)" : "");
}

/* Walks down to the value that o->parts names, and sets it. */
static void apply(struct overlay *o, struct node *root, const char *value)
{
    const struct schema_key *keys = schema_root;
    struct node *node = root;
    for (size_t i = 0; i < o->count; i++) {
        const struct schema_key *key = schema_find(keys, o->parts[i]);
        bool is_last = i + 1 == o->count;
        if (key == NULL) {
            report_unknown(o, keys, o->parts[i]);
            return;
        }
        if (key->kind == KEY_UNBUILT) {
            report_add(o->report, &o->place, "'%s' is not built yet in this version", key->name);
            return;
        }
        bool has_keys = key->kind == KEY_SECTION || key->kind == KEY_ENTRIES;
        if (has_keys && (is_last || (key->kind == KEY_ENTRIES && i + 2 == o->count))) {
            report_add(o->report, &o->place, "'%s' is not a value: name a key in it", key->name);
            return;
        }
        if (key->kind == KEY_ENTRIES) {
            node = node_find(node, key->name);
            if (node == NULL || node->kind != NODE_SEQUENCE) return; /* reported by the reading */
            node = find_entry(o, key, node, o->parts[++i]);
        } else {
            node = get_child(o, node, key->name);
        }
        if (node == NULL) return;
        if (has_keys) {
            keys = key->keys;
            continue;
        }
        bool is_file = i + 2 == o->count && key_types[key->kind].takes_file &&
                       slice_eq_nocase(o->parts[i + 1], SLICE("file"));
        if (is_last) {
            set_value(o, key, node, value);
        } else if (is_file) {
            set_file(o, node, value);
        } else {
            set_value(o, key, node, value);
            report_add(o->report, &o->place, "'%s' is a value: there is no '%.*s' in it", key->name,
                       QUOTED(o->parts[i + 1]));
        }
        return;
    }
}

/* False when there are too many parts. */
static bool add_part(struct overlay *o, struct slice part)
{
    if (o->count == OVERLAY_DEPTH_MAX) {
        report_add(o->report, &o->place, "unknown key: no key has so many parts");
        return false;
    }
    o->parts[o->count++] = part;
    return true;
}

/* --- the environment: parts are separated by two underscores --- */

static bool split_variable(struct overlay *o, struct slice name)
{
    for (;;) {
        const char *next = memmem(name.data, name.len, "__", 2);
        size_t len = next != NULL ? (size_t)(next - name.data) : name.len;
        if (!add_part(o, slice_of(name.data, len))) return false;
        if (next == NULL) return true;
        name = slice_from(name, len + 2);
    }
}

static int compare_variables(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void overlay_environment(struct node *root, char *const *environment, struct arena *arena,
                         struct report *report)
{
    size_t count = 0, prefix_len = strlen(ENVIRONMENT_PREFIX), all = 0;
    while (environment != NULL && environment[all] != NULL) {
        all++;
    }
    const char **variables = xcalloc(all + 1, sizeof(*variables));
    for (size_t i = 0; i < all; i++) {
        bool is_ours = strncmp(environment[i], ENVIRONMENT_PREFIX, prefix_len) == 0;
        if (is_ours) variables[count++] = environment[i];
    }
    qsort(variables, count, sizeof(*variables), compare_variables);
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strcspn(variables[i], "=");
        const char *value = variables[i] + name_len + (variables[i][name_len] == '=');
        struct overlay o = {.arena = arena, .report = report};
        o.place = (struct place){PLACE_ENVIRONMENT, (unsigned)i + 1, 0, variables[i]};
        const char *name = need(&o, arena_copy(arena, variables[i], name_len));
        if (name == NULL) break;
        o.place.name = name;
        struct slice path = slice_from(slice_of(variables[i], name_len), prefix_len);
        if (split_variable(&o, path)) apply(&o, root, value);
    }
    free(variables);
}

/* --- flags: parts are separated by dots, or an entry's name stands in brackets --- */

static bool split_flag(struct overlay *o, struct slice key)
{
    for (size_t start = 0, at = 0;; at++) {
        bool is_end = at == key.len;
        if (!is_end && strchr(".[]", key.data[at]) == NULL) continue;
        struct slice part = slice_of(key.data + start, at - start);
        /* Nothing stands between "]" and the "." after it. */
        bool is_after_bracket = start > 0 && key.data[start - 1] == ']';
        if ((part.len > 0 || !is_after_bracket) && !add_part(o, part)) return false;
        if (is_end) return true;
        start = at + 1;
    }
}

void overlay_flags(struct node *root, char *const *flags, struct arena *arena,
                   struct report *report)
{
    for (unsigned i = 0; flags != NULL && flags[i] != NULL; i++) {
        struct overlay o = {.arena = arena, .report = report};
        o.place = (struct place){PLACE_FLAG, i + 1, 0, flags[i]};
        const char *equals = strchr(flags[i], '=');
        if (equals == NULL) {
            report_add(report, &o.place, "write it as KEY=VALUE, such as node.cores=1");
            continue;
        }
        struct slice key = slice_of(flags[i], (size_t)(equals - flags[i]));
        const char *name = need(&o, arena_copy(arena, key.data, key.len));
        if (name == NULL) return;
        o.place.name = name;
        if (split_flag(&o, key)) apply(&o, root, equals + 1);
    }
}
