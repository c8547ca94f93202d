/* Connections over real sockets: the peer is a plain blocking socket of the test. */
#include "ring/conn.h"
#include "tests/unit/ring/ring_support.h"

#define INPUT_CAP (1u << 20)

/* What the owner does with input, by test. */
enum take { TAKE_ALL, TAKE_LINES, TAKE_NONE, TAKE_ONE };

struct owner {
    struct conn conn;
    enum take take;
    char bytes[INPUT_CAP]; /* taken, and filled windows */
    size_t len;
    unsigned shows, windows, sents, ends, closes;
    int end_err;
    size_t shown; /* length of the last input shown */

    /* Called inside on_input() and on_window() before they return, when set. */
    void (*inside_input)(struct owner *owner);
    void (*inside_window)(struct owner *owner, size_t bytes);
    bool finishes_at_end, closes_at_end;
    char window[65536];
    bool is_inside;
};

struct world {
    struct loop *loop;
    struct conn_host host;
    int listener;
    struct endpoint at;
    struct owner *owner;
    int peer;
};

static struct owner *owner_of(struct conn *conn)
{
    struct owner *owner = CONTAINER_OF(conn, struct owner, conn);
    CHECK_EQ("nothing after on_closed", owner->closes, 0);
    CHECK(!owner->is_inside); /* no handler inside a handler */
    return owner;
}

static void take_bytes(struct owner *owner, const void *data, size_t len)
{
    ASSERT(owner->len + len <= INPUT_CAP);
    memcpy(owner->bytes + owner->len, data, len);
    owner->len += len;
}

static size_t on_input(struct conn *conn, struct slice input)
{
    struct owner *owner = owner_of(conn);
    owner->is_inside = true;
    owner->shows++;
    owner->shown = input.len;
    CHECK(input.len > 0);
    size_t taken = 0;
    if (owner->take == TAKE_ALL) taken = input.len;
    if (owner->take == TAKE_ONE) taken = 1;
    if (owner->take == TAKE_LINES) {
        const char *end = memchr(input.data, '\n', input.len);
        if (end != NULL) taken = (size_t)(end + 1 - input.data);
        if (taken > 0) conn_read_on(conn); /* the next line */
    }
    if (owner->inside_input != NULL) owner->inside_input(owner);
    take_bytes(owner, input.data, taken); /* readable to the end, whatever was called */
    owner->is_inside = false;
    return taken;
}

static void on_window(struct conn *conn, size_t bytes)
{
    struct owner *owner = owner_of(conn);
    owner->is_inside = true;
    owner->windows++;
    owner->inside_window(owner, bytes);
    owner->is_inside = false;
}

static void on_sent(struct conn *conn)
{
    struct owner *owner = owner_of(conn);
    owner->sents++;
    CHECK(conn_is_flushed(conn));
}

static void on_end(struct conn *conn, int err)
{
    struct owner *owner = owner_of(conn);
    owner->ends++;
    owner->end_err = err;
    if (owner->finishes_at_end) conn_finish(conn);
    if (owner->closes_at_end) conn_close(conn);
}

static void on_closed(struct conn *conn)
{
    owner_of(conn)->closes++;
}

static const struct conn_handler handler = {
    .on_input = on_input,
    .on_window = on_window,
    .on_sent = on_sent,
    .on_end = on_end,
    .on_closed = on_closed,
};

struct acceptor {
    struct ring_op op;
    unsigned count;
    int socket;
};

static void accepted(struct ring_op *op)
{
    struct acceptor *acceptor = CONTAINER_OF(op, struct acceptor, op);
    acceptor->socket = op->result;
    acceptor->count++;
}

static struct owner *owner_open(struct world *w, int *peer_out)
{
    struct acceptor acceptor = {.op.done = accepted};
    struct endpoint peer;
    loop_accept(w->loop, w->listener, &peer, &acceptor.op);
    *peer_out = support_connect(&w->at);
    CHECK(support_run_until(w->loop, &acceptor.count, 1));
    struct owner *owner = calloc(1, sizeof(*owner));
    ASSERT(owner != NULL);
    conn_open(&owner->conn, &w->host, &handler, acceptor.socket);
    return owner;
}

