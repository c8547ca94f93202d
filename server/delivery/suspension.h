/* suspension.h - destinations that an operator has told to wait.
 *
 * A set is made by the control thread, const once published, and shared by the cores: each holds it
 * until it is given a newer one. What is for a suspended destination is postponed, no attempt is
 * counted; connections that are open end after the message they are at. */
#pragma once

#include "ring/base/slice.h"

#define SUSPENSIONS_MAX 1000 /* in force at once */
#define SUSPENSION_REASON_BYTES_MAX 200

struct suspension {
    char *destination;           /* as destinations are named: a domain, or the hosts of a route */
    char *reason;                /* one line of printable ASCII or UTF-8 */
    uint64_t since_ms, until_ms; /* wall time; until 0: until it is resumed */
};

struct suspensions {
    uint32_t references; /* atomic */
    size_t count;
    struct suspension entries[]; /* sorted by destination */
};

/* Copies the entries; one reference, the caller's. */
struct suspensions *suspensions_create(const struct suspension *entries, size_t count);
struct suspensions *suspensions_ref(struct suspensions *suspensions);
void suspensions_unref(struct suspensions *suspensions); /* NULL is allowed */
/* NULL: the destination is not suspended at `now_ms`. NULL suspensions are none. */
const struct suspension *suspensions_find(const struct suspensions *suspensions,
                                          struct slice destination, uint64_t now_ms);
