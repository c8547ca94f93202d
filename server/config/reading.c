/* reading.c - walks the schema over the tree: unknown, repeated, missing and unbuilt keys; the
 * values themselves are read by scalars.c and lists.c. */
#include "server/config/reading.h"

#include "ring/base/map.h"
#include "server/config/checks.h"
#include "server/config/lists.h"
#include "server/config/scalars.h"

#include <stdlib.h>

#define FALLBACK_WORDS_MAX 8

const struct key_type key_types[] = {
    [KEY_SECTION] = {NULL, section_write, false, false},
    [KEY_ENTRIES] = {NULL, NULL, false, false},
    [KEY_UNBUILT] = {NULL, NULL, false, false},
    [KEY_NUMBER] = {number_read, number_write, false, false},
    [KEY_FACTOR] = {factor_read, factor_write, false, false},
    [KEY_BOOLEAN] = {boolean_read, boolean_write, false, false},
    [KEY_CHOICE] = {choice_read, choice_write, false, false},
    [KEY_CHOICES] = {choices_read, choices_write, true, false},
    [KEY_NAME] = {name_read, text_write, false, false},
    [KEY_HOSTNAME] = {hostname_read, text_write, false, false},
    [KEY_CORES] = {cores_read, number_write, false, false},
    [KEY_PATH] = {path_read, text_write, false, false},
    [KEY_FILE] = {file_read, text_write, false, false},
    [KEY_FREE_SPACE] = {free_space_read, free_space_write, false, false},
    [KEY_LISTEN] = {listen_read, endpoints_write, true, false},
    [KEY_ADMIN] = {admin_read, admin_write, true, false},
    [KEY_HOSTS] = {hosts_read, hosts_write, true, false},
    [KEY_SERVERS] = {servers_read, endpoints_write, true, false},
    [KEY_SOURCES] = {sources_read, sources_write, true, false},
    [KEY_TEXT] = {text_read, text_write, false, false},
    [KEY_PASSWORD] = {text_read, password_write, false, false},
    [KEY_PASSWORD_FILE] = {password_file_read, password_write, false, false},
    [KEY_NETWORKS] = {networks_read, networks_write, true, true},
    [KEY_DOMAINS] = {domains_read, entries_write, true, true},
    [KEY_RECIPIENTS] = {recipients_read, entries_write, true, true},
    [KEY_MAILDIR] = {maildir_read, text_write, false, false},
    [KEY_REPLY] = {reply_read, text_write, false, false},
};

/* A name that an entry of a list was given, with '-' and '_' and the cases taken as the same, since
 * the environment cannot tell them apart. */
struct seen_name {
    struct map_node node;
    struct slice folded;
    const struct place *place;
};

static void read_keys(struct reading *r, const struct schema_key *keys, const struct node *section,
                      const struct place *place, void *base, const char *path);

static void record(struct reading *r, const struct schema_key *key, const struct place *place,
                   const void *base, const char *path)
{
    struct config_origins *o = r->origins;
    if (o->count == o->room) {
        o->room = o->room == 0 ? 64 : o->room * 2;
        o->entries = xrealloc(o->entries, o->room * sizeof(*o->entries));
    }
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out != NULL) {
        place_write(place, out);
        fclose(out);
    }
    o->entries[o->count++] = (struct origin){xstrdup(path), key, base, text};
}

/* The keys that are there: each known, built, and only once. */
static void check_given_keys(struct reading *r, const struct schema_key *keys,
                             const struct node *section)
{
    for (const struct node *child = section->first; child != NULL; child = child->next) {
        struct slice name = slice_of_cstr(child->key);
        const struct schema_key *key = schema_find(keys, name);
        if (key == NULL || strcmp(key->name, child->key) != 0) {
            const char *near = schema_suggest(keys, name);
            report_add(r->report, &child->key_place, "unknown key '%.100s'%s%s%s", child->key,
                       near != NULL ? " (did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?)" : "");
            continue;
        }
        const struct node *first = node_find(section, child->key);
        if (first != child) {
            report_add(r->report, &child->key_place, "'%s' is given twice: the first is in line %u",
                       key->name, first->key_place.line);
        } else if (key->kind == KEY_UNBUILT) {
            report_add(r->report, &child->key_place, "'%s' is not built yet in this version",
                       key->name);
        }
    }
}

static void report_missing(struct reading *r, const struct schema_key *key,
                           const struct place *place)
{
    report_add(r->report, place, "'%s' is missing", key->name);
}

