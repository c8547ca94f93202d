/* queue_test.c - the face of the store: put, read back, settle, lease, close and open again. */
#include "tests/unit/store/fixture.h"

TEST(queue_gives_back_bodies_of_every_size)
{
    static const uint64_t sizes[] = {0,      1,      4095,   4096,   4097,    8191,    8192,
                                     8193,   65535,  65536,  65537,  73727,   73728,   73729,
                                     139264, 139265, 200000, 270336, 1048576, 3000001, 9000000};
    static const struct {
        uint64_t hint;
        unsigned extra;
    } ways[] = {{0, 0}, {0, 3}, {8192, 1}, {8193, 0}, {1 << 20, 3}};
    struct fixture f;
    fixture_begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
            char name[64];
            snprintf(name, sizeof(name), "%" PRIu64 " bytes, hint %" PRIu64 ", extra %u", sizes[i],
                     ways[w].hint, ways[w].extra);
            struct put *put;
            CHECK_EQ(name, put_message(&f, i, sizes[i], ways[w].hint, ways[w].extra, &put), 0);
            struct message *m = queue_put_take(put);
            CHECK_EQ(name, m->body_bytes, sizes[i]);
            CHECK_EQ(name, check_body(&f, m, i), 0);
            drop_memory(&f, m);
            CHECK_EQ(name, check_body(&f, m, i), 0);
            CHECK_EQ(name, settle_delivered(&f, m), 0);
        }
    }
    CHECK_EQ("queued", counter_get(&f.queue->counters.queued), 0);
    CHECK_EQ("body bytes", counter_get(&f.queue->counters.body_bytes), 0);
    CHECK_EQ("in memory", f.queue->memory_count, 0);
    fixture_end(&f);
}

TEST(queue_keeps_everything_over_a_restart)
{
    static const uint64_t sizes[] = {0, 1, 5000, 8192, 70000, 500000, 2000000};
    struct fixture f;
    fixture_begin(&f);
    uint64_t ids[ARRAY_LEN(sizes)], body_bytes = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct message *m = put_and_take(&f, i, sizes[i]);
        ids[i] = m->id;
        body_bytes += sizes[i];
        if (i > 0) CHECK(ids[i] > ids[i - 1]);
        queue_return(f.queue, m);
    }
    for (int round = 0; round < 2; round++) {
        fixture_reopen(&f);
        CHECK_EQ("queued", counter_get(&f.queue->counters.queued), ARRAY_LEN(sizes));
        CHECK_EQ("bytes", counter_get(&f.queue->counters.body_bytes), body_bytes);
        struct test_lease t;
        CHECK_EQ("leased", lease_some(&f, 100, &t), ARRAY_LEN(sizes));
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct message *m = lease_pop(&t);
            CHECK_EQ("id", m->id, ids[i]);
            CHECK_SLICE("sender", m->envelope.sender, "sender@example.test");
            CHECK_EQ("recipients", m->envelope.recipient_count, 2);
            CHECK_SLICE("recipient", m->envelope.recipients[1].address, "b@two.example");
            CHECK_EQ("body", check_body(&f, m, i), 0);
            if (round == 0)
                queue_return(f.queue, m);
            else
                CHECK_EQ("settle", settle_delivered(&f, m), 0);
        }
        struct put *put;
        CHECK_EQ("begin", queue_put_begin(f.queue, 0, &put), 0);
        CHECK(queue_put_id(put) > ids[ARRAY_LEN(sizes) - 1]);
        queue_put_abort(put);
    }
    fixture_reopen(&f);
    struct test_lease t;
    CHECK_EQ("nothing left", lease_some(&f, 100, &t), 0);
    CHECK_EQ("nothing due", t.lease.next_due_ms == UINT64_MAX, true);
    fixture_end(&f);
}

TEST(queue_forgets_aborted_puts)
{
    static const uint64_t sizes[] = {0, 10, 8192, 100000, 1000000};
    struct fixture f;
    fixture_begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct put *put;
        CHECK_EQ("begin", queue_put_begin(f.queue, 0, &put), 0);
        CHECK_EQ("body", put_body(&f, put, i, sizes[i]), 0);
        queue_put_abort(put);
    }
    queue_put_abort(NULL);
    CHECK_EQ("aborts", counter_get(&f.queue->counters.aborts), ARRAY_LEN(sizes));
    fixture_reopen(&f);
    CHECK_EQ("blocks", blocks_used(f.blocks, BLOCK_LARGE) + blocks_used(f.blocks, BLOCK_SMALL), 0);
    struct test_lease t;
    CHECK_EQ("nothing", lease_some(&f, 100, &t), 0);
    fixture_end(&f);
}

