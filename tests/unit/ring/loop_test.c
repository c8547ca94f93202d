/* The loop over the real kernel: operations, order of a turn, limits, wake-ups, refusals. */
#include "ring/loop_internal.h"
#include "tests/unit/ring/ring_support.h"

#include <pthread.h>
#include <sys/stat.h>

struct probe {
    struct ring_op op;
    unsigned count;
    int result;
    bool has_more;
};

static void probe_done(struct ring_op *op)
{
    struct probe *probe = CONTAINER_OF(op, struct probe, op);
    probe->count++;
    probe->result = op->result;
    probe->has_more = op->has_more;
}

static struct probe probe_new(void)
{
    return (struct probe){.op.done = probe_done};
}

/* Runs until the probe is done; returns its result. */
static int finish(struct loop *loop, struct probe *probe)
{
    CHECK(support_run_until(loop, &probe->count, 1));
    return probe->result;
}

/* --- files --- */

static int open_file(struct loop *loop, const char *path, int flags)
{
    struct probe p = probe_new();
    loop_open(loop, path, flags, 0600, &p.op);
    CHECK_EQ("never inside the call", p.count, 0);
    return finish(loop, &p);
}

static int close_file(struct loop *loop, int file)
{
    struct probe p = probe_new();
    loop_close(loop, file, &p.op);
    return finish(loop, &p);
}

static int write_pieces(struct loop *loop, int file, const struct iovec *pieces, uint32_t count,
                        uint64_t offset, bool is_synced)
{
    struct probe p = probe_new();
    loop_writev(loop, file, pieces, count, offset, is_synced, &p.op);
    return finish(loop, &p);
}

static int call_two(struct loop *loop,
                    void (*call)(struct loop *, const char *, const char *, struct ring_op *),
                    const char *a, const char *b)
{
    struct probe p = probe_new();
    call(loop, a, b, &p.op);
    return finish(loop, &p);
}

static int call_unlink(struct loop *loop, const char *path)
{
    struct probe p = probe_new();
    loop_unlink(loop, path, &p.op);
    return finish(loop, &p);
}

static void path_in(char *out, size_t cap, const char *directory, const char *name)
{
    int len = snprintf(out, cap, "%s/%s", directory, name);
    CHECK(len > 0 && (size_t)len < cap);
}

TEST(files_are_written_read_renamed_linked_and_removed)
{
    struct loop *loop = support_loop(8, 16, 4);
    char top[] = "/tmp/loop_test.XXXXXX";
    CHECK(mkdtemp(top) != NULL);
    char dir[64], a[80], b[80], c[80];
    path_in(dir, sizeof(dir), top, "dir");
    path_in(a, sizeof(a), dir, "a");
    path_in(b, sizeof(b), dir, "b");
    path_in(c, sizeof(c), dir, "c");

    struct probe p = probe_new();
    loop_mkdir(loop, dir, 0700, &p.op);
    CHECK_EQ("mkdir", finish(loop, &p), 0);
    CHECK_EQ("open missing", open_file(loop, a, O_RDONLY), -ERR_NOT_FOUND);
    int file = open_file(loop, a, O_RDWR | O_CREAT | O_EXCL);
    CHECK(file >= 0);
    CHECK_EQ("open again", open_file(loop, a, O_RDWR | O_CREAT | O_EXCL), -ERR_EXISTS);

    p = probe_new();
    loop_allocate(loop, file, 0, 8192, &p.op);
    CHECK_EQ("allocate", finish(loop, &p), 0);
    struct stat st;
    CHECK(stat(a, &st) == 0 && st.st_size == 8192);

    struct iovec pieces[] = {{(void *)"hello ", 6}, {(void *)"world", 5}};
    CHECK_EQ("writev", write_pieces(loop, file, pieces, 2, 100, false), 11);
    CHECK_EQ("writev synced", write_pieces(loop, file, pieces, 1, 200, true), 6);
    for (int with_metadata = 0; with_metadata < 2; with_metadata++) {
        p = probe_new();
        loop_sync(loop, file, with_metadata, &p.op);
        CHECK_EQ("sync", finish(loop, &p), 0);
    }
    char bytes[16] = "";
    p = probe_new();
    loop_read(loop, file, bytes, 11, 100, &p.op);
    CHECK_EQ("read", finish(loop, &p), 11);
    CHECK_SLICE("read", slice_of(bytes, 11), "hello world");
    CHECK_EQ("close", close_file(loop, file), 0);

    CHECK_EQ("link", call_two(loop, loop_link, a, b), 0);
    CHECK_EQ("link again", call_two(loop, loop_link, a, b), -ERR_EXISTS);
    CHECK_EQ("rename", call_two(loop, loop_rename, a, c), 0);
    CHECK(access(a, F_OK) != 0 && access(b, F_OK) == 0 && access(c, F_OK) == 0);
    CHECK_EQ("unlink", call_unlink(loop, b), 0);
    CHECK_EQ("unlink", call_unlink(loop, c), 0);
    CHECK_EQ("unlink missing", call_unlink(loop, c), -ERR_NOT_FOUND);

    static char long_path[5000];
    memset(long_path, 'x', sizeof(long_path) - 1);
    CHECK_EQ("long path", open_file(loop, long_path, O_RDONLY), -ENAMETOOLONG);

    CHECK(rmdir(dir) == 0 && rmdir(top) == 0);
    CHECK_EQ("in flight", loop_inflight(loop), 0);
    loop_destroy(loop);
}

