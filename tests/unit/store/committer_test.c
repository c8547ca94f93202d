/* committer_test.c - when a transaction begins. What it writes is tested through the queue. */
#include "ring/base/clock.h"
#include "tests/unit/store/fixture.h"

#define TRIES 200

struct timed {
    struct job job;
    uint64_t end_ns;
};

static void timed_done(struct job *job)
{
    CONTAINER_OF(job, struct timed, job)->end_ns = clock_monotonic_ns();
}

/* From handing over a job, with so many puts announced, to its end. */
static uint64_t time_one(struct fixture *f, uint32_t expected)
{
    struct shard *shard = fixture_shard(f);
    struct committer *committer = shard->committer;
    struct timed t = {.job = {.kind = JOB_TICK, .done = timed_done}};
    struct job_list jobs;
    job_list_init(&jobs);
    job_list_add(&jobs, &t.job);
    committer_expect(committer, expected);
    uint64_t start_ns = clock_monotonic_ns();
    shard->jobs_inflight++;
    committer_add(committer, &jobs);
    while (t.end_ns == 0)
        fixture_turn(f);
    committer_expect(committer, 0);
    return t.end_ns - start_ns;
}

TEST(committer_waits_for_many_announced_puts)
{
    struct fixture f;
    fixture_begin(&f);
    for (unsigned i = 0; i < 20; i++)
        CHECK(time_one(&f, COMMIT_GATHER_MIN) >= COMMIT_GATHER_NS);
    fixture_end(&f);
}

/* A busy machine can make any one of them slow, but hardly all. */
TEST(committer_does_not_wait_for_few)
{
    struct fixture f;
    fixture_begin(&f);
    static const uint32_t few[] = {0, COMMIT_GATHER_MIN - 1};
    for (unsigned i = 0; i < ARRAY_LEN(few); i++) {
        unsigned tries = 1;
        while (tries < TRIES && time_one(&f, few[i]) >= COMMIT_GATHER_NS)
            tries++;
        CHECK(tries < TRIES);
    }
    fixture_end(&f);
}

TEST(committer_is_told_of_bodies_on_their_way)
{
    struct fixture f;
    fixture_begin(&f);
    const struct disk_writer *writer = &fixture_shard(&f)->writer;
    CHECK_EQ("before", disk_writer_synced_count(writer), 0);
    struct put *puts[3];
    struct waiting waits[3];
    for (unsigned i = 0; i < ARRAY_LEN(puts); i++) {
        struct recipient recipients[1];
        struct envelope envelope = envelope_of(recipients, 1);
        CHECK_EQ("begin", queue_put_begin(f.queue, 0, &puts[i]), 0);
        CHECK_EQ("body", put_body(&f, puts[i], i, 100), 0);
        queue_put_finish(puts[i], 100, &envelope, waiting_op(&waits[i]));
    }
    CHECK_EQ("on their way", disk_writer_synced_count(writer), ARRAY_LEN(puts));
    for (unsigned i = 0; i < ARRAY_LEN(puts); i++) {
        CHECK_EQ("stored", wait_for(&f, &waits[i]), 0);
        CHECK_EQ("settled", settle_delivered(&f, queue_put_take(puts[i])), 0);
    }
    CHECK_EQ("after", disk_writer_synced_count(writer), 0);
    fixture_end(&f);
}
