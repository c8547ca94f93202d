/* fixture.h - a queue on a spool of its own, for the tests of the store.
 *
 * Bodies are a function of a seed and the offset, so that any piece can be checked alone. */
#pragma once

#include "ring/base/log.h"
#include "store/queue_internal.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURE_RECIPIENTS_MAX 4

struct fixture {
    char directory[64];
    struct loop *loop;
    struct blocks *blocks;
    struct spool *spool;
    struct queue *queue;
    struct queue_options options;
    unsigned shard_count;
    int fatal;
};

/* An operation that a test waits for. */
struct waiting {
    struct ring_op op;
    bool is_over;
    int result;
};

static inline void waiting_done(struct ring_op *op)
{
    struct waiting *w = CONTAINER_OF(op, struct waiting, op);
    w->is_over = true;
    w->result = op->result;
}

static inline struct ring_op *waiting_op(struct waiting *w)
{
    *w = (struct waiting){.op = {.done = waiting_done}};
    return &w->op;
}

static inline void fixture_turn(struct fixture *f)
{
    int err = loop_turn(f->loop, true);
    ASSERT(err == 0);
}

static inline int wait_for(struct fixture *f, struct waiting *w)
{
    while (!w->is_over)
        fixture_turn(f);
    return w->result;
}

static inline void fixture_on_fatal(void *owner, int err)
{
    struct fixture *f = owner;
    f->fatal = err;
}

/* A new directory where a spool may be: not every /tmp is on a file system that is fit. */
static inline void fixture_make_directory(struct fixture *f)
{
    static const char *const places[] = {"/tmp", "/dev/shm"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        snprintf(f->directory, sizeof(f->directory), "%s/postern-store-XXXXXX", places[i]);
        ASSERT(mkdtemp(f->directory) != NULL);
        char why[256];
        struct spool *spool;
        int err = spool_open(f->directory, &spool, why, sizeof(why));
        spool_close(spool);
        if (err != -ERR_FILE_SYSTEM) return;
        rmdir(f->directory);
    }
    ASSERT(false);
}

static inline void fixture_init(struct fixture *f)
{
    *f = (struct fixture){.shard_count = 1};
    log_set_level(LOG_ERROR);
    struct loop_options loop = {.submission_count = 256, .socket_count_max = 64, .input_count = 16};
    struct blocks_options blocks = {
        .small_count = 4096, .large_count = 256, .large_reserve_count = 32};
    char why[256];
    int err = loop_create(&loop, &f->loop, why, sizeof(why));
    if (err != 0) printf("no loop: %s\n", why);
    ASSERT(err == 0);
    err = blocks_create(&blocks, &f->blocks);
    ASSERT(err == 0);
    f->options = (struct queue_options){.core_count = 1,
                                        .segment_bytes = 4u << 20,
                                        .map_bytes_max = 256u << 20,
                                        .memory_messages_max = 10000,
                                        .on_fatal = fixture_on_fatal};
}

static inline int fixture_try_open(struct fixture *f, char *why, size_t why_cap)
{
    int err = spool_open(f->directory, &f->spool, why, why_cap);
    if (err == 0) err = spool_make_shards(f->spool, f->shard_count);
    f->options.loop = f->loop;
    f->options.blocks = f->blocks;
    f->options.spool = f->spool;
    f->options.owner = f;
    f->fatal = 0;
    if (err == 0) err = queue_open(&f->options, &f->queue, why, why_cap);
    return err;
}

static inline void fixture_open(struct fixture *f)
{
    char why[512] = "";
    int err = fixture_try_open(f, why, sizeof(why));
    if (err != 0) printf("cannot open: %s: %s\n", err_str(err), why);
    ASSERT(err == 0);
}

static inline void fixture_close(struct fixture *f)
{
    queue_close(f->queue);
    spool_close(f->spool);
    f->queue = NULL;
    f->spool = NULL;
    for (int i = 0; i < 3; i++) { /* the closes of files */
        int err = loop_turn(f->loop, false);
        ASSERT(err == 0);
    }
}

static inline void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