/* Paths and message headers share a scratch buffer that a full queue must not reuse too early. */
TEST(paths_stay_whole_when_the_submission_queue_is_full)
{
    enum { COUNT = 200 };
    struct loop *loop = support_loop(4, 16, 4);
    char top[] = "/tmp/loop_test.XXXXXX";
    CHECK(mkdtemp(top) != NULL);
    struct probe probes[COUNT];
    char path[4000];
    for (unsigned i = 0; i < COUNT; i++) {
        /* Long, so that the scratch fills too: /tmp/x/./././...00001 */
        int len = snprintf(path, sizeof(path), "%s/", top);
        while (len < 2000)
            len += snprintf(path + len, sizeof(path) - (size_t)len, "./");
        snprintf(path + len, sizeof(path) - (size_t)len, "%05u", i);
        probes[i] = probe_new();
        loop_mkdir(loop, path, 0700, &probes[i].op);
    }
    CHECK_EQ("in flight", loop_inflight(loop), COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQ("mkdir", finish(loop, &probes[i]), 0);
        snprintf(path, sizeof(path), "%s/%05u", top, i);
        CHECK(rmdir(path) == 0);
    }
    CHECK(rmdir(top) == 0);
    loop_destroy(loop);
}

/* --- sockets --- */

struct pair {
    struct loop *loop;
    int listener, accepted, connected;
    struct endpoint at, peer;
};

static struct pair pair_open(struct loop *loop)
{
    struct pair pair = {.loop = loop};
    struct endpoint any = support_localhost();
    pair.listener = loop_listen(loop, &any, 16, &pair.at);
    CHECK(pair.listener >= 0 && endpoint_port(&pair.at) != 0);
    struct probe in = probe_new(), out = probe_new();
    loop_accept(loop, pair.listener, &pair.peer, &in.op);
    loop_connect(loop, &pair.at, NULL, &out.op);
    pair.accepted = finish(loop, &in);
    pair.connected = finish(loop, &out);
    CHECK(pair.accepted >= 0 && pair.connected >= 0);
    CHECK(slice_eq(endpoint_key(&pair.peer), slice_of("\x7f\0\0\1", 4)));
    return pair;
}

static void pair_close(struct pair *pair)
{
    CHECK_EQ("close", close_file(pair->loop, pair->accepted), 0);
    CHECK_EQ("close", close_file(pair->loop, pair->connected), 0);
    loop_close(pair->loop, pair->listener, NULL);
    support_run_for(pair->loop, 1);
}