static void world_open(struct world *w, uint32_t input_count, size_t output_count_max)
{
    *w = (struct world){.loop = support_loop(64, 16, input_count)};
    conn_host_init(&w->host, w->loop, output_count_max);
    struct endpoint any = support_localhost();
    w->listener = loop_listen(w->loop, &any, 16, &w->at);
    w->owner = owner_open(w, &w->peer);
}

#define WORLD(name, inputs, outputs)                                                               \
    struct world name;                                                                             \
    world_open(&name, inputs, outputs)

static void world_close(struct world *w)
{
    conn_close(&w->owner->conn);
    CHECK(support_run_until(w->loop, &w->owner->closes, 1));
    close(w->peer);
    loop_close(w->loop, w->listener, NULL);
    CHECK(support_run_idle(w->loop));
    CHECK_EQ("kept", w->host.kept_bytes, 0);
    conn_host_finish(&w->host);
    loop_destroy(w->loop);
    free(w->owner);
}

static struct slice taken(const struct world *w)
{
    return slice_of(w->owner->bytes, w->owner->len);
}

static void peer_says(struct world *w, const char *text)
{
    support_write(w->peer, text, strlen(text));
}

static bool run_until_taken(struct world *w, size_t bytes)
{
    uint64_t start_ns = clock_monotonic_ns();
    while (w->owner->len < bytes && clock_monotonic_ns() - start_ns < PATIENCE_NS)
        support_run_for(w->loop, 1);
    return w->owner->len == bytes;
}

/* --- input --- */

TEST(input_is_shown_in_place_and_nothing_is_kept)
{
    WORLD(w, 8, 4);
    peer_says(&w, "hello");
    CHECK(run_until_taken(&w, 5));
    peer_says(&w, " world");
    CHECK(run_until_taken(&w, 11));
    CHECK_SLICE("taken", taken(&w), "hello world");
    CHECK_EQ("kept", w.host.kept_bytes, 0);
    world_close(&w);
}

/* A stream of lines, cut at every byte into two writes, comes out the same. */
TEST(what_is_left_is_kept_and_shown_with_what_comes_after)
{
    static const char text[] = "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";
    WORLD(w, 8, 4);
    w.owner->take = TAKE_LINES;
    size_t len = strlen(text);
    for (size_t cut = 0; cut <= len; cut++) {
        w.owner->len = 0;
        if (cut > 0) support_write(w.peer, text, cut);
        support_run_for(w.loop, 1);
        if (cut < len) support_write(w.peer, text + cut, len - cut);
        CHECK(run_until_taken(&w, len));
        CHECK_SLICE("taken", taken(&w), text);
        CHECK_EQ("kept", w.host.kept_bytes, 0);
    }
    world_close(&w);
}

TEST(read_on_shows_what_is_kept_in_the_same_turn)
{
    WORLD(w, 8, 4);
    w.owner->take = TAKE_NONE;
    peer_says(&w, "abc");
    CHECK(support_run_until(w.loop, &w.owner->shows, 1));
    support_run_for(w.loop, 3);
    CHECK_EQ("not again by itself", w.owner->shows, 1);
    CHECK(w.host.kept_bytes > 0);
    w.owner->take = TAKE_ONE;
    for (unsigned i = 1; i <= 3; i++) {
        conn_read_on(&w.owner->conn);
        conn_read_on(&w.owner->conn); /* twice is once */
        CHECK_EQ("never inside the call", w.owner->shows, i);
        CHECK_EQ("turn", loop_turn(w.loop, true), 0);
        CHECK_EQ("shown", w.owner->shows, i + 1);
        CHECK_EQ("with all that is left", w.owner->shown, 4 - i);
    }
    CHECK_SLICE("taken", taken(&w), "abc");
    conn_read_on(&w.owner->conn); /* nothing is kept: nothing is shown */
    support_run_for(w.loop, 3);
    CHECK_EQ("shown", w.owner->shows, 4);
    world_close(&w);
}