static inline int fixture_remove_one(const char *path, const struct stat *stat, int type,
                                     struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void fixture_remove(struct fixture *f)
{
    nftw(f->directory, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_begin(struct fixture *f)
{
    fixture_init(f);
    fixture_make_directory(f);
    fixture_open(f);
}

static inline void fixture_end(struct fixture *f)
{
    if (f->queue != NULL) fixture_close(f);
    blocks_destroy(f->blocks);
    loop_destroy(f->loop);
    fixture_remove(f);
}

static inline struct shard *fixture_shard(struct fixture *f)
{
    return f->queue->shards[0];
}

/* --- bodies and envelopes --- */

static inline char body_byte(uint64_t seed, uint64_t at)
{
    uint64_t n = (seed + 1) * 0x9e3779b97f4a7c15u ^ at * 0xbf58476d1ce4e5b9u;
    return (char)(n >> 56 ^ n >> 24);
}

static inline void body_fill(char *into, uint64_t seed, uint64_t at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        into[i] = body_byte(seed, at + i);
}

static inline bool body_fits(struct slice piece, uint64_t seed, uint64_t at)
{
    for (size_t i = 0; i < piece.len; i++)
        if (piece.data[i] != body_byte(seed, at + i)) return false;
    return true;
}

static inline struct envelope envelope_of(struct recipient *recipients, uint32_t count)
{
    static const char *const names[FIXTURE_RECIPIENTS_MAX] = {"a@one.example", "b@two.example",
                                                              "c@three.example", ""};
    for (uint32_t i = 0; i < count; i++)
        recipients[i] = (struct recipient){.address = slice_of_cstr(names[i])};
    return (struct envelope){.sender = SLICE("sender@example.test"),
                             .helo = SLICE("client.example"),
                             .client = SLICE("192.0.2.1"),
                             .listener = SLICE("mx"),
                             .received_ms = 1700000000000,
                             .form = BODY_DATA,
                             .recipients = recipients,
                             .recipient_count = count};
}

/* Streams `bytes` of the body into the put. 0, or why it cannot be stored. */
static inline int put_body(struct fixture *f, struct put *put, uint64_t seed, uint64_t bytes)
{
    uint64_t at = 0;
    while (at < bytes) {
        size_t room;
        char *space = queue_put_space(put, &room);
        if (room == 0) {
            struct waiting w;
            queue_put_wait(put, waiting_op(&w));
            int err = wait_for(f, &w);
            if (err != 0) return err;
            continue;
        }
        size_t step = (size_t)MIN((uint64_t)room, bytes - at);
        body_fill(space, seed, at, step);
        queue_put_advance(put, step);
        at += step;
    }
    return 0;
}

/* Puts one message with `extra` more bytes advanced than the body has. */
static inline int put_message(struct fixture *f, uint64_t seed, uint64_t bytes, uint64_t hint,
                              unsigned extra, struct put **put_out)
{
    *put_out = NULL;
    int err = queue_put_begin(f->queue, hint, put_out);
    if (err != 0) return err;
    err = put_body(f, *put_out, seed, bytes + extra);
    if (err != 0) return err;
    struct recipient recipients[2];
    struct envelope envelope = envelope_of(recipients, 2);
    struct waiting w;
    queue_put_finish(*put_out, bytes, &envelope, waiting_op(&w));
    return wait_for(f, &w);
}

/* Puts one message and takes it: NULL when it failed or was spilled. */
static inline struct message *put_and_take(struct fixture *f, uint64_t seed, uint64_t bytes)
{
    struct put *put;
    int err = put_message(f, seed, bytes, 0, 0, &put);
    if (err != 0) {
        queue_put_abort(put);
        return NULL;
    }
    return queue_put_take(put);
}

/* Reads the whole body: 0 when every byte is as it was put, or why not. */
static inline int check_body(struct fixture *f, struct message *message, uint64_t seed)
{
    struct body_reader reader;
    body_open(&reader, f->queue, message);
    uint64_t at = 0;
    int err = 0;
    for (;;) {
        struct waiting w;
        if (!body_read(&reader, waiting_op(&w))) err = wait_for(f, &w);
        if (err != 0 || reader.bytes.len == 0) break;
        if (!body_fits(reader.bytes, seed, at)) err = -ERR_INVALID;
        at += reader.bytes.len;
    }
    if (err == 0 && at != message->body_bytes) err = -ERR_TOO_LARGE;
    struct waiting closed;
    if (!body_close(&reader, waiting_op(&closed))) wait_for(f, &closed);
    return err;
}

/* Forgets what is in memory of the body, so that it is read from the disk. */
static inline void drop_memory(struct fixture *f, struct message *message)
{
    for (uint32_t i = 0; i < message->extent_count; i++) {
        block_put(f->blocks, message->blocks[i]);
        message->blocks[i] = NULL;
    }
}

static inline int settle(struct fixture *f, struct message *message)
{
    struct waiting w;
    queue_settle(f->queue, message, waiting_op(&w));
    shard_hurry(fixture_shard(f)); /* the tests settle one by one, without company */
    return wait_for(f, &w);
}

static inline void set_states(struct message *message, enum recipient_state state, uint64_t next_ms)
{
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++) {
        message->envelope.recipients[i].state = state;
        message->envelope.recipients[i].next_ms = next_ms;
    }
}

static inline int settle_delivered(struct fixture *f, struct message *message)
{
    set_states(message, RECIPIENT_DELIVERED, 0);
    return settle(f, message);
}

struct test_lease {
    struct lease lease;
    bool is_over;
};

static inline void lease_done(struct ring_op *op)
{
    struct lease *lease = CONTAINER_OF(op, struct lease, op);
    CONTAINER_OF(lease, struct test_lease, lease)->is_over = true;
}

static inline int lease_some(struct fixture *f, uint32_t count_max, struct test_lease *t)
{
    *t = (struct test_lease){.lease = {.op = {.done = lease_done}, .count_max = count_max}};
    queue_lease(f->queue, &t->lease);
    while (!t->is_over)
        fixture_turn(f);
    return t->lease.op.result;
}

static inline struct message *lease_pop(struct test_lease *t)
{
    struct list *node = list_pop_front(&t->lease.messages);
    return node == NULL ? NULL : LIST_ENTRY(node, struct message, node);
}

static inline unsigned count_files(struct fixture *f, const char *suffix)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/shards/00/segments", f->directory);
    DIR *directory = opendir(path);
    ASSERT(directory != NULL);
    unsigned count = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        size_t len = strlen(entry->d_name), tail = strlen(suffix);
        if (len > tail && strcmp(entry->d_name + len - tail, suffix) == 0) count++;
    }
    closedir(directory);
    return count;
}
