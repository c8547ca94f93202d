/* store_history.c - see store_history.h. */
#include "tests/scenario/store_history.h"

#include "ring/base/memory.h"
#include "tests/support/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_BYTES (1u << 20)
#define MAP_BYTES (64u << 20)
#define MEMORY_MESSAGES 12
#define UPLOADS_MAX 6
#define LIVE_MAX 64
#define OWED_MAX 40
#define PATTERN_BYTES 65521 /* a prime: no two blocks of a body are the same */
#define LEASE_MESSAGES 8
#define CLOSE_TURNS 3

struct store_history history;

enum live_state { LIVE_FREE, LIVE_IDLE, LIVE_BUSY };

/* A message in delivery. */
struct live {
    struct ring_op op;
    enum live_state state;
    struct message *message;
    struct fact *fact;
    bool is_leaving;
};

enum upload_state { UPLOAD_FREE, UPLOAD_STREAMING, UPLOAD_WAITING, UPLOAD_FINISHING };

struct upload {
    struct ring_op op;
    enum upload_state state;
    struct put *put;
    struct fact *fact;
    uint64_t at;
};

static struct {
    struct upload uploads[UPLOADS_MAX];
    struct live live[LIVE_MAX];
    struct lease lease;
    bool is_leasing;
    char pattern[PATTERN_BYTES];
    bool has_pattern;
} work;

/* --- the store --- */

static void on_fatal(void *owner, int err)
{
    (void)owner;
    history.fatal = err;
}

int store_open(const char *directory, uint32_t memory_messages_max, char *why, size_t why_cap)
{
    const struct loop_options loop = {
        .submission_count = 64, .socket_count_max = 4, .input_count = 4};
    const struct blocks_options blocks = {
        .small_count = 64, .large_count = 24, .large_reserve_count = 8};
    history.fatal = 0;
    memset(work.uploads, 0, sizeof(work.uploads));
    memset(work.live, 0, sizeof(work.live));
    work.is_leasing = false;
    int err = loop_create(&loop, &history.loop, why, why_cap);
    if (err == 0) err = blocks_create(&blocks, &history.blocks);
    if (err == 0) err = spool_open(directory, &history.spool, why, why_cap);
    if (err == 0) err = spool_make_shards(history.spool, 1);
    if (err != 0) return err;
    const struct queue_options queue = {
        .loop = history.loop,
        .blocks = history.blocks,
        .spool = history.spool,
        .core_count = 1,
        .segment_bytes = SEGMENT_BYTES,
        .map_bytes_max = MAP_BYTES,
        .memory_messages_max = memory_messages_max,
        .on_fatal = on_fatal,
    };
    return queue_open(&queue, &history.queue, why, why_cap);
}

void store_close(void)
{
    queue_close(history.queue);
    spool_close(history.spool);
    for (int i = 0; i < CLOSE_TURNS; i++)
        (void)!loop_turn(history.loop, false);
    blocks_destroy(history.blocks);
    loop_destroy(history.loop);
    history.queue = NULL;
    history.loop = NULL;
}

/* What is handed to the queue outside of a turn begins with the next one. */
static void go_until(const bool *is_over)
{
    loop_wake(history.loop);
    while (!*is_over) {
        bool is_going = sim_step();
        ASSERT(is_going);
    }
}

static void wait_done(struct ring_op *op)
{
    CONTAINER_OF(op, struct store_wait, op)->is_over = true;
}

struct ring_op *store_wait_begin(struct store_wait *wait)
{
    *wait = (struct store_wait){.op = {.done = wait_done}};
    return &wait->op;
}

int store_wait_end(struct store_wait *wait)
{
    go_until(&wait->is_over);
    return wait->op.result;
}

struct lease_wait {
    struct lease lease;
    bool is_over;
};

static void lease_wait_done(struct ring_op *op)
{
    struct lease *lease = CONTAINER_OF(op, struct lease, op);
    CONTAINER_OF(lease, struct lease_wait, lease)->is_over = true;
}

