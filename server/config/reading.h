/* reading.h - fills a struct config from the tree, under the schema.
 *
 * Every value is read even after a problem, so that all of them come up at once; the struct is of
 * use only when there was none. */
#pragma once

#include "server/config/schema.h"

#define KEY_PATH_BYTES_MAX 256 /* "listeners[mx].limits.recipients", with its terminator */

/* One effective value and where it came from, in the order of the schema. */
struct origin {
    char *path;
    const struct schema_key *key;
    const void *base; /* the struct that key->offset counts from */
    char *place;      /* as place_write() writes it */
};

struct config_origins {
    struct origin *entries;
    size_t count, room;
};

struct reading {
    struct report *report;
    const char *directory;       /* absolute: what relative paths are relative to */
    const char *shown_directory; /* the same as the user gave it; "": the current one */
    struct config_origins *origins;
    struct place start; /* of the file */
    /* Every address that something listens at: none may be taken twice. */
    struct {
        struct endpoint *addresses;
        struct place *places;
        size_t count;
    } bound;
};

/* `root` is a mapping, or not: that is a problem like others. */
void reading_run(struct reading *r, const struct node *root, struct config *config);

/* Reads one value; a problem is reported and false returned. */
typedef bool key_read(struct reading *r, const struct schema_key *key, const struct node *node,
                      void *base);
typedef void key_write(const struct schema_key *key, const void *base, FILE *out);

struct key_type {
    key_read *read;   /* NULL: a section or list of sections, which reading.c knows */
    key_write *write; /* the effective value as text */
    bool is_list;     /* of scalars; the environment separates them with commas */
    bool takes_file;  /* {file: PATH} may stand for the list */
};
extern const struct key_type key_types[]; /* by enum key_kind */