static int receive(struct loop *loop, int socket, void *into, size_t bytes)
{
    struct probe p = probe_new();
    loop_recv(loop, socket, into, bytes, &p.op);
    return finish(loop, &p);
}

TEST(sockets_accept_connect_send_and_end)
{
    struct loop *loop = support_loop(8, 16, 4);
    struct pair pair = pair_open(loop);
    char bytes[64];

    struct probe p = probe_new();
    loop_send(loop, pair.connected, "hello", 5, &p.op);
    CHECK_EQ("send", finish(loop, &p), 5);
    CHECK_EQ("recv", receive(loop, pair.accepted, bytes, sizeof(bytes)), 5);
    CHECK_SLICE("recv", slice_of(bytes, 5), "hello");

    struct iovec pieces[] = {{(void *)"ab", 2}, {(void *)"cde", 3}};
    p = probe_new();
    loop_sendv(loop, pair.accepted, pieces, 2, &p.op);
    CHECK_EQ("sendv", finish(loop, &p), 5);
    CHECK_EQ("recv", receive(loop, pair.connected, bytes, sizeof(bytes)), 5);
    CHECK_SLICE("recv", slice_of(bytes, 5), "abcde");

    p = probe_new();
    loop_shutdown_send(loop, pair.accepted, &p.op);
    CHECK_EQ("shutdown", finish(loop, &p), 0);
    CHECK_EQ("end", receive(loop, pair.connected, bytes, sizeof(bytes)), 0);
    pair_close(&pair);
    CHECK_EQ("in flight", loop_inflight(loop), 0);
    loop_destroy(loop);
}

TEST(connect_tells_why_it_failed)
{
    struct loop *loop = support_loop(8, 16, 4);
    struct endpoint any = support_localhost(), at, from;
    int listener = loop_listen(loop, &any, 1, &at);
    CHECK(listener >= 0);
    CHECK_EQ("close", close_file(loop, listener), 0);
    struct probe p = probe_new();
    loop_connect(loop, &at, NULL, &p.op);
    CHECK_EQ("refused", finish(loop, &p), -ECONNREFUSED);
    CHECK(endpoint_parse(SLICE("192.0.2.1:0"), &from));
    p = probe_new();
    loop_connect(loop, &at, &from, &p.op);
    CHECK_EQ("never inside the call", p.count, 0);
    CHECK_EQ("not our address", finish(loop, &p), -EADDRNOTAVAIL);
    loop_destroy(loop);
}

TEST(a_large_send_completes_whole_while_the_peer_reads)
{
    enum { BYTES = 8 << 20 };
    struct loop *loop = support_loop(8, 16, 4);
    struct pair pair = pair_open(loop);
    char *out = malloc(BYTES), *in = malloc(BYTES);
    CHECK(out != NULL && in != NULL);
    for (size_t i = 0; i < BYTES; i++)
        out[i] = (char)(i * 7 + (i >> 12));
    struct iovec pieces[] = {{out, 1000}, {out + 1000, BYTES - 1000}};
    struct probe p = probe_new();
    loop_sendv(loop, pair.accepted, pieces, 2, &p.op);
    size_t got = 0;
    while (got < BYTES) {
        int n = receive(loop, pair.connected, in + got, BYTES - got);
        CHECK(n > 0);
        if (n <= 0) break;
        got += (size_t)n;
    }
    CHECK_EQ("sent", finish(loop, &p), BYTES);
    CHECK(memcmp(in, out, BYTES) == 0);
    free(in);
    free(out);
    pair_close(&pair);
    loop_destroy(loop);
}

/* --- the multishot receive and its buffers --- */

struct reader {
    struct ring_op op;
    struct loop *loop;
    unsigned count, ended;
    int last;
    size_t bytes;
    uint16_t held[8];
    unsigned held_count, hold_max;
};