int store_lease(struct lease *lease, uint32_t count_max)
{
    struct lease_wait wait = {.lease = {.op = {.done = lease_wait_done}, .count_max = count_max}};
    queue_lease(history.queue, &wait.lease);
    go_until(&wait.is_over);
    *lease = wait.lease;
    list_init(&lease->messages);
    struct list *node;
    while ((node = list_pop_front(&wait.lease.messages)) != NULL)
        list_push_back(&lease->messages, node);
    return lease->op.result;
}

/* --- bodies and envelopes --- */

static void make_pattern(void)
{
    uint64_t state = 1;
    for (size_t i = 0; i < PATTERN_BYTES; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        work.pattern[i] = (char)(state >> 40);
    }
    work.has_pattern = true;
}

static size_t pattern_at(const struct fact *fact, uint64_t at)
{
    if (!work.has_pattern) make_pattern();
    return ((uint64_t)(fact - history.facts->list) * 7919 + at) % PATTERN_BYTES;
}

static void fill_body(char *into, const struct fact *fact, uint64_t at, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t from = pattern_at(fact, at + done);
        size_t some = MIN(PATTERN_BYTES - from, bytes - done);
        memcpy(into + done, work.pattern + from, some);
        done += some;
    }
}

bool fact_body_fits(const struct fact *fact, uint64_t at, struct slice bytes)
{
    for (size_t done = 0; done < bytes.len;) {
        size_t from = pattern_at(fact, at + done);
        size_t some = MIN(PATTERN_BYTES - from, bytes.len - done);
        if (memcmp(bytes.data + done, work.pattern + from, some) != 0) return false;
        done += some;
    }
    return true;
}

struct fact *fact_of(const struct message *message)
{
    char text[16] = "";
    struct slice sender = message->envelope.sender;
    if (sender.len == 0 || sender.len >= sizeof(text)) return NULL;
    memcpy(text, sender.data, sender.len);
    unsigned long number = strtoul(text, NULL, 10);
    return number < history.facts->count ? &history.facts->list[number] : NULL;
}

uint8_t fact_recipients(const struct message *message)
{
    uint8_t states = 0;
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++)
        states |= (uint8_t)(message->envelope.recipients[i].state << (2 * i));
    return states;
}

int store_read_body(struct message *message, const struct fact *fact)
{
    struct body_reader reader;
    body_open(&reader, history.queue, message);
    uint64_t at = 0;
    int err = 0;
    for (;;) {
        struct store_wait wait;
        if (!body_read(&reader, store_wait_begin(&wait))) err = store_wait_end(&wait);
        if (err != 0 || reader.bytes.len == 0) break;
        if (!fact_body_fits(fact, at, reader.bytes)) err = -ERR_INVALID;
        if (err != 0) break;
        at += reader.bytes.len;
    }
    if (err == 0 && at != fact->bytes) err = -ERR_INVALID;
    struct store_wait closed;
    if (!body_close(&reader, store_wait_begin(&closed))) (void)store_wait_end(&closed);
    return err;
}

/* --- what comes in --- */

static uint64_t some_bytes(void)
{
    static const uint64_t limits[] = {1, 2, 300, 5000, 9000, 70000, 200000, 1300000};
    unsigned most = sim_below(40) == 0 ? 8 : sim_below(10) == 0 ? 7 : 6;
    return sim_below(limits[sim_below(most)]);
}

static void keep_live(struct message *message, struct fact *fact)
{
    for (unsigned i = 0; i < LIVE_MAX; i++) {
        struct live *live = &work.live[i];
        if (live->state != LIVE_FREE) continue;
        *live = (struct live){.state = LIVE_IDLE, .message = message, .fact = fact};
        fact->is_in_memory = true;
        return;
    }
    ASSERT(false);
}

static void put_done(struct ring_op *op)
{
    struct upload *upload = CONTAINER_OF(op, struct upload, op);
    struct fact *fact = upload->fact;
    upload->state = UPLOAD_FREE;
    fact->is_in_memory = false;
    if (op->result != 0) {
        fact->state = op->result == -ERR_FAILED_SYNC ? FACT_DOUBTED : FACT_REFUSED;
        queue_put_abort(upload->put);
        return;
    }
    fact->state = FACT_OWED;
    struct message *message = queue_put_take(upload->put);
    if (message != NULL) keep_live(message, fact);
}

