/* document.c - builds the tree of document.h from libyaml's events.
 *
 * Decision: the design names libcyaml for reading. It maps a file straight onto structs and stops
 * at the first thing that is wrong, while our users are promised every problem at once, each with
 * its line and column, and defaults, environment and flags under the same checks. So we read with
 * libyaml, the parser below libcyaml, and keep the typed schema in a table of our own (schema.c).
 */
#include "server/config/document.h"

#include <stdlib.h>
#include <yaml.h>

struct builder {
    yaml_parser_t parser;
    struct slice text;
    const char *file;
    struct arena *arena;
    struct report *report;
    unsigned nodes;
};

static struct place place_of(const struct builder *b, yaml_mark_t mark)
{
    return (struct place){PLACE_FILE, (unsigned)mark.line + 1, (unsigned)mark.column + 1, b->file};
}

struct node *node_create(struct arena *arena, enum node_kind kind, struct place place)
{
    struct node *node = arena_alloc(arena, sizeof(*node));
    if (node == NULL) return NULL;
    *node = (struct node){.kind = kind, .place = place, .key_place = place};
    return node;
}

void node_append(struct node *parent, struct node *child)
{
    ASSERT(child->next == NULL);
    if (parent->last == NULL) {
        parent->first = child;
    } else {
        parent->last->next = child;
    }
    parent->last = child;
    parent->count++;
}

struct node *node_find(const struct node *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != NODE_MAPPING) return NULL;
    for (struct node *child = mapping->first; child != NULL; child = child->next) {
        if (strcmp(child->key, key) == 0) return child;
    }
    return NULL;
}

bool node_is_empty(const struct node *node)
{
    return node->kind == NODE_SCALAR && node->is_plain &&
           (node->text.len == 0 || strcmp(node->text.data, "~") == 0 ||
            strcmp(node->text.data, "null") == 0);
}

/* A byte that is not UTF-8 comes with an offset, everything else with a mark. */
static void report_syntax(struct builder *b)
{
    const yaml_parser_t *p = &b->parser;
    struct place place = place_of(b, p->problem_mark);
    if (p->error == YAML_READER_ERROR) {
        place.line = place.column = 1;
        for (size_t i = 0; i < MIN(p->problem_offset, b->text.len); i++) {
            place.column = b->text.data[i] == '\n' ? 1 : place.column + 1;
            place.line += b->text.data[i] == '\n';
        }
    }
    report_add(b->report, &place, "not YAML: %s%s%s", p->context != NULL ? p->context : "",
               p->context != NULL ? ": " : "", p->problem != NULL ? p->problem : "out of memory");
}

/* False after a problem. */
static bool next_event(struct builder *b, yaml_event_t *event)
{
    if (yaml_parser_parse(&b->parser, event) != 0) return true;
    report_syntax(b);
    return false;
}

static struct node *take(struct builder *b, enum node_kind kind, const yaml_event_t *event)
{
    struct place place = place_of(b, event->start_mark);
    struct node *node = b->nodes < DOCUMENT_NODES_MAX ? node_create(b->arena, kind, place) : NULL;
    b->nodes++;
    if (node == NULL) {
        report_add(b->report, &place, "too many values: put long lists in files of their own");
    }
    return node;
}

static void refuse_marks(struct builder *b, const yaml_event_t *event, const yaml_char_t *anchor,
                         const yaml_char_t *tag)
{
    struct place place = place_of(b, event->start_mark);
    if (anchor != NULL) {
        report_add(b->report, &place, "anchors (&%s) are not read here", (const char *)anchor);
    }
    if (tag != NULL) {
        report_add(b->report, &place,
                   "tags (%s) are not read here: the schema says what a value is",
                   (const char *)tag);
    }
}

static struct node *build_scalar(struct builder *b, yaml_event_t *event)
{
    refuse_marks(b, event, event->data.scalar.anchor, event->data.scalar.tag);
    struct node *node = take(b, NODE_SCALAR, event);
    if (node == NULL) return NULL;
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    if (memchr(text, '\0', len) != NULL) {
        report_add(b->report, &node->place, "the value holds a NUL byte");
        len = strlen(text);
    }
    char *copy = arena_copy(b->arena, text, len);
    if (copy == NULL) {
        report_add(b->report, &node->place, "the file is too large");
        return NULL;
    }
    node->text = slice_of(copy, len);
    node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return node;
}