static void reader_done(struct ring_op *op)
{
    struct reader *reader = CONTAINER_OF(op, struct reader, op);
    reader->count++;
    reader->last = op->result;
    if (op->has_input) {
        CHECK(op->result > 0 && op->result <= LOOP_INPUT_BYTES);
        reader->bytes += (size_t)op->result;
        CHECK_EQ("data", loop_input_data(reader->loop, op->input)[0], 'x');
        if (reader->held_count < reader->hold_max) {
            reader->held[reader->held_count++] = op->input;
        } else {
            loop_input_release(reader->loop, op->input);
        }
    }
    if (!op->has_more) reader->ended++;
}

TEST(multishot_receive_goes_on_runs_dry_and_ends)
{
    struct loop *loop = support_loop(8, 16, 2);
    struct pair pair = pair_open(loop);
    struct reader reader = {.op.done = reader_done, .loop = loop, .hold_max = 2};
    loop_recv_multishot(loop, pair.accepted, &reader.op);
    for (unsigned i = 1; i <= 2; i++) {
        struct probe p = probe_new();
        loop_send(loop, pair.connected, "xy", 2, &p.op);
        CHECK_EQ("send", finish(loop, &p), 2);
        CHECK(support_run_until(loop, &reader.count, i));
        CHECK_EQ("goes on", reader.ended, 0);
    }
    CHECK_EQ("in flight", loop_inflight(loop), 1);
    struct probe p = probe_new();
    loop_send(loop, pair.connected, "xyz", 3, &p.op);
    CHECK(support_run_until(loop, &reader.ended, 1));
    CHECK_EQ("both buffers are held", reader.last, -ERR_NO_BUFFERS);
    CHECK_EQ("bytes", reader.bytes, 4);

    loop_input_release(loop, reader.held[0]);
    loop_input_release(loop, reader.held[1]);
    loop_recv_multishot(loop, pair.accepted, &reader.op);
    CHECK(support_run_until(loop, &reader.count, 4));
    CHECK_EQ("nothing was lost", reader.bytes, 7);

    p = probe_new();
    loop_shutdown_send(loop, pair.connected, &p.op);
    CHECK(support_run_until(loop, &reader.ended, 2));
    CHECK_EQ("end of the stream", reader.last, 0);
    pair_close(&pair);
    loop_destroy(loop);
}

TEST(every_buffer_comes_back_many_times)
{
    struct loop *loop = support_loop(8, 16, 4);
    struct pair pair = pair_open(loop);
    struct reader reader = {.op.done = reader_done, .loop = loop};
    loop_recv_multishot(loop, pair.accepted, &reader.op);
    for (unsigned i = 0; i < 100; i++) {
        struct probe p = probe_new();
        loop_send(loop, pair.connected, "x", 1, &p.op);
        CHECK_EQ("send", finish(loop, &p), 1);
        CHECK(support_run_until(loop, &reader.count, i + 1));
    }
    CHECK_EQ("bytes", reader.bytes, 100);
    CHECK_EQ("ended", reader.ended, 0);
    loop_cancel(loop, &reader.op); /* after its `input` named buffers */
    CHECK(support_run_until(loop, &reader.ended, 1));
    CHECK_EQ("canceled", reader.last, -ERR_CANCELED);
    pair_close(&pair);
    loop_destroy(loop);
}

TEST(cancel_reaches_every_kind_of_operation)
{
    struct loop *loop = support_loop(8, 16, 4);
    struct pair pair = pair_open(loop);
    char byte;
    struct probe recv = probe_new(), accept = probe_new(), late = probe_new();
    struct endpoint peer;
    loop_recv(loop, pair.accepted, &byte, 1, &recv.op);
    loop_accept(loop, pair.listener, &peer, &accept.op);
    support_run_for(loop, 5);
    CHECK_EQ("in flight", loop_inflight(loop), 2);
    loop_cancel(loop, &recv.op);
    loop_cancel(loop, &accept.op);
    CHECK_EQ("recv", finish(loop, &recv), -ERR_CANCELED);
    CHECK_EQ("accept", finish(loop, &accept), -ERR_CANCELED);
    loop_cancel(loop, &recv.op); /* not in flight: nothing happens, also to its next start */
    loop_recv(loop, pair.accepted, &byte, 1, &recv.op);
    support_run_for(loop, 5);
    CHECK_EQ("not done", recv.count, 1);
    /* Started and cancelled in one turn. */
    loop_recv(loop, pair.connected, &byte, 1, &late.op);
    loop_cancel(loop, &late.op);
    CHECK_EQ("late", finish(loop, &late), -ERR_CANCELED);
    loop_cancel(loop, &recv.op);
    CHECK(support_run_idle(loop));
    pair_close(&pair);
    loop_destroy(loop);
}