static void finish_upload(struct upload *upload)
{
    struct fact *fact = upload->fact;
    char sender[16];
    snprintf(sender, sizeof(sender), "%u", (unsigned)(fact - history.facts->list));
    struct recipient recipients[FACT_RECIPIENTS_MAX];
    for (uint32_t i = 0; i < fact->recipient_count; i++)
        recipients[i] = (struct recipient){.address = SLICE("someone@example.test")};
    const struct envelope envelope = {.sender = slice_of_cstr(sender),
                                      .helo = SLICE("client.example"),
                                      .client = SLICE("192.0.2.1"),
                                      .listener = SLICE("mx"),
                                      .received_ms = sim_wall_ms(),
                                      .recipients = recipients,
                                      .recipient_count = fact->recipient_count};
    upload->state = UPLOAD_FINISHING;
    upload->op.done = put_done;
    if (history.acks_early) fact->state = FACT_OWED;
    queue_put_finish(upload->put, fact->bytes, &envelope, &upload->op);
}

static void break_off(struct upload *upload)
{
    upload->fact->state = FACT_REFUSED;
    upload->fact->is_in_memory = false;
    queue_put_abort(upload->put);
    upload->state = UPLOAD_FREE;
}

static void room_done(struct ring_op *op)
{
    struct upload *upload = CONTAINER_OF(op, struct upload, op);
    if (upload->state != UPLOAD_WAITING) return; /* it was broken off */
    upload->state = UPLOAD_STREAMING;
    if (op->result != 0) break_off(upload);
}

static void stream(struct upload *upload)
{
    uint64_t left = upload->fact->bytes - upload->at;
    if (left == 0) {
        finish_upload(upload);
        return;
    }
    size_t room;
    char *space = queue_put_space(upload->put, &room);
    if (room == 0) {
        upload->state = UPLOAD_WAITING;
        upload->op.done = room_done;
        queue_put_wait(upload->put, &upload->op);
        return;
    }
    size_t bytes = (size_t)MIN((uint64_t)room, left);
    if (sim_below(4) == 0) bytes = 1 + sim_below(bytes);
    fill_body(space, upload->fact, upload->at, bytes);
    upload->at += bytes;
    queue_put_advance(upload->put, bytes);
}

static bool begin_upload(struct upload *upload)
{
    if (history.facts->count == FACTS_MAX) return false;
    uint64_t bytes = some_bytes();
    struct put *put;
    if (queue_put_begin(history.queue, sim_below(2) == 0 ? bytes : 0, &put) != 0) return false;
    struct fact *fact = &history.facts->list[history.facts->count++];
    *fact = (struct fact){.bytes = bytes,
                          .recipient_count = 1 + (uint32_t)sim_below(FACT_RECIPIENTS_MAX),
                          .is_in_memory = true};
    *upload = (struct upload){.state = UPLOAD_STREAMING, .put = put, .fact = fact};
    return true;
}

static unsigned owed_count(void)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < history.facts->count; i++)
        count += history.facts->list[i].state == FACT_OWED;
    return count;
}

static void act_on_upload(void)
{
    struct upload *upload = &work.uploads[sim_below(UPLOADS_MAX)];
    if (upload->state == UPLOAD_FREE && owed_count() < OWED_MAX) (void)begin_upload(upload);
    if (upload->state != UPLOAD_STREAMING) return;
    if (sim_below(50) == 0) {
        break_off(upload);
        return;
    }
    unsigned steps = 1 + (unsigned)sim_below(8);
    while (steps-- > 0 && upload->state == UPLOAD_STREAMING)
        stream(upload);
}

/* --- what goes out --- */

static struct live *some_live(void)
{
    unsigned from = (unsigned)sim_below(LIVE_MAX);
    for (unsigned i = 0; i < LIVE_MAX; i++) {
        struct live *live = &work.live[(from + i) % LIVE_MAX];
        if (live->state == LIVE_IDLE) return live;
    }
    return NULL;
}