TEST(queue_abort_ends_a_wait)
{
    struct fixture f;
    fixture_begin(&f);
    struct put *put;
    CHECK_EQ("begin", queue_put_begin(f.queue, 1 << 20, &put), 0);
    size_t room;
    for (;;) {
        char *space = queue_put_space(put, &room);
        if (room == 0) break;
        body_fill(space, 1, 0, room);
        queue_put_advance(put, room);
    }
    struct waiting w;
    queue_put_wait(put, waiting_op(&w));
    queue_put_abort(put);
    CHECK_EQ("canceled", wait_for(&f, &w), -ERR_CANCELED);
    fixture_end(&f);
}

TEST(queue_commits_all_puts_of_a_turn_together)
{
    enum { COUNT = 1500 };
    struct fixture f;
    fixture_begin(&f);
    static struct put *puts[COUNT];
    static struct waiting waits[COUNT];
    struct recipient recipients[1];
    struct envelope envelope = envelope_of(recipients, 1);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQ("begin", queue_put_begin(f.queue, 0, &puts[i]), 0);
        CHECK_EQ("body", put_body(&f, puts[i], i, 3000), 0);
        queue_put_finish(puts[i], 3000, &envelope, waiting_op(&waits[i]));
        CHECK(!waits[i].is_over);
    }
    for (unsigned i = 0; i < COUNT; i++)
        CHECK_EQ("stored", wait_for(&f, &waits[i]), 0);
    CHECK(counter_get(&f.queue->counters.commits) <= 3);
    CHECK_EQ("messages", counter_get(&f.queue->counters.commit_messages), COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        struct message *m = queue_put_take(puts[i]);
        CHECK_EQ("body", check_body(&f, m, i), 0);
        queue_return(f.queue, m);
    }
    fixture_end(&f);
}