/* --- limits --- */

TEST(accepts_are_refused_while_all_sockets_are_used)
{
    enum { SOCKETS = 3 };
    struct loop *loop = support_loop(8, SOCKETS, 4);
    struct endpoint any = support_localhost(), at, peer;
    int listener = loop_listen(loop, &any, 16, &at);
    int clients[SOCKETS + 1], accepted[SOCKETS + 1];
    for (unsigned i = 0; i < SOCKETS + 1; i++)
        clients[i] = support_connect(&at);
    for (unsigned i = 0; i < SOCKETS; i++) {
        struct probe p = probe_new();
        loop_accept(loop, listener, &peer, &p.op);
        accepted[i] = finish(loop, &p);
        CHECK(accepted[i] >= 0);
    }
    struct probe p = probe_new();
    loop_accept(loop, listener, &peer, &p.op);
    CHECK_EQ("no handle is left", finish(loop, &p), -ENFILE);
    CHECK_EQ("close", close_file(loop, accepted[0]), 0);
    p = probe_new();
    loop_accept(loop, listener, &peer, &p.op);
    accepted[0] = finish(loop, &p);
    CHECK(accepted[0] >= 0); /* the one that waited in the backlog */
    support_write(clients[SOCKETS], "!", 1);
    char byte = 0;
    CHECK_EQ("recv", receive(loop, accepted[0], &byte, 1), 1);
    CHECK_EQ("recv", byte, '!');
    for (unsigned i = 0; i < SOCKETS + 1; i++)
        close(clients[i]);
    for (unsigned i = 0; i < SOCKETS; i++)
        CHECK_EQ("close", close_file(loop, accepted[i]), 0);
    CHECK_EQ("close", close_file(loop, listener), 0);
    loop_destroy(loop);
}

TEST(accepts_in_flight_are_bounded)
{
    struct loop *loop = support_loop(64, 10, 4);
    struct endpoint any = support_localhost(), at;
    int listener = loop_listen(loop, &any, 16, &at);
    static struct probe probes[LOOP_ACCEPTS_MAX + 1];
    static struct endpoint peers[LOOP_ACCEPTS_MAX + 1];
    for (unsigned i = 0; i < ARRAY_LEN(probes); i++) {
        probes[i] = probe_new();
        loop_accept(loop, listener, &peers[i], &probes[i].op);
    }
    CHECK_EQ("one too many", finish(loop, &probes[LOOP_ACCEPTS_MAX]), -ENFILE);
    CHECK_EQ("in flight", loop_inflight(loop), LOOP_ACCEPTS_MAX);
    for (unsigned i = 0; i < LOOP_ACCEPTS_MAX; i++)
        loop_cancel(loop, &probes[i].op);
    CHECK(support_run_idle(loop));
    CHECK_EQ("close", close_file(loop, listener), 0);
    loop_destroy(loop);
}

static unsigned storm_count;

static void storm_done(struct ring_op *op)
{
    (void)op;
    storm_count++;
}