static void reads_on(struct owner *owner)
{
    conn_read_on(&owner->conn);
}

TEST(an_owner_that_reads_on_and_takes_nothing_does_not_hold_up_the_turn)
{
    WORLD(w, 8, 4);
    w.owner->take = TAKE_NONE;
    w.owner->inside_input = reads_on;
    peer_says(&w, "abc");
    CHECK(support_run_until(w.loop, &w.owner->shows, 3)); /* by turns */
    w.owner->take = TAKE_ALL;
    CHECK(run_until_taken(&w, 3));
    world_close(&w);
}

/* Sends as much as the sockets take while the loop runs; returns the bytes. */
static size_t peer_floods(struct world *w, size_t bytes_max)
{
    static char block[16384];
    size_t sent = 0;
    for (unsigned idle = 0; idle < 20 && sent < bytes_max;) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (char)((sent + i) % 251);
        ssize_t n = send(w->peer, block, MIN(sizeof(block), bytes_max - sent), MSG_DONTWAIT);
        idle = n > 0 ? 0 : idle + 1;
        if (n > 0) sent += (size_t)n;
        support_run_for(w->loop, 1);
    }
    return sent;
}

static void check_flood(const struct world *w, size_t bytes)
{
    CHECK_EQ("taken", w->owner->len, bytes);
    for (size_t i = 0; i < w->owner->len; i++) {
        if (w->owner->bytes[i] == (char)(i % 251)) continue;
        CHECK_EQ("first difference at", i, SIZE_MAX);
        break;
    }
}