TEST(queue_settles_by_what_became_of_the_recipients)
{
    const enum recipient_state Q = RECIPIENT_QUEUED, D = RECIPIENT_DELIVERED, F = RECIPIENT_FAILED;
    const struct {
        const char *name;
        enum recipient_state states[2];
        enum recipient_report report; /* of the second */
        bool is_queued;
    } cases[] = {
        {"both delivered", {D, D}, REPORT_NONE, false},
        {"delivered, to be reported", {D, D}, REPORT_DELIVERED, true},
        {"one left", {D, Q}, REPORT_NONE, true},
        {"both left", {Q, Q}, REPORT_DELAYED, true},
        {"one failed", {D, F}, REPORT_NONE, false},
        {"failed, to be reported", {D, F}, REPORT_FAILED, true},
        {"both failed", {F, F}, REPORT_NONE, false},
        {"failed and left", {F, Q}, REPORT_NONE, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        fixture_begin(&f);
        struct message *m = put_and_take(&f, i, 5000);
        for (unsigned r = 0; r < 2; r++) {
            struct recipient *recipient = &m->envelope.recipients[r];
            recipient->state = cases[i].states[r];
            if (r == 1) recipient->report = cases[i].report;
            recipient->is_warned = r == 0;
            recipient->attempts = 1;
            recipient->next_ms = 1000 + r;
            char reply[] = "450 4.2.0 try later";
            recipient->reply = slice_of_cstr(reply);
            if (r == 1) CHECK_EQ(cases[i].name, settle(&f, m), 0);
        }
        fixture_reopen(&f);
        CHECK_EQ(cases[i].name, counter_get(&f.queue->counters.queued), cases[i].is_queued);
        CHECK_EQ(cases[i].name, counter_get(&f.queue->counters.held), 0);
        struct test_lease t;
        CHECK_EQ(cases[i].name, lease_some(&f, 10, &t), cases[i].is_queued);
        m = lease_pop(&t);
        if (m != NULL) {
            for (unsigned r = 0; r < 2; r++) {
                CHECK_EQ(cases[i].name, m->envelope.recipients[r].state, cases[i].states[r]);
                CHECK_EQ(cases[i].name, m->envelope.recipients[r].attempts, 1);
                CHECK_EQ(cases[i].name, m->envelope.recipients[r].is_warned, r == 0);
                CHECK_EQ(cases[i].name, m->envelope.recipients[r].report,
                         r == 1 ? cases[i].report : REPORT_NONE);
                CHECK_SLICE(cases[i].name, m->envelope.recipients[r].reply, "450 4.2.0 try later");
            }
            CHECK_EQ(cases[i].name, check_body(&f, m, i), 0);
            queue_return(f.queue, m);
        }
        fixture_end(&f);
    }
}

TEST(queue_update_is_kept_while_the_message_stays)
{
    struct fixture f;
    fixture_begin(&f);
    struct message *m = put_and_take(&f, 1, 100);
    m->envelope.recipients[0].state = RECIPIENT_DELIVERED;
    struct waiting w, w2;
    queue_update(f.queue, m, waiting_op(&w));
    m->envelope.recipients[1].state = RECIPIENT_DELIVERED; /* not part of the first */
    queue_update(f.queue, m, waiting_op(&w2));
    m->envelope.recipients[1].state = RECIPIENT_QUEUED;
    CHECK_EQ("update", wait_for(&f, &w), 0);
    struct test_lease t;
    CHECK_EQ("still in delivery", lease_some(&f, 10, &t), 0);
    queue_update(f.queue, m, waiting_op(&w));
    CHECK_EQ("update", wait_for(&f, &w2), 0);
    CHECK_EQ("update", wait_for(&f, &w), 0);
    queue_return(f.queue, m);

    fixture_reopen(&f);
    CHECK_EQ("due again", lease_some(&f, 10, &t), 1);
    m = lease_pop(&t);
    CHECK_EQ("first", m->envelope.recipients[0].state, RECIPIENT_DELIVERED);
    CHECK_EQ("second", m->envelope.recipients[1].state, RECIPIENT_QUEUED);
    /* An update that is under way does not get in front of the settling. */
    queue_update(f.queue, m, waiting_op(&w));
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    CHECK_EQ("update", wait_for(&f, &w), 0);
    CHECK_EQ("gone", counter_get(&f.queue->counters.queued), 0);
    fixture_end(&f);
}

TEST(queue_leases_in_the_order_of_time_and_each_message_once)
{
    struct fixture f;
    fixture_begin(&f);
    uint64_t now = loop_wall_ms(f.loop);
    const uint64_t due[] = {now - 1000, now - 3000, now + 3600000, now - 2000, 0, now - 3000};
    const unsigned want[] = {4, 1, 5, 3, 0};
    uint64_t ids[ARRAY_LEN(due)];
    for (size_t i = 0; i < ARRAY_LEN(due); i++) {
        struct message *m = put_and_take(&f, i, 10);
        ids[i] = m->id;
        set_states(m, RECIPIENT_QUEUED, due[i]);
        CHECK_EQ("settle", settle(&f, m), 0);
    }
    struct message *leased[ARRAY_LEN(want)];
    for (size_t at = 0; at < ARRAY_LEN(want);) {
        struct test_lease t;
        int count = lease_some(&f, 2, &t);
        CHECK_EQ("some", count > 0 && count <= 2, 1);
        if (count <= 0) break;
        for (int i = 0; i < count; i++, at++) {
            leased[at] = lease_pop(&t);
            CHECK_EQ("order", leased[at]->id, ids[want[at]]);
        }
        if (at == ARRAY_LEN(want)) CHECK_EQ("next", t.lease.next_due_ms, due[2]);
    }
    struct test_lease t;
    CHECK_EQ("none twice", lease_some(&f, 10, &t), 0);
    CHECK_EQ("next", t.lease.next_due_ms, due[2]);

    /* What is deferred to a time that was already passed is not missed. */
    set_states(leased[0], RECIPIENT_QUEUED, now - 2500);
    CHECK_EQ("settle", settle(&f, leased[0]), 0);
    CHECK_EQ("again", lease_some(&f, 10, &t), 1);
    struct message *again = lease_pop(&t);
    CHECK_EQ("the same", again->id, ids[4]);
    queue_return(f.queue, again);
    for (size_t i = 1; i < ARRAY_LEN(want); i++)
        queue_return(f.queue, leased[i]);
    fixture_end(&f);
}

TEST(queue_spills_what_memory_has_no_place_for)
{
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    f.options.memory_messages_max = 3;
    fixture_open(&f);
    struct message *kept[3];
    for (unsigned i = 0; i < 3; i++) {
        kept[i] = put_and_take(&f, i, 9000);
        CHECK(kept[i] != NULL);
    }
    uint64_t ids[5];
    for (unsigned i = 0; i < 5; i++) {
        struct put *put;
        CHECK_EQ("put", put_message(&f, 10 + i, 9000, 0, 0, &put), 0);
        ids[i] = queue_put_id(put);
        CHECK(queue_put_take(put) == NULL);
    }
    CHECK_EQ("queued", counter_get(&f.queue->counters.queued), 8);
    struct test_lease none;
    CHECK_EQ("no room", lease_some(&f, 2, &none), 0);
    CHECK_EQ("ask again", none.lease.next_due_ms, 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ("settle", settle_delivered(&f, kept[i]), 0);
    unsigned at = 0;
    while (at < 5) {
        struct test_lease t;
        int count = lease_some(&f, 2, &t);
        if (count == 0) continue; /* due within the next millisecond */
        for (struct message *m; (m = lease_pop(&t)) != NULL; at++) {
            CHECK_EQ("in order", m->id, ids[at]);
            CHECK_EQ("body", check_body(&f, m, 10 + at), 0);
            CHECK_EQ("settle", settle_delivered(&f, m), 0);
        }
    }
    struct message *m = put_and_take(&f, 1, 1);
    CHECK(m != NULL);
    queue_return(f.queue, m);
    fixture_end(&f);
}

/* Without it, a message for which the delivery half has no place would wait for the next start. */
TEST(what_is_put_back_is_leased_again_by_this_run)
{
    struct fixture f;
    fixture_begin(&f);
    struct message *m = put_and_take(&f, 7, 20000);
    uint64_t id = m->id;
    for (unsigned round = 0; round < 3; round++) {
        queue_put_back(f.queue, m);
        struct test_lease t;
        while (lease_some(&f, 10, &t) == 0)
            continue; /* due within the next milliseconds */
        m = lease_pop(&t);
        CHECK_EQ("id", m->id, id);
        CHECK_EQ("body", check_body(&f, m, 7), 0);
    }
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    CHECK_EQ("queued", counter_get(&f.queue->counters.queued), 0);
    fixture_end(&f);
}

TEST(queue_leases_orphans_but_never_what_is_in_delivery)
{
    struct fixture f;
    fixture_begin(&f);
    for (unsigned i = 0; i < 5; i++)
        queue_return(f.queue, put_and_take(&f, i, 10));
    fixture_reopen(&f);
    struct message *fresh[3];
    for (unsigned i = 0; i < 3; i++)
        fresh[i] = put_and_take(&f, 50 + i, 10);
    struct test_lease t;
    CHECK_EQ("first", lease_some(&f, 2, &t), 2);
    CHECK(t.lease.next_due_ms == 0);
    struct message *m;
    while ((m = lease_pop(&t)) != NULL) {
        /* Due at once, while orphans are still waiting: behind them. */
        set_states(m, RECIPIENT_QUEUED, 0);
        CHECK_EQ("settle", settle(&f, m), 0);
    }
    CHECK_EQ("rest", lease_some(&f, 100, &t), 5);
    while ((m = lease_pop(&t)) != NULL)
        queue_return(f.queue, m);
    for (unsigned i = 0; i < 3; i++)
        queue_return(f.queue, fresh[i]);
    fixture_end(&f);
}

struct listed {
    unsigned count[3];
    uint64_t last_id;
    unsigned total;
    bool is_ordered;
};

static void on_item(void *owner, enum queue_item_state state, uint64_t due_ms,
                    const struct message *message)
{
    struct listed *l = owner;
    (void)due_ms;
    if (l->total > 0 && message->id <= l->last_id) l->is_ordered = false;
    l->last_id = message->id;
    l->count[state]++;
    l->total++;
}

static struct listed list_all(struct fixture *f, uint32_t page_size)
{
    struct listed l = {.is_ordered = true};
    struct queue_page page = {.count_max = page_size, .item = on_item, .owner = &l};
    do {
        page.after_id = l.last_id;
        CHECK_EQ("list", queue_list(f->queue, &page), 0);
    } while (page.has_more);
    return l;
}

TEST(queue_lists_pages_over_shards)
{
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    f.shard_count = 2;
    fixture_open(&f);
    CHECK_EQ("shards", f.queue->shard_count, 2);
    struct queue_edit held[5];
    unsigned held_count = 0;
    for (unsigned i = 0; i < 23; i++) {
        struct message *m = put_and_take(&f, i, 10);
        if (i % 5 == 0) {
            held[held_count++] = (struct queue_edit){.kind = EDIT_HOLD, .id = m->id};
            set_states(m, RECIPIENT_QUEUED, loop_wall_ms(f.loop) + 3600000);
            CHECK_EQ("settle", settle(&f, m), 0);
        } else {
            queue_return(f.queue, m);
        }
    }
    CHECK_EQ("edit", queue_edit(f.queue, held, held_count), 0);
    for (unsigned i = 0; i < held_count; i++)
        CHECK_EQ("held", held[i].result, 0);
    for (uint32_t size = 1; size < 30; size += 7) {
        struct listed l = list_all(&f, size);
        CHECK_EQ("queued", l.count[ITEM_QUEUED], 18);
        CHECK_EQ("held", l.count[ITEM_HELD], 5);
        CHECK(l.is_ordered);
    }
    /* A core that owns several shards leases from all of them. */
    fixture_close(&f);
    f.options.core_count = 2;
    f.options.core_index = 1;
    fixture_open(&f);
    struct message *m = put_and_take(&f, 77, 10);
    queue_return(f.queue, m);
    fixture_close(&f);
    f.options.core_count = 1;
    f.options.core_index = 0;
    fixture_open(&f);
    struct test_lease t;
    int total = 0, count;
    while ((count = lease_some(&f, 5, &t)) > 0) {
        total += count;
        while ((m = lease_pop(&t)) != NULL)
            queue_return(f.queue, m);
    }
    CHECK_EQ("from both", total, 19);
    fixture_end(&f);
}

/* --- corruption --- */

static void flip_on_disk(struct fixture *f, const struct extent *extent, uint32_t at)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/shards/00/segments/%08u.seg", f->directory, extent->segment);
    int fd = open(path, O_RDWR);
    ASSERT(fd >= 0);
    off_t offset = (off_t)extent->at * BLOCK_ALIGN + at;
    char byte;
    ASSERT(pread(fd, &byte, 1, offset) == 1);
    byte ^= 0x10;
    ASSERT(pwrite(fd, &byte, 1, offset) == 1);
    ASSERT(fsync(fd) == 0);
    close(fd);
}

TEST(queue_never_hands_out_a_corrupt_block)
{
    struct fixture f;
    fixture_begin(&f);
    struct message *good = put_and_take(&f, 1, 200000), *bad = put_and_take(&f, 2, 200000);
    flip_on_disk(&f, &bad->extents[2], 65535);
    drop_memory(&f, good);
    drop_memory(&f, bad);
    CHECK_EQ("good", check_body(&f, good, 1), 0);
    CHECK_EQ("bad", check_body(&f, bad, 2), -ERR_CORRUPT);
    set_states(bad, RECIPIENT_QUEUED, 0);
    CHECK_EQ("settle", settle(&f, bad), 0);
    CHECK_EQ("found", counter_get(&f.queue->counters.corrupt_found), 1);
    CHECK_EQ("queued", counter_get(&f.queue->counters.queued), 1);
    CHECK_EQ("corrupt", counter_get(&f.queue->counters.corrupt), 1);
    struct test_lease t;
    CHECK_EQ("never due again", lease_some(&f, 10, &t), 0);
    CHECK_EQ("settle", settle_delivered(&f, good), 0);
    fixture_reopen(&f);
    CHECK_EQ("still not due", lease_some(&f, 10, &t), 0);
    CHECK_EQ("listed", list_all(&f, 5).count[ITEM_CORRUPT], 1);
    fixture_end(&f);
}

TEST(queue_sets_aside_when_asked_and_when_the_file_is_gone)
{
    struct fixture f;
    fixture_begin(&f);
    struct message *m = put_and_take(&f, 1, 100);
    struct waiting w;
    queue_set_aside(f.queue, m, waiting_op(&w));
    CHECK_EQ("aside", wait_for(&f, &w), 0);
    CHECK_EQ("corrupt", counter_get(&f.queue->counters.corrupt), 1);

    m = put_and_take(&f, 2, 100000);
    uint32_t segment = m->extents[0].segment;
    queue_return(f.queue, m);
    fixture_close(&f);
    char path[160];
    snprintf(path, sizeof(path), "%s/shards/00/segments/%08u.seg", f.directory, segment);
    CHECK_EQ("remove", unlink(path), 0);
    fixture_open(&f);
    struct test_lease t;
    CHECK_EQ("leased", lease_some(&f, 10, &t), 1);
    m = lease_pop(&t);
    CHECK_EQ("missing", check_body(&f, m, 2), -ERR_CORRUPT);
    CHECK_EQ("settle", settle(&f, m), 0);
    CHECK_EQ("corrupt", counter_get(&f.queue->counters.corrupt), 2);
    fixture_end(&f);
}

/* Turns bits of the records of ids[] in the closed environment. */
static void corrupt_record(struct fixture *f, uint64_t id, size_t at)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/shards/00/queue.mdb", f->directory);
    int fd = open(path, O_RDWR);
    struct stat stat;
    ASSERT(fd >= 0 && fstat(fd, &stat) == 0);
    size_t bytes = (size_t)stat.st_size;
    uint8_t *data = malloc(bytes);
    ASSERT(pread(fd, data, bytes, 0) == (ssize_t)bytes);
    /* The id stands at 8 in the record, behind its length, version and state. Pages that are free
     * now may hold older copies: all are changed. */
    unsigned found = 0;
    for (size_t i = 8; i + 8 <= bytes; i++) {
        if (memcmp(data + i, &id, 8) != 0 || data[i - 4] != RECORD_VERSION) continue;
        uint8_t byte = data[i - 8 + at] ^ 0x04;
        ASSERT(pwrite(fd, &byte, 1, (off_t)(i - 8 + at)) == 1);
        found++;
    }
    ASSERT(found > 0);
    free(data);
    close(fd);
}

