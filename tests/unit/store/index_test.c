/* index_test.c - the tables of a shard, without a loop: the lease cursor, a clock that steps back,
 * a map that is full. */
#include "ring/base/log.h"
#include "store/index_internal.h"
#include "tests/support/test.h"

#include <sys/stat.h>
#include <unistd.h>

struct base {
    char path[64];
    struct index *index;
};

static void base_open(struct base *b, uint64_t map_bytes)
{
    struct index_options options = {.path = b->path, .map_bytes_max = map_bytes};
    char why[256];
    int err = index_open(&options, &b->index, why, sizeof(why));
    if (err != 0) printf("%s\n", why);
    ASSERT(err == 0);
}

static void base_begin(struct base *b, uint64_t map_bytes)
{
    log_set_level(LOG_ERROR);
    *b = (struct base){.path = "/tmp/postern-index-XXXXXX"};
    int fd = mkstemp(b->path);
    ASSERT(fd >= 0);
    close(fd);
    base_open(b, map_bytes);
}

static void base_end(struct base *b)
{
    index_close(b->index);
    unlink(b->path);
    char lock[80];
    snprintf(lock, sizeof(lock), "%s-lock", b->path);
    unlink(lock);
}

static struct stored *make(uint64_t id, uint64_t due_ms, uint32_t segment, size_t helo_len)
{
    static char helo[60000];
    struct recipient recipient = {.address = SLICE("a@example.test")};
    struct envelope envelope = {.sender = SLICE("s@example.test"),
                                .helo = slice_of(helo, helo_len),
                                .recipients = &recipient,
                                .recipient_count = 1};
    struct record_head head = {
        .id = id, .due_ms = due_ms, .body_bytes = 100, .extent_count = 1, .recipient_count = 1};
    struct stored *stored;
    int err = stored_create(&head, &envelope, &stored);
    ASSERT(err == 0);
    struct extent extent = {segment, (uint32_t)id, 100, 0};
    stored_set_extent(stored, 0, &extent);
    return stored;
}

static struct stored *put(struct base *b, uint64_t id, uint64_t due_ms, uint32_t segment)
{
    struct stored *stored = make(id, due_ms, segment, 10);
    CHECK_EQ("begin", index_begin(b->index), 0);
    CHECK_EQ("put", index_put(b->index, stored), 0);
    CHECK_EQ("commit", index_commit(b->index), 0);
    return stored;
}

static int delete (struct base *b, struct stored *stored)
{
    int result = -1;
    CHECK_EQ("begin", index_begin(b->index), 0);
    CHECK_EQ("delete", index_delete(b->index, stored, &result), 0);
    CHECK_EQ("commit", index_commit(b->index), 0);
    stored_free(stored);
    return result;
}

static int move(struct base *b, uint64_t id, uint32_t from, uint32_t to)
{
    struct extent_move m = {
        .id = id, .from = {from, (uint32_t)id, 100, 0}, .to = {to, (uint32_t)id + 50, 100, 0}};
    int result = -1;
    CHECK_EQ("begin", index_begin(b->index), 0);
    CHECK_EQ("move", index_move(b->index, &m, &result), 0);
    CHECK_EQ("commit", index_commit(b->index), 0);
    return result;
}

/* Leases and compares the ids; the messages are given to `out`. */
static void expect_lease(struct base *b, uint64_t now_ms, const uint64_t *ids, uint32_t count,
                         struct stored **out)
{
    struct lease_result result;
    CHECK_EQ("lease", index_lease(b->index, now_ms, 100, &result), 0);
    CHECK_EQ("count", result.count, count);
    for (uint32_t i = 0; i < result.count; i++) {
        struct list *node = list_pop_front(&result.messages);
        struct stored *stored = stored_of(LIST_ENTRY(node, struct message, node));
        if (i < count) CHECK_EQ("id", stored->message.id, ids[i]);
        if (out != NULL && i < count)
            out[i] = stored;
        else
            stored_free(stored);
    }
}