static struct node *build(struct builder *b, yaml_event_t *event, unsigned depth);

/* The children of `parent` up to its end event. */
static bool build_children(struct builder *b, struct node *parent, unsigned depth)
{
    bool is_mapping = parent->kind == NODE_MAPPING;
    for (;;) {
        yaml_event_t event;
        if (!next_event(b, &event)) return false;
        if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return true;
        }
        struct node *key = NULL;
        if (is_mapping) {
            key = build(b, &event, depth + 1);
            yaml_event_delete(&event);
            if (key == NULL || !next_event(b, &event)) return false;
        }
        struct node *child = build(b, &event, depth + 1);
        yaml_event_delete(&event);
        if (child == NULL) return false;
        if (key != NULL && key->kind != NODE_SCALAR) {
            report_add(b->report, &key->place, "a key must be a single word");
            continue;
        }
        if (key != NULL) {
            child->key = key->text.data;
            child->key_place = key->place;
        }
        node_append(parent, child);
    }
}

/* The node that begins with `event`, which stays the caller's. NULL after a problem that makes the
 * rest unreadable. */
static struct node *build(struct builder *b, yaml_event_t *event, unsigned depth)
{
    struct place place = place_of(b, event->start_mark);
    if (depth > DOCUMENT_DEPTH_MAX) {
        report_add(b->report, &place, "nested more than %u levels deep", DOCUMENT_DEPTH_MAX);
        return NULL;
    }
    if (event->type == YAML_SCALAR_EVENT) return build_scalar(b, event);
    if (event->type == YAML_ALIAS_EVENT) {
        report_add(b->report, &place, "aliases (*%s) are not read here: write the value out",
                   (const char *)event->data.alias.anchor);
        struct node *node = take(b, NODE_SCALAR, event);
        if (node != NULL) node->text = SLICE("");
        return node;
    }
    bool is_mapping = event->type == YAML_MAPPING_START_EVENT;
    ASSERT(is_mapping || event->type == YAML_SEQUENCE_START_EVENT);
    if (is_mapping) {
        refuse_marks(b, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    } else {
        refuse_marks(b, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    }
    struct node *node = take(b, is_mapping ? NODE_MAPPING : NODE_SEQUENCE, event);
    return node != NULL && build_children(b, node, depth) ? node : NULL;
}

static struct node *build_stream(struct builder *b)
{
    struct node *root = NULL;
    for (;;) {
        yaml_event_t event;
        if (!next_event(b, &event)) return NULL;
        yaml_event_type_t type = event.type;
        struct place place = place_of(b, event.start_mark);
        bool is_content = type == YAML_SCALAR_EVENT || type == YAML_ALIAS_EVENT ||
                          type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
        bool is_first = root == NULL;
        if (is_content && is_first) root = build(b, &event, 0);
        yaml_event_delete(&event);
        if (is_content && !is_first) {
            report_add(b->report, &place, "a second document: one file is one configuration");
            return NULL;
        }
        if (is_content && root == NULL) return NULL;
        if (type == YAML_STREAM_END_EVENT) break;
    }
    if (root == NULL || node_is_empty(root)) {
        struct place start = {PLACE_FILE, 1, 1, b->file};
        root = node_create(b->arena, NODE_MAPPING, start);
    }
    return root;
}

struct node *document_parse(struct slice text, const char *file, struct arena *arena,
                            struct report *report)
{
    struct builder b = {.text = text, .file = file, .arena = arena, .report = report};
    struct place start = {PLACE_FILE, 1, 1, file};
    if (text.len > DOCUMENT_BYTES_MAX) {
        report_add(report, &start,
                   "the file is larger than %u MiB: put long lists in files of "
                   "their own",
                   DOCUMENT_BYTES_MAX >> 20);
        return NULL;
    }
    if (yaml_parser_initialize(&b.parser) == 0) {
        report_add(report, &start, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text.data, text.len);
    struct node *root = build_stream(&b);
    yaml_parser_delete(&b.parser);
    return root;
}