TEST(queue_puts_corrupt_records_aside_and_serves_the_rest)
{
    struct fixture f;
    fixture_begin(&f);
    uint64_t ids[10];
    for (unsigned i = 0; i < 10; i++) {
        struct message *m = put_and_take(&f, i, 100 * i);
        ids[i] = m->id;
        queue_return(f.queue, m);
    }
    fixture_close(&f);
    static const size_t at[] = {5, 20, 40, 70};
    for (unsigned i = 0; i < ARRAY_LEN(at); i++)
        corrupt_record(&f, ids[2 * i + 1], at[i]);
    log_set_level(LOG_ERROR);
    fixture_open(&f);
    struct test_lease t;
    CHECK_EQ("the good ones", lease_some(&f, 100, &t), 6);
    struct message *m;
    while ((m = lease_pop(&t)) != NULL) {
        unsigned i = 0;
        while (i < 10 && ids[i] != m->id)
            i++;
        CHECK(i == 9 || i % 2 == 0);
        CHECK_EQ("body", check_body(&f, m, i), 0);
        CHECK_EQ("settle", settle_delivered(&f, m), 0);
    }
    fixture_reopen(&f);
    CHECK_EQ("queued", counter_get(&f.queue->counters.queued), 0);
    CHECK_EQ("corrupt", counter_get(&f.queue->counters.corrupt), 4);
    CHECK_EQ("no key is left", lease_some(&f, 100, &t), 0);
    CHECK(t.lease.next_due_ms == UINT64_MAX);
    struct listed l = list_all(&f, 3);
    CHECK_EQ("listed", l.count[ITEM_CORRUPT], 4);
    CHECK_EQ("nothing else", l.total, 4);
    fixture_end(&f);
}