TEST(index_counts_live_bytes_and_undoes_with_the_transaction)
{
    struct base b;
    base_begin(&b, 64 << 20);
    struct stored *first = put(&b, 10, 0, 3), *second = put(&b, 11, 0, 3);
    CHECK_EQ("live", index_row(b.index, 3)->live, 8192);
    CHECK_EQ("first", index_row(b.index, 3)->first_id, 10);
    CHECK_EQ("last", index_row(b.index, 3)->last_id, 11);

    struct stored *third = make(12, 0, 100, 10);
    CHECK_EQ("begin", index_begin(b.index), 0);
    CHECK_EQ("put", index_put(b.index, third), 0);
    int result;
    CHECK_EQ("delete", index_delete(b.index, first, &result), 0);
    index_abort(b.index);
    CHECK_EQ("live", index_row(b.index, 3)->live, 8192);
    CHECK_EQ("live", index_row(b.index, 100)->live, 0);
    CHECK_EQ("queued", index_totals(b.index)->queued, 2);
    stored_free(third);

    CHECK_EQ("delete", delete (&b, first), 0);
    CHECK_EQ("live", index_row(b.index, 3)->live, 4096);
    first = make(10, 0, 3, 10);
    CHECK_EQ("twice", delete (&b, first), -ERR_NOT_FOUND);
    CHECK_EQ("delete", delete (&b, second), 0);
    CHECK_EQ("live", index_row(b.index, 3)->live, 0);
    CHECK_EQ("queued", index_totals(b.index)->queued, 0);
    index_close(b.index);
    base_open(&b, 64 << 20);
    CHECK_EQ("the id is not given again", index_totals(b.index)->last_id, 11);
    CHECK_EQ("no row", index_row_count(b.index), 0);
    base_end(&b);
}

TEST(index_lease_cursor_neither_misses_nor_repeats)
{
    struct base b;
    base_begin(&b, 64 << 20);
    stored_free(put(&b, 1, 0, 1));
    stored_free(put(&b, 2, 5000, 1));
    index_close(b.index);
    base_open(&b, 64 << 20);
    struct stored *fresh = put(&b, 3, 0, 1);
    expect_lease(&b, 4999, (const uint64_t[]){1}, 1, NULL); /* an orphan; not the fresh one */
    expect_lease(&b, 4999, NULL, 0, NULL);
    struct stored *spilled = put(&b, 4, 4999, 1);
    expect_lease(&b, 4999, (const uint64_t[]){4}, 1, NULL);
    expect_lease(&b, 5000, (const uint64_t[]){2}, 1, NULL);
    stored_free(spilled);
    /* Behind the cursor's time: moved to just after it. */
    spilled = put(&b, 5, 1000, 1);
    CHECK_EQ("moved", spilled->due_ms, 5001);
    expect_lease(&b, 5000, NULL, 0, NULL);
    expect_lease(&b, 5001, (const uint64_t[]){5}, 1, NULL);
    CHECK_EQ("delete", delete (&b, spilled), 0);
    CHECK_EQ("delete", delete (&b, fresh), 0);
    base_end(&b);
}

TEST(index_follows_a_clock_that_steps_back)
{
    const uint64_t day = 86400000, now = 1700000000000;
    struct base b;
    base_begin(&b, 64 << 20);
    stored_free(put(&b, 1, now + day - 5, 1));
    stored_free(put(&b, 2, now + day, 1));
    stored_free(put(&b, 3, now + 2 * day, 1));
    struct stored *leased[2];
    expect_lease(&b, now + day, (const uint64_t[]){1, 2}, 2, leased);
    CHECK(!index_wants_rewind(b.index, now + day));
    CHECK(!index_wants_rewind(b.index, now + day - 1000));
    CHECK(index_wants_rewind(b.index, now));
    CHECK_EQ("rewind", index_rewind(b.index, now), 0);
    CHECK(!index_wants_rewind(b.index, now));
    expect_lease(&b, now, NULL, 0, NULL);
    CHECK_EQ("in delivery", move(&b, 1, 1, 2), -ERR_AGAIN);

    /* What is put now is due now, not a day later. */
    struct stored *spilled = put(&b, 4, now + 300, 1);
    CHECK_EQ("due", spilled->due_ms, now + 300);
    expect_lease(&b, now + 299, NULL, 0, NULL);
    expect_lease(&b, now + 300, (const uint64_t[]){4}, 1, NULL);
    CHECK_EQ("delete", delete (&b, spilled), 0);
    CHECK_EQ("delete", delete (&b, leased[0]), 0);
    stored_free(leased[1]);
    expect_lease(&b, now + day, NULL, 0, NULL);
    expect_lease(&b, now + 2 * day, (const uint64_t[]){3}, 1, NULL);

    /* The next run finds the one that was in delivery, once. */
    index_close(b.index);
    base_open(&b, 64 << 20);
    expect_lease(&b, now, (const uint64_t[]){2}, 1, NULL);
    expect_lease(&b, now + day, NULL, 0, NULL);
    base_end(&b);
}