/* 64 times as many completions at once as the completion queue has places. */
TEST(a_completion_queue_that_overflows_loses_nothing)
{
    enum { COUNT = 1024 };
    struct loop *loop = support_loop(4, 16, 4);
    int file = open_file(loop, "/proc/self/exe", O_RDONLY);
    CHECK(file >= 0);
    static struct ring_op ops[COUNT];
    static char bytes[COUNT];
    storm_count = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        ops[i].done = storm_done;
        loop_read(loop, file, &bytes[i], 1, 1, &ops[i]);
    }
    CHECK(support_run_until(loop, &storm_count, COUNT));
    CHECK_EQ("each once", storm_count, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        CHECK_EQ("read", bytes[i], 'E'); /* \177ELF */
    CHECK_EQ("in flight", loop_inflight(loop), 0);
    CHECK_EQ("close", close_file(loop, file), 0);
    loop_destroy(loop);
}

/* --- the turn --- */

struct chain {
    struct ring_op op;
    struct loop *loop;
    unsigned count;
    uint64_t turn[3];
    uint64_t *turns;
};

static void chain_done(struct ring_op *op)
{
    struct chain *chain = CONTAINER_OF(op, struct chain, op);
    CHECK_EQ("result", op->result, (int)chain->count);
    chain->turn[chain->count++] = *chain->turns;
    if (chain->count < 3) loop_defer(chain->loop, op, (int)chain->count);
}

struct turn_counter {
    struct loop_hook hook;
    uint64_t turns;
};

static void turn_ended(struct loop_hook *hook)
{
    CONTAINER_OF(hook, struct turn_counter, hook)->turns++;
}

TEST(deferred_operations_run_one_a_turn_and_before_the_hooks)
{
    struct loop *loop = support_loop(8, 16, 4);
    struct turn_counter counter = {.hook.run = turn_ended};
    loop_hook_add(loop, &counter.hook);
    struct chain chain = {.op.done = chain_done, .loop = loop, .turns = &counter.turns};
    loop_defer(loop, &chain.op, 0);
    CHECK_EQ("not inside the call", chain.count, 0);
    CHECK_EQ("in flight", loop_inflight(loop), 1);
    for (unsigned i = 1; i <= 3; i++) {
        CHECK_EQ("turn", loop_turn(loop, true), 0); /* would wait for ever were nothing deferred */
        CHECK_EQ("one a turn", chain.count, i);
        CHECK_EQ("before the hook", chain.turn[i - 1], i - 1);
    }
    CHECK_EQ("in flight", loop_inflight(loop), 0);
    loop_hook_remove(&counter.hook);
    CHECK_EQ("turn", loop_turn(loop, false), 0);
    CHECK_EQ("removed", counter.turns, 3);
    loop_destroy(loop);
}

static void stop_loop(struct ring_op *op)
{
    struct chain *chain = CONTAINER_OF(op, struct chain, op);
    chain->count++;
    loop_stop(chain->loop);
}

TEST(run_ends_after_stop_and_can_run_again)
{
    struct loop *loop = support_loop(8, 16, 4);
    struct chain chain = {.op.done = stop_loop, .loop = loop};
    for (unsigned i = 1; i <= 2; i++) {
        loop_defer(loop, &chain.op, 0);
        CHECK_EQ("run", loop_run(loop), 0);
        CHECK_EQ("ran", chain.count, i);
    }
    loop_destroy(loop);
}

TEST(clocks_go_forward_and_busy_time_counts)
{
    struct loop *loop = support_loop(8, 16, 4);
    uint64_t before_ns = loop_now_ns(loop), busy_ns = loop_busy_ns(loop);
    uint64_t wall_ms = clock_wall_ms();
    support_run_for(loop, 20);
    CHECK(loop_now_ns(loop) - before_ns >= 15 * NS_PER_MS);
    CHECK(loop_wall_ms(loop) + 5 >= wall_ms + 15 && loop_wall_ms(loop) < wall_ms + 5000);
    CHECK(loop_busy_ns(loop) >= busy_ns);
    CHECK(loop_take_stall_ns(loop) > 0);
    CHECK_EQ("taken", loop_take_stall_ns(loop), 0);
    loop_destroy(loop);
}

static void *wake_later(void *argument)
{
    struct timespec moment = {0, 20 * (long)NS_PER_MS};
    nanosleep(&moment, NULL);
    loop_wake(argument);
    return NULL;
}

