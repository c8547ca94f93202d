/* segment_test.c - segment files are used again, kept few, and emptied when little lives in them.
 */
#include "tests/unit/store/fixture.h"

static void small_begin(struct fixture *f)
{
    fixture_init(f);
    fixture_make_directory(f);
    f->options.segment_bytes = 1 << 20;
    fixture_open(f);
}

TEST(segments_are_used_again)
{
    struct fixture f;
    small_begin(&f);
    for (unsigned i = 0; i < 300; i++) { /* 18 times a segment */
        struct message *m = put_and_take(&f, i, 60000);
        CHECK(m != NULL);
        drop_memory(&f, m);
        CHECK_EQ("body", check_body(&f, m, i), 0);
        CHECK_EQ("settle", settle_delivered(&f, m), 0);
    }
    CHECK(count_files(&f, ".seg") <= 4);
    fixture_reopen(&f);
    CHECK(count_files(&f, ".seg") <= 4);
    struct message *m = put_and_take(&f, 5, 60000);
    CHECK(m != NULL);
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    fixture_end(&f);
}

/* The place of a message may be written over only when its deletion is on the disk. */
TEST(segments_are_free_only_after_the_commit)
{
    struct fixture f;
    small_begin(&f);
    struct message *m = put_and_take(&f, 1, 60000);
    const struct segment *segment =
        segments_find(&fixture_shard(&f)->segments, m->extents[0].segment);
    uint64_t live = segment->live;
    CHECK_EQ("live", live, 8192 + 53248);
    set_states(m, RECIPIENT_DELIVERED, 0);
    struct waiting w;
    queue_settle(f.queue, m, waiting_op(&w));
    while (!w.is_over) {
        CHECK_EQ("until then", segment->live, live);
        fixture_turn(&f);
    }
    CHECK_EQ("committed", w.result, 0);
    CHECK_EQ("after", segment->live, 0);

    /* What is being written is nobody's yet, but its place is taken. */
    struct put *put;
    CHECK_EQ("begin", queue_put_begin(f.queue, 0, &put), 0);
    CHECK_EQ("body", put_body(&f, put, 1, 5000), 0);
    struct recipient recipients[1];
    struct envelope envelope = envelope_of(recipients, 1);
    queue_put_finish(put, 5000, &envelope, waiting_op(&w));
    fixture_turn(&f);
    while (!w.is_over) {
        CHECK_EQ("not alive", segment->live, 0);
        CHECK_EQ("taken", segment->pending, 1);
        fixture_turn(&f);
    }
    CHECK_EQ("alive", segment->live, 8192);
    CHECK_EQ("not taken any more", segment->pending, 0);
    m = queue_put_take(put);
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    fixture_end(&f);
}

TEST(segments_that_are_too_many_are_deleted)
{
    enum { COUNT = 20 * 16 };
    struct fixture f;
    small_begin(&f);
    static struct message *kept[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        kept[i] = put_and_take(&f, i, 60000);
    CHECK(count_files(&f, ".seg") >= 19);
    for (unsigned i = 0; i < COUNT; i++)
        CHECK_EQ("settle", settle_delivered(&f, kept[i]), 0);
    for (unsigned i = 0; i < 10; i++)
        fixture_turn(&f); /* the deletions */
    CHECK(count_files(&f, ".seg") <= SEGMENT_FREE_MAX + 1);
    CHECK(fixture_shard(&f)->segments.free_count <= SEGMENT_FREE_MAX);
    fixture_end(&f);
}

TEST(segments_of_another_size_and_leftovers_go)
{
    struct fixture f;
    small_begin(&f);
    struct message *m = put_and_take(&f, 9, 60000);
    queue_return(f.queue, m);
    fixture_close(&f);
    char path[160];
    snprintf(path, sizeof(path), "%s/shards/00/segments/00000099.new", f.directory);
    close(open(path, O_CREAT | O_RDWR, 0600));
    f.options.segment_bytes = 2 << 20;
    fixture_open(&f);
    CHECK_EQ("leftover", count_files(&f, ".new"), 0);
    struct test_lease t;
    CHECK_EQ("lease", lease_some(&f, 10, &t), 1);
    m = lease_pop(&t);
    CHECK_EQ("body", check_body(&f, m, 9), 0);
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    for (unsigned i = 0; i < 3; i++)
        fixture_turn(&f);
    for (uint32_t n = 1; n < fixture_shard(&f)->segments.number_cap; n++) {
        const struct segment *segment = segments_find(&fixture_shard(&f)->segments, n);
        if (segment != NULL) CHECK_EQ("size", segment->bytes, 2 << 20);
    }
    fixture_end(&f);
}

/* Mail that stays uses up the free segments, so that compaction is wanted again and again. */
static void fill(struct fixture *f, struct message **kept, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        kept[i] = put_and_take(f, i, 60000);
        CHECK(kept[i] != NULL);
        if (i % 8 == 0) shard_tick(fixture_shard(f));
    }
}

TEST(segments_with_little_alive_are_emptied)
{
    enum { ROUNDS = 12, EACH = 20, MORE = 160 };
    static struct message *more[MORE];
    struct fixture f;
    small_begin(&f);
    uint64_t ids[ROUNDS];
    uint32_t places[ROUNDS];
    uint64_t due = loop_wall_ms(f.loop);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < EACH; i++) {
            struct message *m = put_and_take(&f, round * 100 + i, 52000);
            if (i > 0) {
                CHECK_EQ("settle", settle_delivered(&f, m), 0);
                continue;
            }
            ids[round] = m->id;
            places[round] = m->extents[1].segment;
            set_states(m, RECIPIENT_QUEUED, due + round);
            CHECK_EQ("settle", settle(&f, m), 0);
        }
    }
    struct segments *segments = &fixture_shard(&f)->segments;
    uint32_t used = segments->used_count;
    CHECK(used >= 6);
    /* One is in delivery: it is not moved, and its body stays where it is. */
    struct test_lease t;
    CHECK_EQ("lease", lease_some(&f, 1, &t), 1);
    struct message *leased = lease_pop(&t);
    CHECK_EQ("first", leased->id, ids[0]);
    uint32_t place = leased->extents[1].segment; /* a slow machine may have moved it before */
    fill(&f, more, MORE);
    CHECK(counter_get(&f.queue->counters.compacted_messages) >= 10);
    CHECK(segments->used_count <= used + MORE / 16 + 1 - 3);
    for (unsigned i = 0; i < MORE; i++)
        CHECK_EQ("settle", settle_delivered(&f, more[i]), 0);
    drop_memory(&f, leased);
    CHECK_EQ("body of the leased", check_body(&f, leased, 0), 0);
    CHECK_EQ("not moved", leased->extents[1].segment, place);
    queue_return(f.queue, leased);

    fixture_reopen(&f); /* which compares what lives where in memory and on disk */
    CHECK_EQ("all", lease_some(&f, 100, &t), ROUNDS);
    unsigned moved = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct message *m = lease_pop(&t);
        CHECK_EQ("id", m->id, ids[round]);
        CHECK_EQ("body", check_body(&f, m, round * 100), 0);
        moved += m->extents[1].segment != places[round];
        CHECK_EQ("settle", settle_delivered(&f, m), 0);
    }
    CHECK(moved >= 4);
    fixture_end(&f);
}