static void read_section(struct reading *r, const struct schema_key *key, const struct node *node,
                         const struct place *place, void *base, const char *path)
{
    if (node == NULL && key->is_required) report_missing(r, key, place);
    if (node == NULL && (key->is_required || key->is_optional)) return;
    if (node != NULL && node->kind != NODE_MAPPING && !node_is_empty(node)) {
        report_add(r->report, &node->place, "'%s' must be a section of 'key: value'", key->name);
        return;
    }
    size_t problems = r->report->count;
    read_keys(r, key->keys, node, node != NULL ? &node->place : place, base, path);
    if (node != NULL && key->keys->name == NULL) record(r, key, &node->place, base, path);
    /* Numbers that are wrong by themselves are not compared; what is missing or twice is. */
    bool is_structure = key->is_required;
    if (key->check != NULL && (is_structure || r->report->count == problems)) {
        key->check(r, node, base);
    }
}

static bool seen_match(const struct map_node *node, struct slice key)
{
    return slice_eq(CONTAINER_OF(node, struct seen_name, node)->folded, key);
}

static void check_unique(struct reading *r, struct map *names, struct seen_name *seen,
                         const char *name, const struct place *place)
{
    char *folded = xstrdup(name);
    for (char *at = folded; *at != '\0'; at++) {
        if (*at == '-') *at = '_';
        *at = ascii_lower(*at);
    }
    seen->folded = slice_of_cstr(folded);
    seen->place = place;
    struct map_node *found = map_find(names, seen->folded, seen_match);
    if (found == NULL) {
        map_insert(names, seen->folded, &seen->node);
    } else {
        report_add(r->report, place, "the name '%.100s' is taken: line %u has it", name,
                   CONTAINER_OF(found, struct seen_name, node)->place->line);
    }
}

/* What an entry is called in paths: its name if that is good, what stands for a name, its number.
 */
static void label_entry(const struct schema_key *key, const struct node *name, size_t number,
                        char *label, size_t label_cap)
{
    if (name != NULL && name->kind == NODE_SCALAR && name_is_valid(name->text)) {
        snprintf(label, label_cap, "%s", name->text.data);
    } else if (key->fallback != NULL) {
        snprintf(label, label_cap, "%s-%zu", key->fallback, number);
    } else {
        snprintf(label, label_cap, "%zu", number);
    }
}

/* One entry of a list of sections. Returns its name, or NULL when it has none that is good. */
static const char *read_entry(struct reading *r, const struct schema_key *key,
                              const struct node *node, size_t number, void *base, const char *path)
{
    const struct schema_key *name_key = schema_entries_have_names(key) ? &key->keys[0] : NULL;
    const struct node *name = name_key != NULL ? node_find(node, name_key->name) : NULL;
    char label[KEY_PATH_BYTES_MAX / 2], entry_path[KEY_PATH_BYTES_MAX];
    label_entry(key, name, number, label, sizeof(label));
    int len = snprintf(entry_path, sizeof(entry_path), "%s[%s]", path, label);
    ASSERT(len > 0 && (size_t)len < sizeof(entry_path));
    if (node->kind != NODE_MAPPING) {
        report_add(r->report, &node->place, "an entry of '%s' must be a section of 'key: value'",
                   key->name);
        return NULL;
    }
    char **name_at = NULL;
    if (name_key != NULL) {
        name_at = (char **)(void *)((char *)base + name_key->offset);
        if (name == NULL && name_key->is_derived) *name_at = xstrdup(label);
    }
    size_t problems = r->report->count;
    read_keys(r, key->keys, node, &node->place, base, entry_path);
    if (key->check != NULL && r->report->count == problems) key->check(r, node, base);
    return name_at != NULL ? *name_at : NULL;
}

/* False after a problem. */
static bool check_entries(struct reading *r, const struct schema_key *key, const struct node *node)
{
    if (node->kind != NODE_SEQUENCE || node->count == 0) {
        report_add(r->report, &node->place,
                   "'%s' must be a list of at least one section: - %s: ...", key->name,
                   key->keys[0].name);
        return false;
    }
    if (node->count > key->max) {
        report_add(r->report, &node->place, "'%s' may have at most %zu entries, not %zu", key->name,
                   (size_t)key->max, node->count);
        return false;
    }
    return true;
}