TEST(wake_ends_a_wait_that_has_no_limit)
{
    struct loop *loop = support_loop(8, 16, 4);
    for (unsigned i = 0; i < 3; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, wake_later, loop) == 0);
        CHECK_EQ("turn", loop_turn(loop, true), 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK_EQ("turn", loop_turn(loop, false), 0);
    }
    loop_wake(loop); /* before the wait: it does not begin */
    CHECK_EQ("turn", loop_turn(loop, true), 0);
    loop_destroy(loop);
}

/* --- refusals --- */

TEST(each_refusal_is_told_apart_and_has_a_remedy)
{
    static const struct {
        const char *name;
        struct loop_refusal refusal;
        const char *want, *also;
    } cases[] = {
        {"docker", {-EPERM, 2, 0, "6.1.0-18-amd64", 0}, "Docker", "seccomp profile"},
        {"docker, no sysctl", {-EPERM, 2, -1, "6.1.0", 0}, "Docker", "seccomp profile"},
        {"sysctl 2", {-EPERM, 0, 2, "6.8.0", 0}, "io_uring_disabled=2", "set it to 0"},
        {"sysctl 2 in a container", {-EPERM, 2, 2, "6.8.0", 0}, "io_uring_disabled=2", "host"},
        {"sysctl 1", {-EPERM, 0, 1, "6.8.0", 0}, "io_uring_disabled=1", "io_uring_group"},
        {"selinux", {-EACCES, 0, 0, "6.8.0", 0}, "security module", "SELinux"},
        {"no filter", {-EPERM, 0, 0, "6.8.0", 0}, "security module", "io_uring_setup"},
        {"podman", {-ENOSYS, 2, 0, "6.1.0", 0}, "Podman", "seccomp profile"},
        {"no io_uring", {-ENOSYS, 0, -1, "4.19.0", 0}, "kernel 4.19.0", "6.1"},
        {"old kernel", {-EINVAL, 0, -1, "5.15.0-91-generic", 0}, "5.15.0-91-generic", "too old"},
        {"just too old", {-EINVAL, 0, -1, "6.0.19", 0}, "6.0.19", "too old"},
        {"unreadable", {-EINVAL, 0, -1, "?", 0}, "too old", "6.1"},
        {"new enough", {-EINVAL, 0, 0, "6.10.3", 0}, "6.10.3", "refused its options"},
        {"next major", {-EINVAL, 0, 0, "10.0.0", 0}, "10.0.0", "refused its options"},
        {"memory", {-ENOMEM, 0, 0, "6.1.0", 65536}, "64 KiB", "LimitMEMLOCK"},
        {"descriptors", {-EMFILE, 0, 0, "6.1.0", 0}, "descriptor", "LimitNOFILE"},
        {"anything else", {-ENXIO, 0, 0, "6.1.0", 0}, "io_uring failed", "6.1.0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char why[512];
        loop_explain(&cases[i].refusal, why, sizeof(why));
        bool is_right = strstr(why, cases[i].want) != NULL && strstr(why, cases[i].also) != NULL;
        if (!is_right) printf("%s: %s\n", cases[i].name, why);
        CHECK(is_right);
        CHECK(strchr(why, '\n') == NULL);
        char tiny[8];
        loop_explain(&cases[i].refusal, tiny, sizeof(tiny));
        CHECK(memchr(tiny, '\0', sizeof(tiny)) != NULL);
    }
}

TEST(too_many_sockets_for_the_descriptor_limit_is_told)
{
    struct loop_options options = {8, (1u << 20) - LOOP_ACCEPTS_MAX, 4};
    struct loop *loop;
    char why[512];
    int err = loop_create(&options, &loop, why, sizeof(why));
    if (err == 0) { /* a host that allows a million */
        loop_destroy(loop);
        return;
    }
    CHECK_EQ("error", err, -EMFILE);
    CHECK(loop == NULL);
    CHECK(strstr(why, "LimitNOFILE") != NULL);
}
