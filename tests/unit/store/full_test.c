/* full_test.c - when the disk, a file or the map is full, and when a sync fails. */
#include "store/index_internal.h"
#include "tests/unit/store/fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define KEPT_MAX 9000

/* Puts messages until one is refused; returns how many were stored. */
static unsigned put_until_refused(struct fixture *f, uint64_t bytes, struct message **kept,
                                  int *err_out)
{
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        struct put *put;
        *err_out = put_message(f, i, bytes, 0, 0, &put);
        if (*err_out != 0) {
            queue_put_abort(put);
            return i;
        }
        kept[i] = queue_put_take(put);
        ASSERT(kept[i] != NULL);
    }
    return KEPT_MAX;
}

/* The gate opens by itself; its look at the disk comes once a second. */
static bool can_put_again(struct fixture *f, uint64_t bytes)
{
    uint64_t end_ns = loop_now_ns(f->loop) + 8000000000ull;
    while (loop_now_ns(f->loop) < end_ns) {
        struct message *m = put_and_take(f, 1, bytes);
        if (m != NULL) return check_body(f, m, 1) == 0 && settle_delivered(f, m) == 0;
        fixture_turn(f);
    }
    return false;
}

TEST(queue_with_a_full_map_refuses_puts_and_settles)
{
    static struct message *kept[KEPT_MAX];
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    f.options.map_bytes_max = 1 << 20;
    fixture_open(&f);
    int err;
    unsigned count = put_until_refused(&f, 10, kept, &err);
    CHECK_EQ("full", err, -ERR_FULL);
    CHECK(count > 100 && count < KEPT_MAX);
    CHECK_EQ("gate", queue_gate(f.queue), -ERR_FULL);
    queue_sum_state(f.queue);
    CHECK_EQ("counted", counter_get(&f.queue->counters.is_full), 1);
    for (unsigned i = 0; i < count; i++) {
        set_states(kept[i], i % 2 == 0 ? RECIPIENT_DELIVERED : RECIPIENT_QUEUED, 1);
        CHECK_EQ("settle", settle(&f, kept[i]), 0);
    }
    CHECK(can_put_again(&f, 10));
    CHECK_EQ("not fatal", f.fatal, 0);
    fixture_end(&f);
}

/* One record that is larger than what is left: only it is refused. */
TEST(queue_refuses_the_one_put_that_does_not_fit_the_map)
{
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    f.options.map_bytes_max = 1 << 20;
    fixture_open(&f);
    struct recipient *many = calloc(MESSAGE_RECIPIENTS_MAX, sizeof(*many));
    for (unsigned i = 0; i < MESSAGE_RECIPIENTS_MAX; i++)
        many[i].address =
            SLICE("a.recipient.with.a.rather.long.name@an.example.that.is.long.too.example"
                  ".and.goes.on.and.on");
    struct envelope envelope = {.recipients = many, .recipient_count = MESSAGE_RECIPIENTS_MAX};
    struct put *put;
    CHECK_EQ("begin", queue_put_begin(f.queue, 0, &put), 0);
    struct waiting w;
    queue_put_finish(put, 0, &envelope, waiting_op(&w));
    CHECK_EQ("does not fit", wait_for(&f, &w), -ERR_FULL);
    queue_put_abort(put);
    free(many);
    struct message *m = put_and_take(&f, 3, 5000);
    CHECK(m != NULL);
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    fixture_end(&f);
}

TEST(queue_gate_watches_the_disk)
{
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    f.options.free_bytes_min = 1ull << 60;
    fixture_open(&f);
    struct put *put;
    CHECK_EQ("gate", queue_gate(f.queue), -ERR_FULL);
    CHECK_EQ("begin", queue_put_begin(f.queue, 0, &put), -ERR_FULL);
    fixture_close(&f);
    f.options.free_bytes_min = 0;
    f.options.free_percent_min = 100;
    fixture_open(&f);
    CHECK_EQ("percent", queue_gate(f.queue), -ERR_FULL);
    fixture_close(&f);
    f.options.free_percent_min = 0;
    fixture_open(&f);
    CHECK_EQ("open", queue_gate(f.queue), 0);
    CHECK(counter_get(&f.queue->counters.free_bytes) > 0);
    fixture_end(&f);
}

