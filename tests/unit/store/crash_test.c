/* crash_test.c - a process that is killed at any moment has lost nothing that it acknowledged.
 *
 * A child puts, defers and deletes messages and tells through a pipe what was acknowledged; the
 * parent kills it, opens the spool and compares. The seed of a body is the id of its message, so
 * that bodies of messages whose acknowledgement was under way can be checked as well. */
#include "tests/unit/store/fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define ROUNDS 12
#define BATCH 24
#define IDS_MAX 400000
#define KEEP_MAX 600 /* messages that a round leaves */

enum event_kind { EVENT_ACKED, EVENT_DELETING, EVENT_DELETED };

struct event {
    uint64_t id;
    uint64_t bytes;
    uint64_t kind;
};

/* --- the child --- */

static void tell(int pipe_fd, enum event_kind kind, uint64_t id, uint64_t bytes)
{
    struct event event = {id, bytes, kind};
    ssize_t written = write(pipe_fd, &event, sizeof(event));
    if (written != (ssize_t)sizeof(event)) _exit(0);
}

static uint64_t random_below(uint64_t *state, uint64_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % n;
}

static uint64_t random_size(uint64_t *state)
{
    static const uint64_t limits[] = {100, 5000, 9000, 70000, 250000, 900000};
    return random_below(state, limits[random_below(state, 100) < 90 ? random_below(state, 4)
                                                                    : 4 + random_below(state, 2)]);
}

struct item {
    struct put *put;
    struct message *message;
    uint64_t bytes;
    struct waiting w;
};

static void child_batch(struct fixture *f, int pipe_fd, uint64_t *random, unsigned *kept)
{
    static struct item items[BATCH];
    struct recipient recipients[2];
    struct envelope envelope = envelope_of(recipients, 2);
    for (unsigned i = 0; i < BATCH; i++) {
        struct item *item = &items[i];
        item->bytes = random_size(random);
        if (queue_put_begin(f->queue, item->bytes, &item->put) != 0) _exit(1);
        if (put_body(f, item->put, queue_put_id(item->put), item->bytes) != 0) _exit(2);
        queue_put_finish(item->put, item->bytes, &envelope, waiting_op(&item->w));
    }
    for (unsigned i = 0; i < BATCH; i++) {
        struct item *item = &items[i];
        if (wait_for(f, &item->w) != 0) _exit(3);
        uint64_t id = queue_put_id(item->put);
        item->message = queue_put_take(item->put);
        tell(pipe_fd, EVENT_ACKED, id, item->bytes);
    }
    for (unsigned i = 0; i < BATCH; i++) {
        struct item *item = &items[i];
        bool is_kept = *kept < KEEP_MAX && random_below(random, 8) == 0;
        *kept += is_kept;
        set_states(item->message, is_kept ? RECIPIENT_QUEUED : RECIPIENT_DELIVERED, 1);
        item->bytes = is_kept ? 0 : item->message->id;
        if (!is_kept) tell(pipe_fd, EVENT_DELETING, item->message->id, 0);
        queue_settle(f->queue, item->message, waiting_op(&item->w));
    }
    for (unsigned i = 0; i < BATCH; i++) {
        if (wait_for(f, &items[i].w) != 0) _exit(4);
        if (items[i].bytes != 0) tell(pipe_fd, EVENT_DELETED, items[i].bytes, 0);
    }
}

NORETURN static void child_run(const char *directory, int pipe_fd, uint64_t random)
{
    struct fixture f;
    fixture_init(&f);
    snprintf(f.directory, sizeof(f.directory), "%s", directory);
    f.options.segment_bytes = 2 << 20;
    fixture_open(&f);
    unsigned kept = 0;
    for (;;) {
        child_batch(&f, pipe_fd, &random, &kept);
        shard_tick(fixture_shard(&f)); /* compaction as well, more often than once a second */
    }
}

/* --- the parent --- */

struct known {
    uint64_t id, bytes;
    bool is_deleting, is_deleted, is_seen;
};

static struct known *known;
static unsigned known_count;

static struct known *find(uint64_t id)
{
    unsigned low = 0, high = known_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (known[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < known_count && known[low].id == id ? &known[low] : NULL;
}

static void learn(const struct event *event)
{
    if (event->kind == EVENT_ACKED) {
        ASSERT(known_count < IDS_MAX);
        ASSERT(known_count == 0 || event->id > known[known_count - 1].id);
        known[known_count++] = (struct known){.id = event->id, .bytes = event->bytes};
        return;
    }
    struct known *k = find(event->id);
    ASSERT(k != NULL);
    if (event->kind == EVENT_DELETING) k->is_deleting = true;
    if (event->kind == EVENT_DELETED) k->is_deleted = true;
}

static void run_and_kill(const char *directory, unsigned round, uint64_t seed)
{
    int ends[2];
    ASSERT(pipe(ends) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        child_run(directory, ends[1], seed + round);
    }
    close(ends[1]);
    uint64_t random = seed * 31 + round;
    struct timespec moment = {0, (long)(100 + random_below(&random, 350)) * 1000000};
    /* The pipe has to be read meanwhile, or the child would wait for room in it. */
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    struct event event;
    struct timespec step = {0, 2000000};
    for (long waited = 0; waited < moment.tv_nsec; waited += step.tv_nsec) {
        while (read(ends[0], &event, sizeof(event)) == (ssize_t)sizeof(event))
            learn(&event);
        nanosleep(&step, NULL);
    }
    kill(child, SIGKILL);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    fcntl(ends[0], F_SETFL, 0);
    while (read(ends[0], &event, sizeof(event)) == (ssize_t)sizeof(event))
        learn(&event);
    close(ends[0]);
}

/* A message that is there: as it was put, and not one that was deleted for good. */
static void check_message(struct fixture *f, struct message *m)
{
    struct known *k = find(m->id);
    if (k != NULL) {
        CHECK_EQ("bytes", m->body_bytes, k->bytes);
        CHECK(!k->is_deleted);
        CHECK(!k->is_seen);
        k->is_seen = true;
    }
    CHECK_EQ("body", check_body(f, m, m->id), 0);
}

static void verify(struct fixture *f, unsigned round)
{
    for (unsigned i = 0; i < known_count; i++)
        known[i].is_seen = false;
    fixture_open(f);
    struct test_lease t;
    while (lease_some(f, 50, &t) > 0) {
        struct message *m;
        while ((m = lease_pop(&t)) != NULL) {
            check_message(f, m);
            struct known *k = find(m->id);
            bool is_dropped = round % 3 == 2 || k == NULL;
            if (is_dropped && k != NULL) k->is_deleted = k->is_deleting = true;
            if (is_dropped)
                CHECK_EQ("settle", settle_delivered(f, m), 0);
            else
                queue_return(f->queue, m);
        }
    }
    unsigned lost = 0;
    for (unsigned i = 0; i < known_count; i++)
        if (!known[i].is_deleting && !known[i].is_seen) lost++;
    CHECK_EQ("lost", lost, 0);
    CHECK_EQ("corrupt", counter_get(&f->queue->counters.corrupt), 0);
    fixture_close(f);
}

TEST(queue_loses_nothing_when_it_is_killed)
{
    uint64_t seed = (uint64_t)time(NULL);
    printf("seed %" PRIu64 "\n", seed);
    known = calloc(IDS_MAX, sizeof(*known));
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    f.options.segment_bytes = 2 << 20;
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_and_kill(f.directory, round, seed);
        verify(&f, round);
    }
    printf("%u messages acknowledged\n", known_count);
    CHECK(known_count > 200);
    free(known);
    fixture_end(&f);
}