TEST(queue_waits_for_blocks_when_the_pool_is_empty)
{
    enum { COUNT = 40 };
    struct fixture f;
    fixture_begin(&f);
    /* Large blocks for input are 224; 40 puts of four would want 160 at once besides these. */
    void *taken[150];
    for (unsigned i = 0; i < ARRAY_LEN(taken); i++) {
        taken[i] = block_get(f.blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
        CHECK(taken[i] != NULL);
    }
    static struct put *puts[COUNT];
    static struct waiting waits[COUNT];
    static uint64_t at[COUNT];
    static bool is_waiting[COUNT];
    const uint64_t bytes = 700000;
    memset(at, 0, sizeof(at));
    memset(is_waiting, 0, sizeof(is_waiting));
    for (unsigned i = 0; i < COUNT; i++)
        CHECK_EQ("begin", queue_put_begin(f.queue, bytes, &puts[i]), 0);
    for (unsigned ended = 0; ended < COUNT;) {
        ended = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            if (is_waiting[i] && !waits[i].is_over) continue;
            if (is_waiting[i]) CHECK_EQ("room", waits[i].result, 0);
            is_waiting[i] = false;
            size_t room = 1;
            while (at[i] < bytes) {
                char *space = queue_put_space(puts[i], &room);
                if (room == 0) break;
                size_t step = (size_t)MIN((uint64_t)room, bytes - at[i]);
                body_fill(space, i, at[i], step);
                queue_put_advance(puts[i], step);
                at[i] += step;
            }
            if (at[i] == bytes) {
                ended++;
                continue;
            }
            queue_put_wait(puts[i], waiting_op(&waits[i]));
            is_waiting[i] = true;
        }
        if (ended < COUNT) fixture_turn(&f);
    }
    struct recipient recipients[1];
    struct envelope envelope = envelope_of(recipients, 1);
    for (unsigned i = 0; i < COUNT; i++)
        queue_put_finish(puts[i], bytes, &envelope, waiting_op(&waits[i]));
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQ("stored", wait_for(&f, &waits[i]), 0);
        struct message *m = queue_put_take(puts[i]);
        CHECK_EQ("body", check_body(&f, m, i), 0);
        CHECK_EQ("settle", settle_delivered(&f, m), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(taken); i++)
        block_put(f.blocks, taken[i]);
    fixture_end(&f);
}