TEST(queue_answers_a_file_size_limit_and_recovers)
{
    static struct message *kept[KEPT_MAX];
    signal(SIGXFSZ, SIG_IGN);
    struct fixture f;
    fixture_begin(&f);
    struct rlimit before, small;
    CHECK_EQ("get", getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 2 << 20; /* less than a segment */
    CHECK_EQ("set", setrlimit(RLIMIT_FSIZE, &small), 0);
    int err;
    unsigned count = put_until_refused(&f, 60000, kept, &err);
    CHECK_EQ("too large", err, -ERR_TOO_LARGE);
    CHECK(count > 10);
    CHECK_EQ("no leftover", count_files(&f, ".new"), 0);
    for (unsigned i = 0; i < count; i++) {
        drop_memory(&f, kept[i]);
        CHECK_EQ("body", check_body(&f, kept[i], i), 0);
    }
    CHECK_EQ("restore", setrlimit(RLIMIT_FSIZE, &before), 0);
    CHECK(can_put_again(&f, 60000));
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ("settle", settle_delivered(&f, kept[i]), 0);
    fixture_end(&f);
}

/* A file that takes all that is left. */
static void fill_the_rest(const char *path)
{
    static const char zeros[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    size_t step = sizeof(zeros);
    while (step > 0)
        if (write(fd, zeros, step) <= 0) step /= 2;
    close(fd);
}

/* What is queued can leave although there is not a byte for the start to write. */
static void start_on_a_full_disk(struct fixture *f)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/filler", f->directory);
    fill_the_rest(path);
    fixture_open(f);
    struct test_lease t;
    CHECK_EQ("kept", lease_some(f, 10, &t), 3);
    for (struct message *m; (m = lease_pop(&t)) != NULL;)
        CHECK_EQ("settle", settle_delivered(f, m), 0);
    CHECK_EQ("not fatal", f->fatal, 0);
    fixture_close(f);
    unlink(path);
}

/* On a small file system of its own, in a child with mounts of its own. */
static int fill_small_disk(void)
{
    static struct message *kept[KEPT_MAX];
    test_failures = 0; /* the child's own */
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    if (unshare(CLONE_NEWNS) != 0) return 77;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 77;
    if (mount("none", f.directory, "tmpfs", 0, "size=40m") != 0) return 77;
    f.options.segment_bytes = 2 << 20;
    fixture_open(&f);
    int err;
    unsigned count = put_until_refused(&f, 60000, kept, &err);
    CHECK_EQ("full", err, -ERR_FULL);
    CHECK(count > 50);
    for (unsigned i = 0; i < count; i++) {
        drop_memory(&f, kept[i]);
        CHECK_EQ("body", check_body(&f, kept[i], i), 0);
    }
    /* Deferring and deleting go on while nothing can be accepted. */
    for (unsigned i = 0; i < count; i++) {
        set_states(kept[i], i < 3 ? RECIPIENT_QUEUED : RECIPIENT_DELIVERED, 1);
        CHECK_EQ("settle", settle(&f, kept[i]), 0);
    }
    CHECK(can_put_again(&f, 60000));
    CHECK_EQ("not fatal", f.fatal, 0);
    fixture_reopen(&f);
    struct test_lease t;
    CHECK_EQ("kept", lease_some(&f, 10, &t), 3);
    for (struct message *m; (m = lease_pop(&t)) != NULL;)
        queue_return(f.queue, m);
    fixture_close(&f);
    start_on_a_full_disk(&f);
    umount(f.directory);
    fixture_end(&f);
    return test_failures == 0 ? 0 : 1;
}

TEST(queue_answers_a_full_disk_and_recovers)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int status = fill_small_disk();
        fflush(stdout);
        _exit(status);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        printf("skipped: no tmpfs can be mounted here\n");
    else
        CHECK_EQ("status", WEXITSTATUS(status), 0);
}

/* --- failures of the disk, made by another file behind the handle --- */

static void put_file_behind(int fd, const char *path, int flags)
{
    int other = open(path, flags | O_CLOEXEC);
    ASSERT(other >= 0);
    ASSERT(dup2(other, fd) == fd);
    close(other);
}

/* After a first small message, which makes the active segment's handle known. */
static int active_file(struct fixture *f)
{
    return fixture_shard(f)->segments.active->file;
}

