/* document.h - a YAML file as a tree of nodes that know where they stand.
 *
 * Nothing is typed here: a scalar is its text, quoted or not, and schema.c says what it means.
 * Anchors, aliases, tags and second documents are refused, so that what a line says can be read in
 * that line, and no file can grow in memory by referring to itself. */
#pragma once

#include "ring/base/memory.h"
#include "server/config/report.h"

#define DOCUMENT_BYTES_MAX (8u << 20)
#define DOCUMENT_NODES_MAX 1000000u
#define DOCUMENT_DEPTH_MAX 16u

enum node_kind { NODE_SCALAR, NODE_SEQUENCE, NODE_MAPPING };

struct node {
    enum node_kind kind;
    struct place place;
    const char *key; /* in a mapping; terminated */
    struct place key_place;
    struct slice text;                /* of a scalar; terminated, holds no NUL */
    bool is_plain;                    /* written without quotes */
    struct node *first, *last, *next; /* its children, and its next brother */
    size_t count;                     /* of children */
};

/* Returns the root, or NULL after a problem (an empty file is an empty mapping). `file` stands in
 * the places and is borrowed as long as the tree; the nodes live in `arena`. */
struct node *document_parse(struct slice text, const char *file, struct arena *arena,
                            struct report *report);

/* NULL when the arena is full. */
struct node *node_create(struct arena *arena, enum node_kind kind, struct place place);
void node_append(struct node *parent, struct node *child);
/* The first child with that key; NULL when there is none, or `mapping` is NULL or no mapping. */
struct node *node_find(const struct node *mapping, const char *key);
/* `key:` with nothing behind it. */
bool node_is_empty(const struct node *node);