static void read_entries(struct reading *r, const struct schema_key *key, const struct node *node,
                         const struct place *place, void *base, const char *path)
{
    if (node == NULL && key->is_required) report_missing(r, key, place);
    if (node == NULL || !check_entries(r, key, node)) return;
    char *entries = xcalloc(node->count, key->entry_bytes);
    *(void **)(void *)((char *)base + key->offset) = entries;
    *(size_t *)(void *)((char *)base + key->count_offset) = node->count;

    struct map names;
    map_init(&names);
    struct seen_name *seen = xcalloc(node->count, sizeof(*seen));
    size_t at = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next, at++) {
        const char *name = read_entry(r, key, child, at + 1, entries + at * key->entry_bytes, path);
        const struct node *given = node_find(child, key->keys[0].name);
        if (name == NULL) continue;
        check_unique(r, &names, &seen[at], name, given != NULL ? &given->place : &child->place);
    }
    map_finish(&names);
    for (size_t i = 0; i < node->count; i++) {
        free((char *)(uintptr_t)seen[i].folded.data);
    }
    free(seen);
}

/* The default goes the same way as a value from the file. */
static void read_fallback(struct reading *r, const struct schema_key *key, void *base)
{
    struct place place = r->start;
    place.kind = PLACE_DEFAULT;
    struct slice text = slice_of_cstr(key->fallback);
    struct node scalar = {.kind = NODE_SCALAR, .text = text, .place = place, .key_place = place};
    if (!key_types[key->kind].is_list) {
        key_types[key->kind].read(r, key, &scalar, base);
        return;
    }
    struct node list = {.kind = NODE_SEQUENCE, .place = place, .key_place = place};
    struct node words[FALLBACK_WORDS_MAX];
    for (struct node *word = words; text.len > 0; word++) {
        ASSERT(word < words + FALLBACK_WORDS_MAX);
        const char *blank = memchr(text.data, ' ', text.len);
        size_t len = blank != NULL ? (size_t)(blank - text.data) : text.len;
        *word = scalar;
        word->text = slice_of(text.data, len);
        text = slice_from(text, MIN(len + 1, text.len));
        node_append(&list, word);
    }
    key_types[key->kind].read(r, key, &list, base);
}

static void read_value(struct reading *r, const struct schema_key *key, const struct node *node,
                       const struct place *place, void *base, const char *path)
{
    static const struct place nowhere = {.kind = PLACE_DEFAULT};
    if (node != NULL) {
        if (key_types[key->kind].read(r, key, node, base)) record(r, key, &node->place, base, path);
    } else if (key->is_required) {
        report_missing(r, key, place);
    } else if (key->fallback != NULL) {
        read_fallback(r, key, base);
        record(r, key, &nowhere, base, path);
    } else if (key->is_derived) {
        record(r, key, &nowhere, base, path);
    }
}

/* `section` NULL: nothing is given, all is default. */
static void read_keys(struct reading *r, const struct schema_key *keys, const struct node *section,
                      const struct place *place, void *base, const char *path)
{
    bool is_mapping = section != NULL && section->kind == NODE_MAPPING;
    if (is_mapping) check_given_keys(r, keys, section);
    for (const struct schema_key *key = keys; key->name != NULL; key++) {
        const struct node *node = is_mapping ? node_find(section, key->name) : NULL;
        char key_path[KEY_PATH_BYTES_MAX];
        int len = snprintf(key_path, sizeof(key_path), "%s%s%s", path, *path != '\0' ? "." : "",
                           key->name);
        ASSERT(len > 0 && (size_t)len < sizeof(key_path));
        switch (key->kind) {
        case KEY_SECTION:
            read_section(r, key, node, place, base, key_path);
            break;
        case KEY_ENTRIES:
            read_entries(r, key, node, place, base, key_path);
            break;
        case KEY_UNBUILT:
            break;
        default:
            read_value(r, key, node, place, base, key_path);
            break;
        }
    }
}

void reading_run(struct reading *r, const struct node *root, struct config *config)
{
    if (root->kind != NODE_MAPPING) {
        report_add(r->report, &root->place,
                   "a configuration is made of sections: node, spool, "
                   "listeners, routes, delivery, admin, log");
        return;
    }
    size_t problems = r->report->count;
    read_keys(r, schema_root, root, &root->place, config, "");
    if (r->report->count == problems) check_whole(r, root, config);
    free(r->bound.addresses);
    free(r->bound.places);
}
