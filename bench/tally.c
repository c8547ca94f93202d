/* tally.c - open addressing with linear probing; the table doubles at two thirds. */
#include "bench/tally.h"

#include "ring/base/memory.h"

#include <stdlib.h>

#define SLOT_COUNT_MIN 1024

void tally_init(struct tally *t, size_t expected_count)
{
    *t = (struct tally){.slot_count = SLOT_COUNT_MIN};
    while (t->slot_count / 3 * 2 < expected_count) {
        t->slot_count *= 2;
    }
    t->slots = xcalloc(t->slot_count, sizeof(t->slots[0]));
}

void tally_finish(struct tally *t)
{
    free(t->slots);
    t->slots = NULL;
}

static bool is_free(const struct tally_entry *e)
{
    return e->copies == 0;
}

/* The slot of `id`, or the free one where it belongs. The ids are our own: no secret is needed. */
static struct tally_entry *slot_of(const struct tally *t, const struct message_id *id)
{
    uint64_t hash = (id->run ^ id->number * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    size_t at = (size_t)(hash ^ hash >> 32) & (t->slot_count - 1);
    for (;;) {
        struct tally_entry *e = &t->slots[at];
        if (is_free(e) || (e->id.run == id->run && e->id.number == id->number)) return e;
        at = (at + 1) & (t->slot_count - 1);
    }
}

static void grow(struct tally *t)
{
    struct tally_entry *old = t->slots;
    size_t old_count = t->slot_count;
    t->slot_count *= 2;
    t->slots = xcalloc(t->slot_count, sizeof(t->slots[0]));
    for (size_t i = 0; i < old_count; i++) {
        if (!is_free(&old[i])) *slot_of(t, &old[i].id) = old[i];
    }
    free(old);
}

void tally_add(struct tally *t, const struct message_id *id, uint64_t digest, uint64_t recipients,
               bool is_altered)
{
    ASSERT(recipients != 0);
    struct tally_entry *e = slot_of(t, id);
    if (is_free(e)) {
        if (++t->distinct > t->slot_count / 3 * 2) {
            grow(t);
            e = slot_of(t, id);
        }
        e->id = *id;
        e->digest = digest;
    }
    uint64_t again = e->recipients & recipients & ~MARK_RECIPIENT_OTHER;
    uint32_t doubled = (uint32_t)__builtin_popcountll(again);
    e->copies++;
    e->doubled += doubled;
    e->recipients |= recipients;
    t->received++;
    t->doubled += doubled;
    if (!is_altered) return;
    e->altered++;
    t->altered++;
}

struct tally_entry *tally_find(const struct tally *t, const struct message_id *id)
{
    struct tally_entry *e = slot_of(t, id);
    return is_free(e) ? NULL : e;
}

void tally_copies(const struct tally *t, uint64_t counts_out[3])
{
    memset(counts_out, 0, 3 * sizeof(counts_out[0]));
    for (size_t i = 0; i < t->slot_count; i++) {
        uint32_t copies = t->slots[i].copies;
        if (copies > 0) counts_out[MIN(copies, 3u) - 1]++;
    }
}