TEST(queue_fails_one_group_without_room_and_goes_on)
{
    struct fixture f;
    fixture_begin(&f);
    struct message *first = put_and_take(&f, 1, 100);
    int fd = active_file(&f), saved = dup(fd);
    put_file_behind(fd, "/dev/full", O_RDWR);
    struct put *put;
    CHECK_EQ("no room", put_message(&f, 2, 5000, 0, 0, &put), -ERR_FULL);
    queue_put_abort(put);
    CHECK_EQ("no room, streamed", put_message(&f, 2, 900000, 0, 0, &put), -ERR_FULL);
    queue_put_abort(put);
    CHECK_EQ("not fatal", f.fatal, 0);
    CHECK(dup2(saved, fd) == fd);
    close(saved);
    struct message *third = put_and_take(&f, 3, 5000);
    CHECK(third != NULL);
    drop_memory(&f, third);
    CHECK_EQ("body", check_body(&f, third, 3), 0);
    CHECK_EQ("settle", settle_delivered(&f, first), 0);
    CHECK_EQ("settle", settle_delivered(&f, third), 0);
    fixture_reopen(&f);
    CHECK_EQ("nothing", counter_get(&f.queue->counters.queued), 0);
    fixture_end(&f);
}

TEST(queue_stops_when_a_sync_fails)
{
    static const struct {
        const char *name;
        enum sync_method method;
        uint64_t bytes;
        const char *behind;
        int flags;
    } cases[] = {
        {"synced write", SYNC_DSYNC, 5000, "/dev/zero", O_RDONLY},
        {"fdatasync", SYNC_FDATASYNC, 5000, "/dev/null", O_RDWR},
        {"fdatasync of a streamed one", SYNC_DSYNC, 900000, "/dev/null", O_RDWR},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        fixture_begin(&f);
        struct message *good = put_and_take(&f, 1, 100);
        uint64_t good_id = good->id;
        fixture_shard(&f)->writer.method = cases[i].method;
        put_file_behind(active_file(&f), cases[i].behind, cases[i].flags);

        struct recipient recipients[1];
        struct envelope envelope = envelope_of(recipients, 1);
        struct put *puts[3];
        struct waiting w[3];
        for (unsigned p = 0; p < 3; p++) {
            CHECK_EQ(cases[i].name, queue_put_begin(f.queue, 0, &puts[p]), 0);
            CHECK_EQ(cases[i].name, put_body(&f, puts[p], p, cases[i].bytes), 0);
        }
        for (unsigned p = 0; p < 3; p++)
            queue_put_finish(puts[p], cases[i].bytes, &envelope, waiting_op(&w[p]));
        for (unsigned p = 0; p < 3; p++) {
            CHECK_EQ(cases[i].name, wait_for(&f, &w[p]), -ERR_FAILED_SYNC);
            queue_put_abort(puts[p]);
        }
        CHECK_EQ(cases[i].name, f.fatal, -ERR_FAILED_SYNC);
        CHECK_EQ(cases[i].name, queue_put_begin(f.queue, 0, &puts[0]), -ERR_FAILED_SYNC);
        CHECK_EQ(cases[i].name, settle_delivered(&f, good), -ERR_FAILED_SYNC);
        fixture_reopen(&f);
        struct test_lease t;
        CHECK_EQ(cases[i].name, lease_some(&f, 10, &t), 1);
        struct message *m = lease_pop(&t);
        CHECK_EQ(cases[i].name, m->id, good_id);
        CHECK_EQ(cases[i].name, check_body(&f, m, 1), 0);
        CHECK_EQ(cases[i].name, settle_delivered(&f, m), 0);
        fixture_end(&f);
    }
}

TEST(queue_stops_when_a_commit_fails)
{
    struct fixture f;
    fixture_begin(&f);
    struct message *good = put_and_take(&f, 1, 100);
    int fd;
    CHECK_EQ("fd", mdb_env_get_fd(fixture_shard(&f)->index->env, &fd), 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/shards/00/queue.mdb", f.directory);
    put_file_behind(fd, path, O_RDONLY);
    struct put *put;
    CHECK_EQ("commit", put_message(&f, 2, 5000, 0, 0, &put), -ERR_FAILED_SYNC);
    queue_put_abort(put);
    CHECK_EQ("fatal", f.fatal, -ERR_FAILED_SYNC);
    CHECK_EQ("begin", queue_put_begin(f.queue, 0, &put), -ERR_FAILED_SYNC);
    queue_return(f.queue, good);
    fixture_reopen(&f);
    struct test_lease t;
    CHECK_EQ("the good one", lease_some(&f, 10, &t), 1);
    struct message *m = lease_pop(&t);
    CHECK_EQ("body", check_body(&f, m, 1), 0);
    CHECK_EQ("settle", settle_delivered(&f, m), 0);
    fixture_end(&f);
}