/* What an attempt makes of the recipients. True: nothing is left to be done. */
static bool attempt(struct message *message)
{
    bool is_left = false;
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++) {
        struct recipient *recipient = &message->envelope.recipients[i];
        unsigned outcome = (unsigned)sim_below(8);
        if (recipient->state != RECIPIENT_QUEUED) {
            if (outcome < 4) recipient->report = REPORT_NONE;
        } else if (outcome < 4) {
            recipient->state = RECIPIENT_DELIVERED;
        } else if (outcome == 4) {
            recipient->state = RECIPIENT_FAILED;
            recipient->report = REPORT_FAILED;
        } else {
            recipient->attempts++;
        }
        recipient->next_ms = sim_wall_ms() + sim_below(5000);
        is_left =
            is_left || recipient->state == RECIPIENT_QUEUED || recipient->report != REPORT_NONE;
    }
    return !is_left;
}

static void update_done(struct ring_op *op)
{
    struct live *live = CONTAINER_OF(op, struct live, op);
    live->state = LIVE_IDLE;
    if (op->result == 0) live->fact->recipients = live->fact->recipients_next;
}

static void settle_done(struct ring_op *op)
{
    struct live *live = CONTAINER_OF(op, struct live, op);
    struct fact *fact = live->fact;
    live->state = LIVE_FREE;
    if (op->result != 0) return; /* either, from now on */
    fact->is_in_memory = false;
    fact->recipients = fact->recipients_next;
    if (live->is_leaving) fact->state = FACT_GONE;
}

static void act_on_live(void)
{
    struct live *live = some_live();
    if (live == NULL) return;
    struct message *message = live->message;
    struct fact *fact = live->fact;
    unsigned choice = (unsigned)sim_below(16);
    if (choice == 0) {
        int err = store_read_body(message, fact);
        ASSERT(err == 0 || history.fatal != 0);
        return;
    }
    if (choice == 1) {
        fact->is_in_memory = false;
        live->state = LIVE_FREE;
        queue_put_back(history.queue, message);
        return;
    }
    live->is_leaving = attempt(message);
    fact->recipients_next = fact_recipients(message);
    live->state = LIVE_BUSY;
    if (choice < 4 && !live->is_leaving) {
        live->op.done = update_done;
        queue_update(history.queue, message, &live->op);
        return;
    }
    if (live->is_leaving) fact->state = FACT_LEAVING;
    live->op.done = settle_done;
    queue_settle(history.queue, message, &live->op);
}

static void lease_done(struct ring_op *op)
{
    struct lease *lease = CONTAINER_OF(op, struct lease, op);
    struct list *node;
    work.is_leasing = false;
    if (op->result < 0) return;
    while ((node = list_pop_front(&lease->messages)) != NULL) {
        struct message *message = LIST_ENTRY(node, struct message, node);
        struct fact *fact = fact_of(message);
        ASSERT(fact != NULL && !fact->is_in_memory);
        keep_live(message, fact);
    }
}

static void act_lease(void)
{
    if (work.is_leasing) return;
    work.is_leasing = true;
    work.lease = (struct lease){.op = {.done = lease_done}, .count_max = LEASE_MESSAGES};
    queue_lease(history.queue, &work.lease);
}

/* --- what an operator does --- */

struct id_search {
    const struct fact *fact;
    uint64_t id;
};

static void look_at(void *owner, enum queue_item_state state, uint64_t due_ms,
                    const struct message *message)
{
    struct id_search *search = owner;
    (void)state;
    (void)due_ms;
    if (fact_of(message) == search->fact) search->id = message->id;
}

