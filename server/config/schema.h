/* schema.h - the table of every key: what it is, its range, its default, and whether it is built.
 *
 * One table serves the file, the environment and the flags, `postern check --show`, and what a
 * reload may change. A key that the design knows but this version does not have is in it too, as
 * KEY_UNBUILT, so that nobody takes a certificate for read when it was not. */
#pragma once

#include "server/config/document.h"
#include "server/config/value.h"

struct reading;

enum key_kind {
    KEY_SECTION,
    KEY_ENTRIES, /* a list of sections; each has a name when the first of its keys is one */
    KEY_UNBUILT,
    KEY_NUMBER, /* `units`, `min`, `max`; UNITS_NONE: a count */
    KEY_FACTOR, /* in hundredths */
    KEY_BOOLEAN,
    KEY_CHOICE,
    KEY_CHOICES, /* a list; the value is the BITs of those that are named */
    KEY_NAME,
    KEY_HOSTNAME,
    KEY_CORES,
    KEY_PATH,
    KEY_FILE, /* a path that can be read */
    KEY_FREE_SPACE,
    KEY_LISTEN,        /* addresses to listen at */
    KEY_ADMIN,         /* the same, or unix:PATH */
    KEY_HOSTS,         /* addresses and names of next hops; `min`: the port of those without one */
    KEY_SERVERS,       /* addresses of name servers */
    KEY_SOURCES,       /* addresses that connections come from: struct config_hop */
    KEY_TEXT,          /* one line of printable characters */
    KEY_PASSWORD,      /* the same, and never shown */
    KEY_PASSWORD_FILE, /* the same from the first line of a file */
    KEY_NETWORKS,
    KEY_DOMAINS,
    KEY_RECIPIENTS,
    KEY_MAILDIR,
    KEY_REPLY,
};

struct choice {
    const char *name; /* NULL ends the list; its index is the value of the enum */
    bool is_built;
};

struct schema_key {
    const char *name; /* NULL ends a table */
    enum key_kind kind;
    enum unit_family units;
    size_t offset;                 /* of the value in the struct that the section belongs to */
    size_t width;                  /* of the value; 0: it is checked and not kept */
    uint64_t min, max;             /* of a number; KEY_ENTRIES, lists: at most `max` entries */
    const char *fallback;          /* the default, as a file would have it; NULL: none; a list
                                      is separated by blanks. KEY_ENTRIES: of what the name of
                                      an entry without one is made, as route-1 */
    const struct schema_key *keys; /* of a section or of each entry */
    const struct choice *choices;
    size_t count_offset, entry_bytes; /* KEY_ENTRIES */
    /* What keys of one section (KEY_ENTRIES: of one entry) say together; runs after they were read,
     * unless one of them is wrong by itself. */
    void (*check)(struct reading *r, const struct node *section, void *base);
    bool is_required;
    bool is_optional; /* a section that counts only when it is there: no defaults without it */
    bool is_derived;  /* when it is not given, `check` or the reading makes the value */
    bool needs_restart;
};

extern const struct schema_key schema_root[];

/* False: an entry of the list is known by its number alone. */
bool schema_entries_have_names(const struct schema_key *entries);

/* NULL when there is none. `name` in any case: the environment is in capitals by habit. */
const struct schema_key *schema_find(const struct schema_key *keys, struct slice name);
/* The nearest name, or NULL. */
const char *schema_suggest(const struct schema_key *keys, struct slice name);