TEST(an_owner_that_takes_nothing_bounds_what_is_kept_and_loses_nothing)
{
    WORLD(w, 8, 4);
    int small = 65536;
    CHECK(setsockopt(w.peer, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
    w.owner->take = TAKE_NONE;
    size_t sent = peer_floods(&w, 900000);
    CHECK(w.host.kept_bytes > CONN_KEPT_BYTES_MAX);
    CHECK(w.host.kept_bytes <= 4 * CONN_KEPT_BYTES_MAX);
    w.owner->take = TAKE_ALL;
    conn_read_on(&w.owner->conn);
    CHECK(run_until_taken(&w, sent));
    check_flood(&w, sent);
    CHECK_EQ("kept", w.host.kept_bytes, 0);
    peer_says(&w, "x"); /* receiving goes on */
    CHECK(run_until_taken(&w, sent + 1));
    world_close(&w);
}

TEST(a_ring_that_runs_out_of_buffers_only_delays)
{
    WORLD(w, 1, 4); /* one buffer: every second receive finds none */
    size_t sent = peer_floods(&w, 500000);
    CHECK(run_until_taken(&w, sent));
    CHECK_EQ("sent", sent, 500000);
    check_flood(&w, sent);
    world_close(&w);
}

/* --- the end of the input --- */

TEST(the_end_comes_after_all_input)
{
    WORLD(w, 8, 4);
    w.owner->take = TAKE_NONE;
    peer_says(&w, "abc");
    CHECK(shutdown(w.peer, SHUT_WR) == 0);
    CHECK(support_run_until(w.loop, &w.owner->shows, 1));
    support_run_for(w.loop, 20);
    CHECK_EQ("held back", w.owner->ends, 0);
    w.owner->take = TAKE_ALL;
    conn_read_on(&w.owner->conn);
    CHECK(support_run_until(w.loop, &w.owner->ends, 1));
    CHECK_SLICE("taken", taken(&w), "abc");
    CHECK_EQ("err", w.owner->end_err, 0);
    /* The other half still works. */
    CHECK(conn_write(&w.owner->conn, SLICE("bye")));
    conn_flush(&w.owner->conn);
    CHECK(support_run_until(w.loop, &w.owner->sents, 1));
    char bytes[8];
    CHECK_EQ("read", read(w.peer, bytes, sizeof(bytes)), 3);
    CHECK_EQ("once", w.owner->ends, 1);
    world_close(&w);
}

TEST(a_part_of_a_line_does_not_hold_back_the_end_for_ever)
{
    WORLD(w, 8, 4);
    w.owner->take = TAKE_LINES;
    peer_says(&w, "NOOP\r\nQUI");
    CHECK(shutdown(w.peer, SHUT_WR) == 0);
    uint64_t start_ns = clock_monotonic_ns();
    CHECK(support_run_until(w.loop, &w.owner->ends, 1));
    CHECK(clock_monotonic_ns() - start_ns >= (CONN_UNTAKEN_MS - 100) * NS_PER_MS);
    CHECK_SLICE("taken", taken(&w), "NOOP\r\n");
    w.owner->take = TAKE_ALL;
    conn_read_on(&w.owner->conn); /* still there */
    CHECK(run_until_taken(&w, 9));
    CHECK_EQ("once", w.owner->ends, 1);
    world_close(&w);
}

static void peer_resets(struct world *w)
{
    struct linger now = {1, 0};
    CHECK(setsockopt(w->peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
    close(w->peer);
    w->peer = -1;
}

TEST(a_reset_is_told_at_once)
{
    WORLD(w, 8, 4);
    w.owner->take = TAKE_NONE;
    peer_says(&w, "abc");
    CHECK(support_run_until(w.loop, &w.owner->shows, 1));
    peer_resets(&w);
    CHECK(support_run_until(w.loop, &w.owner->ends, 1));
    CHECK_EQ("err", w.owner->end_err, -ECONNRESET);
    world_close(&w);
}

TEST(the_owner_may_close_inside_on_end)
{
    for (int by_reset = 0; by_reset < 2; by_reset++) {
        WORLD(w, 8, 4);
        w.owner->closes_at_end = true;
        support_run_for(w.loop, 2);
        if (by_reset) {
            peer_resets(&w);
        } else {
            CHECK(shutdown(w.peer, SHUT_WR) == 0);
        }
        CHECK(support_run_until(w.loop, &w.owner->closes, 1));
        world_close(&w);
    }
}

/* --- windows --- */

static void collect_window(struct owner *owner, size_t bytes)
{
    /* The window is owner->window, filled from its start on; `windows` says nothing of where. */
    static size_t at;
    if (owner->windows == 1) at = 0;
    take_bytes(owner, owner->window + at, bytes);
    at += bytes;
    if (at < 10000) return;
    at = 0;
    conn_window_open(&owner->conn, owner->window, 10000); /* full: the next one */
}

static void opens_window(struct owner *owner)
{
    owner->inside_input = NULL;
    conn_window_open(&owner->conn, owner->window, 10000);
}

TEST(windows_take_the_stream_in_order)
{
    WORLD(w, 8, 4);
    w.owner->inside_input = opens_window; /* from inside the first input, of which 1 is taken */
    w.owner->inside_window = collect_window;
    w.owner->take = TAKE_ONE;
    size_t sent = peer_floods(&w, 700000);
    CHECK(run_until_taken(&w, sent));
    check_flood(&w, sent);
    CHECK_EQ("shown once", w.owner->shows, 1);
    CHECK(w.owner->windows >= 70);
    CHECK_EQ("kept", w.host.kept_bytes, 0);
    world_close(&w);
}

/* Takes the message up to its last '.', and gives back what came behind it. */
static void collect_to_dot(struct owner *owner, size_t bytes)
{
    static size_t filled;
    if (owner->windows == 1) filled = 0;
    filled += bytes;
    const char *dot = memchr(owner->window, '.', filled);
    if (dot == NULL) return;
    size_t wanted = (size_t)(dot + 1 - owner->window);
    take_bytes(owner, owner->window, wanted);
    conn_window_close(&owner->conn);
    conn_unread(&owner->conn, slice_of(dot + 1, filled - wanted));
    owner->windows = 0;
    owner->take = TAKE_LINES;
}

/* Opened by the owner outside of any handler, with some of the stream kept; the rest of the text
 * comes in two writes, cut at every byte. */
TEST(a_window_ends_where_the_owner_says_and_the_rest_is_shown)
{
    static const char text[] = "body body body.MAIL\nRCPT\n";
    size_t len = strlen(text);
    for (size_t cut = 1; cut < len; cut++) {
        WORLD(w, 8, 4);
        w.owner->inside_window = collect_to_dot;
        w.owner->take = TAKE_NONE;
        support_write(w.peer, text, 1);
        CHECK(support_run_until(w.loop, &w.owner->shows, 1));
        conn_window_open(&w.owner->conn, w.owner->window, sizeof(w.owner->window));
        CHECK_EQ("never inside the call", w.owner->windows, 0);
        if (cut > 1) support_write(w.peer, text + 1, cut - 1);
        support_run_for(w.loop, 2);
        support_write(w.peer, text + cut, len - cut);
        CHECK(run_until_taken(&w, len));
        CHECK_SLICE("taken", taken(&w), text);
        world_close(&w);
    }
}

TEST(a_window_may_be_closed_at_once)
{
    WORLD(w, 8, 4);
    support_run_for(w.loop, 1);
    conn_window_open(&w.owner->conn, w.owner->window, 100);
    conn_window_close(&w.owner->conn);
    peer_says(&w, "hello");
    CHECK(run_until_taken(&w, 5));
    CHECK_EQ("windows", w.owner->windows, 0);
    world_close(&w);
}

static void ignore_window(struct owner *owner, size_t bytes)
{
    (void)owner;
    (void)bytes;
}

TEST(end_reset_and_close_work_with_an_open_window)
{
    for (int how = 0; how < 3; how++) {
        WORLD(w, 8, 4);
        w.owner->inside_window = ignore_window;
        conn_window_open(&w.owner->conn, w.owner->window, sizeof(w.owner->window));
        peer_says(&w, "abc");
        CHECK(support_run_until(w.loop, &w.owner->windows, 1));
        support_run_for(w.loop, 3); /* now a plain receive waits */
        if (how == 0) CHECK(shutdown(w.peer, SHUT_WR) == 0);
        if (how == 1) peer_resets(&w);
        if (how < 2) {
            CHECK(support_run_until(w.loop, &w.owner->ends, 1));
            CHECK_EQ("err", w.owner->end_err, how == 0 ? 0 : -ECONNRESET);
        }
        world_close(&w);
    }
}

/* --- output --- */

TEST(replies_are_gathered_and_go_on_while_a_send_runs)
{
    WORLD(w, 8, 4);
    CHECK(conn_is_flushed(&w.owner->conn));
    CHECK(conn_write(&w.owner->conn, SLICE("250 a\r\n")));
    CHECK(conn_write(&w.owner->conn, SLICE("250 b\r\n")));
    CHECK(!conn_is_flushed(&w.owner->conn));
    conn_flush(&w.owner->conn);
    CHECK(conn_write(&w.owner->conn, SLICE("250 c\r\n"))); /* goes with the next send */
    conn_flush(&w.owner->conn);
    CHECK(support_run_until(w.loop, &w.owner->sents, 1));
    char memory[64];
    struct buf got = {memory, 0, sizeof(memory), false};
    CHECK(!support_read(w.loop, w.peer, &got, 10));
    CHECK_BUF("got", got, "250 a\r\n250 b\r\n250 c\r\n");
    CHECK_EQ("one on_sent", w.owner->sents, 1);
    CHECK_EQ("given back", w.host.outputs.count, 0);
    world_close(&w);
}

TEST(output_has_a_bound_and_a_pool)
{
    WORLD(w, 8, 2);
    static char block[CONN_OUTPUT_BYTES];
    memset(block, 'x', sizeof(block));
    CHECK_EQ("room", conn_output_room(&w.owner->conn), CONN_OUTPUT_BYTES);
    CHECK(!conn_write(&w.owner->conn, slice_of(block, sizeof(block) + 1)));
    CHECK(conn_write(&w.owner->conn, slice_of(block, sizeof(block) - 10)));
    CHECK(!conn_write(&w.owner->conn, slice_of(block, 11)));
    CHECK_EQ("room", conn_output_room(&w.owner->conn), 10);
    conn_flush(&w.owner->conn);
    void *other = slab_get(&w.host.outputs); /* another connection has the last one */
    CHECK_EQ("room", conn_output_room(&w.owner->conn), 0);
    CHECK(!conn_write(&w.owner->conn, slice_of(block, 1)));
    slab_put(&w.host.outputs, other);
    CHECK(support_run_until(w.loop, &w.owner->sents, 1));
    CHECK_EQ("room", conn_output_room(&w.owner->conn), CONN_OUTPUT_BYTES);
    world_close(&w);
}

/* A connection that is refused an output hears of it when one comes back, though it has nothing in
 * flight of its own; one that does not use it passes it on. */
TEST(connections_stand_in_line_for_the_pool)
{
    enum { WAITING = 3 };
    WORLD(w, 8, 1);
    CHECK(conn_write(&w.owner->conn, SLICE("first")));
    struct owner *waiting[WAITING];
    int peers[WAITING];
    for (unsigned i = 0; i < WAITING; i++) {
        waiting[i] = owner_open(&w, &peers[i]);
        CHECK_EQ("room", conn_output_room(&waiting[i]->conn), 0);
        CHECK_EQ("asked twice", conn_output_room(&waiting[i]->conn), 0);
    }
    conn_close(&waiting[1]->conn); /* leaves the line */
    CHECK(support_run_until(w.loop, &waiting[1]->closes, 1));
    support_run_for(w.loop, 3);
    CHECK_EQ("nothing came back", waiting[0]->sents + waiting[2]->sents, 0);

    conn_flush(&w.owner->conn);
    CHECK(support_run_until(w.loop, &waiting[0]->sents, 1));
    CHECK(support_run_until(w.loop, &waiting[2]->sents, 1));
    CHECK(conn_write(&waiting[2]->conn, SLICE("second")));
    CHECK_EQ("room", conn_output_room(&waiting[0]->conn), 0);
    conn_close(&waiting[2]->conn); /* gives back what it never sent */
    CHECK(support_run_until(w.loop, &waiting[0]->sents, 2));
    conn_close(&waiting[0]->conn);
    CHECK(support_run_until(w.loop, &waiting[0]->closes, 1));
    CHECK(support_run_until(w.loop, &waiting[2]->closes, 1));
    for (unsigned i = 0; i < WAITING; i++) {
        close(peers[i]);
        free(waiting[i]);
    }
    world_close(&w);
}

/* With the appended bytes in front, whether the list of pieces fits beside them or not. */
TEST(pieces_follow_the_appended_bytes)
{
    enum { PIECES = 300 };
    for (unsigned written = 0; written <= 4000; written += 1000) {
        WORLD(w, 8, 4);
        static char block[4000], want[8192], memory[8192];
        memset(block, 'o', sizeof(block));
        struct iovec pieces[PIECES];
        struct buf wanted = {want, 0, sizeof(want), false};
        if (written > 0) CHECK(conn_write(&w.owner->conn, slice_of(block, written)));
        CHECK(buf_append(&wanted, block, written));
        for (unsigned i = 0; i < PIECES; i++) {
            static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz";
            pieces[i] = (struct iovec){(void *)(uintptr_t)(alphabet + i % 20), 1 + i % 5};
            CHECK(buf_append(&wanted, pieces[i].iov_base, pieces[i].iov_len));
        }
        conn_send_pieces(&w.owner->conn, pieces, PIECES);
        CHECK(!conn_write(&w.owner->conn, SLICE("no")));
        CHECK(support_run_until(w.loop, &w.owner->sents, 1));
        CHECK(conn_write(&w.owner->conn, SLICE("yes")));
        CHECK(buf_append_cstr(&wanted, "yes"));
        conn_flush(&w.owner->conn);
        CHECK(support_run_until(w.loop, &w.owner->sents, 2));
        struct buf got = {memory, 0, sizeof(memory), false};
        CHECK(!support_read(w.loop, w.peer, &got, 5));
        CHECK(slice_eq(buf_slice(&got), buf_slice(&wanted)));
        world_close(&w);
    }
}

TEST(a_send_to_a_peer_that_is_gone_fails_once)
{
    WORLD(w, 8, 4);
    support_run_for(w.loop, 2);
    CHECK(shutdown(w.peer, SHUT_WR) == 0);
    CHECK(support_run_until(w.loop, &w.owner->ends, 1));
    peer_resets(&w);
    for (unsigned i = 1; i <= 3; i++) { /* the end was told: they count as sent */
        CHECK(conn_write(&w.owner->conn, SLICE("250 ok\r\n")));
        conn_flush(&w.owner->conn);
        CHECK(support_run_until(w.loop, &w.owner->sents, i));
    }
    CHECK_EQ("once", w.owner->ends, 1);
    world_close(&w);
}

/* --- endings --- */

TEST(close_works_in_every_state_and_from_every_handler)
{
    for (int how = 0; how < 6; how++) {
        WORLD(w, 8, 4);
        static char big[1 << 20];
        struct iovec pieces[4] = {
            {big, sizeof(big)}, {big, sizeof(big)}, {big, sizeof(big)}, {big, sizeof(big)}};
        w.owner->take = TAKE_NONE;
        w.owner->inside_window = ignore_window;
        if (how >= 1) support_run_for(w.loop, 2);
        if (how >= 2) peer_says(&w, "abc");
        if (how >= 3) support_run_for(w.loop, 2);
        if (how >= 4) conn_read_on(&w.owner->conn); /* deferred when the close comes */
        if (how >= 5) {                             /* a send that the peer does not take */
            conn_send_pieces(&w.owner->conn, pieces, 4);
            support_run_for(w.loop, 5);
            CHECK(!conn_is_flushed(&w.owner->conn));
        }
        conn_close(&w.owner->conn);
        CHECK_EQ("never inside the call", w.owner->closes, 0);
        CHECK(!conn_write(&w.owner->conn, SLICE("no")));
        conn_flush(&w.owner->conn);
        conn_read_on(&w.owner->conn);
        conn_finish(&w.owner->conn);
        conn_close(&w.owner->conn);
        CHECK(support_run_until(w.loop, &w.owner->closes, 1));
        CHECK_EQ("in flight", loop_inflight(w.loop), 0);
        CHECK_EQ("outputs", w.host.outputs.count, 0);
        world_close(&w);
    }
}

static void closes(struct owner *owner)
{
    conn_close(&owner->conn);
}

static void finishes(struct owner *owner)
{
    CHECK(conn_write(&owner->conn, SLICE("221 bye\r\n")));
    conn_finish(&owner->conn);
}

TEST(the_owner_may_close_inside_on_input)
{
    for (int was_kept = 0; was_kept < 2; was_kept++) {
        WORLD(w, 8, 4);
        if (was_kept) {
            w.owner->take = TAKE_NONE;
            peer_says(&w, "abc");
            CHECK(support_run_until(w.loop, &w.owner->shows, 1));
        }
        w.owner->take = TAKE_ALL;
        w.owner->inside_input = closes;
        peer_says(&w, "def");
        CHECK(support_run_until(w.loop, &w.owner->closes, 1));
        world_close(&w);
    }
}

TEST(finish_sends_the_last_reply_and_an_end_and_discards_the_rest)
{
    for (int was_kept = 0; was_kept < 2; was_kept++) {
        WORLD(w, 8, 4);
        if (was_kept) {
            w.owner->take = TAKE_NONE;
            peer_says(&w, "QU");
            CHECK(support_run_until(w.loop, &w.owner->shows, 1));
        }
        w.owner->take = TAKE_ALL;
        w.owner->inside_input = finishes;
        peer_says(&w, "IT\r\n");
        char memory[64];
        struct buf got = {memory, 0, sizeof(memory), false};
        peer_says(&w, "and more that nobody reads");
        CHECK(support_read(w.loop, w.peer, &got, 500)); /* an end, not a reset */
        CHECK_BUF("got", got, "221 bye\r\n");
        ssize_t more = recv(w.peer, memory, 1, MSG_DONTWAIT);
        CHECK_EQ("orderly", more, 0);
        CHECK_EQ("it waits for the peer", w.owner->closes, 0);
        peer_says(&w, "still talking");
        support_run_for(w.loop, 5);
        close(w.peer);
        w.peer = -1;
        CHECK(support_run_until(w.loop, &w.owner->closes, 1));
        CHECK_EQ("only on_closed", w.owner->ends + w.owner->sents, 0);
        CHECK_EQ("shown", w.owner->shows, 1 + was_kept);
        world_close(&w);
    }
}

TEST(finish_closes_at_once_when_the_peer_has_ended)
{
    WORLD(w, 8, 4);
    w.owner->finishes_at_end = true;
    CHECK(shutdown(w.peer, SHUT_WR) == 0);
    uint64_t start_ns = clock_monotonic_ns();
    CHECK(support_run_until(w.loop, &w.owner->closes, 1));
    CHECK(clock_monotonic_ns() - start_ns < CONN_LINGER_MS / 2 * NS_PER_MS);
    world_close(&w);
}

TEST(finish_does_not_wait_long_for_a_peer_that_stays)
{
    WORLD(w, 8, 4);
    support_run_for(w.loop, 2);
    conn_finish(&w.owner->conn);
    uint64_t start_ns = clock_monotonic_ns();
    CHECK(support_run_until(w.loop, &w.owner->closes, 1));
    uint64_t took_ns = clock_monotonic_ns() - start_ns;
    CHECK(took_ns >= CONN_LINGER_MS * NS_PER_MS);
    CHECK(took_ns < (CONN_LINGER_MS + 500) * NS_PER_MS);
    world_close(&w);
}

TEST(finish_and_close_keep_a_window_until_closed)
{
    for (int finishing = 0; finishing < 2; finishing++) {
        WORLD(w, 8, 4);
        w.owner->inside_window = ignore_window;
        conn_window_open(&w.owner->conn, w.owner->window, sizeof(w.owner->window));
        support_run_for(w.loop, 3); /* a plain receive is in flight */
        if (finishing) {
            conn_finish(&w.owner->conn);
        } else {
            conn_close(&w.owner->conn);
        }
        peer_says(&w, "late");
        support_run_for(w.loop, 5);
        CHECK_EQ("nothing is told", w.owner->windows, 0);
        close(w.peer);
        w.peer = -1;
        CHECK(support_run_until(w.loop, &w.owner->closes, 1));
        world_close(&w);
    }
}

/* --- a connection over a socket that was connected, not accepted --- */

TEST(a_connected_socket_works_the_same)
{
    WORLD(w, 8, 4);
    struct endpoint peer;
    struct acceptor in = {.op.done = accepted}, out = {.op.done = accepted};
    loop_accept(w.loop, w.listener, &peer, &in.op);
    loop_connect(w.loop, &w.at, NULL, &out.op);
    CHECK(support_run_until(w.loop, &in.count, 1) && support_run_until(w.loop, &out.count, 1));
    struct owner *server = calloc(1, sizeof(*server)), *client = calloc(1, sizeof(*client));
    ASSERT(server != NULL && client != NULL);
    conn_open(&server->conn, &w.host, &handler, in.socket);
    conn_open(&client->conn, &w.host, &handler, out.socket);
    CHECK(conn_write(&server->conn, SLICE("220 hi\r\n")));
    conn_flush(&server->conn);
    CHECK(support_run_until(w.loop, &client->shows, 1));
    CHECK_SLICE("greeting", slice_of(client->bytes, client->len), "220 hi\r\n");
    server->finishes_at_end = true;
    conn_finish(&client->conn);
    CHECK(support_run_until(w.loop, &client->closes, 1));
    CHECK(support_run_until(w.loop, &server->closes, 1));
    free(server);
    free(client);
    world_close(&w);
}