static void act_edit(void)
{
    if (work.is_leasing || history.facts->count == 0) return;
    struct fact *fact = &history.facts->list[sim_below(history.facts->count)];
    if (fact->state != FACT_OWED || fact->is_in_memory) return;
    struct id_search search = {.fact = fact};
    struct queue_page page = {.count_max = FACTS_MAX, .item = look_at, .owner = &search};
    int err = queue_list(history.queue, &page);
    if (err != 0) return;
    ASSERT(search.id != 0 || history.fatal != 0);
    static const enum queue_edit_kind kinds[] = {EDIT_RETRY, EDIT_HOLD, EDIT_RELEASE, EDIT_REMOVE,
                                                 EDIT_BOUNCE};
    struct queue_edit edit = {.kind = kinds[sim_below(ARRAY_LEN(kinds))],
                              .id = search.id,
                              .reason = SLICE("5.7.1 by hand")};
    if (edit.kind == EDIT_HOLD) fact->is_held_next = true;
    if (edit.kind == EDIT_RELEASE || edit.kind == EDIT_BOUNCE) fact->is_held_next = false;
    if (edit.kind == EDIT_REMOVE) fact->state = FACT_LEAVING;
    for (uint32_t i = 0; edit.kind == EDIT_BOUNCE && i < fact->recipient_count; i++)
        if ((fact->recipients >> (2 * i) & 3) == RECIPIENT_QUEUED)
            fact->recipients_next |= (uint8_t)(RECIPIENT_FAILED << (2 * i));
    err = queue_edit(history.queue, &edit, 1);
    bool is_undone = err == 0 && (edit.result == -ERR_INVALID || edit.result == -ERR_NOT_FOUND);
    if (is_undone) {
        fact->is_held_next = fact->is_held;
        fact->recipients_next = fact->recipients;
        if (fact->state == FACT_LEAVING) fact->state = FACT_OWED;
    } else if (err == 0 && edit.result == 0) {
        fact->is_held = fact->is_held_next;
        fact->recipients = fact->recipients_next;
        if (fact->state == FACT_LEAVING) fact->state = FACT_GONE;
    }
}

/* --- restarts, and the whole --- */

static bool is_busy(void)
{
    for (unsigned i = 0; i < UPLOADS_MAX; i++)
        if (work.uploads[i].state == UPLOAD_FINISHING) return true;
    for (unsigned i = 0; i < LIVE_MAX; i++)
        if (work.live[i].state == LIVE_BUSY) return true;
    return work.is_leasing;
}

void store_give_back(void)
{
    for (unsigned i = 0; i < UPLOADS_MAX; i++) {
        enum upload_state state = work.uploads[i].state;
        if (state == UPLOAD_STREAMING || state == UPLOAD_WAITING) break_off(&work.uploads[i]);
    }
    loop_wake(history.loop);
    while (is_busy() && history.fatal == 0) {
        bool is_going = sim_step();
        ASSERT(is_going);
    }
    for (unsigned i = 0; i < LIVE_MAX; i++) {
        struct live *live = &work.live[i];
        if (live->state != LIVE_IDLE) continue;
        live->state = LIVE_FREE;
        live->fact->is_in_memory = false;
        queue_return(history.queue, live->message);
    }
}

static void act(void)
{
    unsigned choice = (unsigned)sim_below(100);
    if (choice < 55)
        act_on_upload();
    else if (choice < 85)
        act_on_live();
    else if (choice < 95)
        act_lease();
    else
        act_edit();
    uint64_t pause_ns = sim_below(20) == 0 ? sim_below(3 * NS_PER_S) : sim_below(5 * NS_PER_MS);
    loop_wake(history.loop);
    sim_run_until(sim_now_ns() + pause_ns);
}

void store_history_run(const char *directory, unsigned actions)
{
    char why[512];
    int err = store_open(directory, MEMORY_MESSAGES, why, sizeof(why));
    if (err != 0) return; /* the disk fails already */
    for (unsigned i = 0; i < actions && history.fatal == 0; i++) {
        act();
        if (history.fatal != 0 || sim_below(100) != 0) continue;
        store_give_back();
        if (history.fatal != 0) break;
        store_close();
        if (store_open(directory, MEMORY_MESSAGES, why, sizeof(why)) != 0) return;
    }
    if (history.fatal == 0) store_give_back();
    if (history.fatal == 0) store_close();
}

int store_put_one(void)
{
    static struct upload upload;
    if (!begin_upload(&upload)) return -ERR_FULL;
    upload.fact->bytes = 3000;
    while (upload.state == UPLOAD_STREAMING)
        stream(&upload);
    loop_wake(history.loop);
    while (upload.state != UPLOAD_FREE) {
        bool is_going = sim_step();
        ASSERT(is_going);
    }
    return upload.fact->state == FACT_OWED ? 0 : -ERR_IO;
}