TEST(queue_refuses_a_put_without_blocks_and_recovers)
{
    struct fixture f;
    fixture_begin(&f);
    static void *taken[5000];
    unsigned count = 0;
    while ((taken[count] = block_get(f.blocks, BLOCK_LARGE, BLOCK_FOR_INPUT)) != NULL)
        count++;
    struct put *put;
    CHECK_EQ("large falls back to small", queue_put_begin(f.queue, 1 << 20, &put), 0);
    queue_put_abort(put);
    while ((taken[count] = block_get(f.blocks, BLOCK_SMALL, BLOCK_FOR_INPUT)) != NULL)
        count++;
    CHECK_EQ("none", queue_put_begin(f.queue, 0, &put), -ERR_AGAIN);
    CHECK(put == NULL);
    block_put(f.blocks, taken[0]);
    CHECK_EQ("small falls back to large", queue_put_begin(f.queue, 0, &put), 0);
    queue_put_abort(put);
    for (unsigned i = 1; i < count; i++)
        block_put(f.blocks, taken[i]);
    fixture_end(&f);
}

TEST(queue_reader_may_close_at_any_point)
{
    struct fixture f;
    fixture_begin(&f);
    struct message *m = put_and_take(&f, 1, 400000);
    drop_memory(&f, m);
    for (unsigned pieces = 0; pieces < 8; pieces++) {
        struct body_reader reader;
        body_open(&reader, f.queue, m);
        struct waiting w, closed;
        for (unsigned i = 0; i < pieces; i++)
            if (!body_read(&reader, waiting_op(&w))) wait_for(&f, &w);
        if (pieces % 2 == 1 && !body_read(&reader, waiting_op(&w)) && pieces % 4 == 1)
            fixture_turn(&f);
        if (!body_close(&reader, waiting_op(&closed))) CHECK_EQ("closed", wait_for(&f, &closed), 0);
    }
    /* Without a free block a reader waits, and may be closed while it does. */
    static void *taken[300];
    unsigned count = 0;
    while ((taken[count] = block_get(f.blocks, BLOCK_LARGE, BLOCK_FOR_DELIVERY)) != NULL)
        count++;
    struct body_reader reader, second;
    struct waiting w, w2;
    body_open(&reader, f.queue, m);
    body_open(&second, f.queue, m);
    CHECK(!body_read(&reader, waiting_op(&w)));
    CHECK(!body_read(&second, waiting_op(&w2)));
    CHECK(body_close(&second, NULL));
    block_put(f.blocks, taken[--count]);
    CHECK_EQ("read", wait_for(&f, &w), 0);
    CHECK(body_fits(reader.bytes, 1, 0));
    if (!body_close(&reader, waiting_op(&w2))) wait_for(&f, &w2);
    while (count > 0)
        block_put(f.blocks, taken[--count]);
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    fixture_end(&f);
}
