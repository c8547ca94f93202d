/* tally.h - what arrived: a table of message ids with their copies.
 *
 * Copies are counted by recipient, so that a message to many recipients may come in one piece or
 * in several. Recipients above the 63rd share one bit and are not told apart. */
#pragma once

#include "bench/mark.h"

struct tally_entry {
    struct message_id id;
    uint64_t digest;     /* of the first copy */
    uint64_t recipients; /* that got it */
    uint32_t copies;     /* 0: the slot is free */
    uint32_t doubled;    /* recipients' copies after their first */
    uint32_t altered;    /* copies that are not what was sent */
    bool is_expected;    /* set by the comparison: the sender's ledger names it */
};

struct tally {
    struct tally_entry *slots;
    size_t slot_count; /* a power of two */
    uint64_t distinct, received, doubled, altered, without_id;
};

void tally_init(struct tally *t, size_t expected_count);
void tally_finish(struct tally *t);
/* One copy for `recipients` (not empty). */
void tally_add(struct tally *t, const struct message_id *id, uint64_t digest, uint64_t recipients,
               bool is_altered);
/* NULL when it never came. */
struct tally_entry *tally_find(const struct tally *t, const struct message_id *id);
/* Messages that came once, twice, three times or more. */
void tally_copies(const struct tally *t, uint64_t counts_out[3]);