TEST(index_moves_extents_only_of_messages_at_rest)
{
    struct base b;
    base_begin(&b, 64 << 20);
    stored_free(put(&b, 1, 0, 1));
    stored_free(put(&b, 2, 7000, 1));
    CHECK_EQ("fresh", move(&b, 1, 1, 2), -ERR_AGAIN);
    CHECK_EQ("other place", move(&b, 2, 9, 2), -ERR_NOT_FOUND);
    CHECK_EQ("no message", move(&b, 77, 1, 2), -ERR_NOT_FOUND);
    CHECK_EQ("at rest", move(&b, 2, 1, 2), 0);
    CHECK_EQ("twice", move(&b, 2, 1, 2), -ERR_NOT_FOUND);
    CHECK_EQ("from", index_row(b.index, 1)->live, 4096);
    CHECK_EQ("to", index_row(b.index, 2)->live, 4096);
    struct extent_find find = {.segment = 2};
    CHECK_EQ("find", index_find(b.index, &find), 0);
    CHECK_EQ("found", find.count, 1);
    CHECK(find.is_end);
    CHECK_EQ("at", find.found[0].from.at, 52);
    find = (struct extent_find){.segment = 1};
    CHECK_EQ("find", index_find(b.index, &find), 0);
    CHECK_EQ("those in delivery are passed over", find.count, 0);
    struct stored *leased;
    expect_lease(&b, 7000, (const uint64_t[]){2}, 1, &leased);
    CHECK_EQ("new place", leased->message.extents[0].segment, 2);
    stored_free(leased);
    CHECK_EQ("leased", move(&b, 2, 2, 3), -ERR_NOT_FOUND);
    base_end(&b);
}

TEST(index_finds_extents_in_pieces)
{
    struct base b;
    base_begin(&b, 64 << 20);
    CHECK_EQ("begin", index_begin(b.index), 0);
    for (uint64_t id = 1; id <= 5000; id++) {
        struct stored *stored = make(id, 9000, id % 100 == 0 ? 5 : 6, 10);
        CHECK_EQ("put", index_put(b.index, stored), 0);
        stored_free(stored);
    }
    CHECK_EQ("commit", index_commit(b.index), 0);
    struct extent_find find = {.segment = 5};
    unsigned total = 0, calls = 0;
    do {
        CHECK_EQ("find", index_find(b.index, &find), 0);
        for (uint32_t i = 0; i < find.count; i++)
            CHECK_EQ("in order", find.found[i].id, ++total * 100);
        calls++;
    } while (!find.is_end && calls < 100);
    CHECK_EQ("all", total, 50);
    CHECK(calls >= 7);
    base_end(&b);
}

/* Fills the map for real, as only a wrong estimate of the gate could. */
TEST(index_settles_when_the_map_is_full)
{
    enum { COUNT_MAX = 4000 };
    struct base b;
    base_begin(&b, 1 << 20);
    static struct stored *all[COUNT_MAX];
    unsigned count = 0;
    int err = 0;
    uint64_t left;
    CHECK_EQ("left", index_pages_left(b.index, &left), 0);
    CHECK(left > 200);
    while (count < COUNT_MAX) {
        all[count] = make(count + 1, 0, 1, 30000);
        err = index_begin(b.index);
        if (err == 0) err = index_put(b.index, all[count]);
        if (err == 0) err = index_commit(b.index);
        if (err != 0) break;
        count++;
    }
    CHECK_EQ("full", err, -ERR_FULL);
    CHECK(index_is_map_full(b.index));
    index_abort(b.index);
    stored_free(all[count]);
    CHECK_EQ("none left", index_pages_left(b.index, &left), 0);
    CHECK_EQ("none left", left, 0);

    CHECK_EQ("grow", index_grow(b.index), 0);
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ("delete", delete (&b, all[i]), 0);
    CHECK_EQ("left", index_pages_left(b.index, &left), 0);
    CHECK(left > 200);
    stored_free(put(&b, 100000, 0, 1));
    base_end(&b);
}

TEST(index_grows_so_many_times)
{
    struct base b;
    base_begin(&b, 1 << 20);
    for (unsigned i = 0; i < INDEX_GROW_MAX; i++)
        CHECK_EQ("grow", index_grow(b.index), 0);
    CHECK_EQ("no more", index_grow(b.index), -ERR_FULL);
    base_end(&b);
}
