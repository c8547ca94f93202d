/* store_check.c - see store_check.h. */
#include "tests/scenario/store_check.h"

#include "tests/support/sim/sim.h"

#include <inttypes.h>

#define LATER_MS (40ull * 24 * 3600 * 1000) /* by then everything is due */

static struct store_check run;

/* --- what must be there --- */

static const char *state_name(const struct fact *fact)
{
    static const char *const names[] = {"not answered", "answered", "ending",
                                        "ended",        "refused",  "in doubt"};
    return names[fact->state];
}

static struct {
    uint64_t id;
    struct fact *fact;
} held[FACTS_MAX];
static unsigned held_count;

static void find(void *owner, enum queue_item_state state, uint64_t due_ms,
                 const struct message *message)
{
    uint64_t *count = owner;
    (void)due_ms;
    ++*count;
    if (state == ITEM_CORRUPT && run.may_be_corrupt) return;
    struct fact *fact = fact_of(message);
    if (fact == NULL || state == ITEM_CORRUPT) store_check_fail("a message without a sound record");
    unsigned number = (unsigned)(fact - history.facts->list);
    if (fact->seen++ > 0) store_check_fail("message %u is there twice", number);
    if (fact->state == FACT_GONE || fact->state == FACT_REFUSED)
        store_check_fail("message %u (%s) is there", number, state_name(fact));
    bool is_held = state == ITEM_HELD;
    if (is_held != fact->is_held && is_held != fact->is_held_next)
        store_check_fail("message %u is %sheld", number, is_held ? "" : "not ");
    if (is_held) {
        held[held_count].id = message->id;
        held[held_count++].fact = fact;
    }
    uint8_t recipients = fact_recipients(message);
    if (recipients != fact->recipients && recipients != fact->recipients_next)
        store_check_fail("message %u (%s): the states of its recipients are %02x, not %02x or %02x",
                         number, state_name(fact), recipients, fact->recipients,
                         fact->recipients_next);
}

/* Looks at the whole queue, releases what is held, and returns how many there are. */
static uint64_t find_all(void)
{
    uint64_t count = 0;
    held_count = 0;
    for (uint32_t i = 0; i < history.facts->count; i++)
        history.facts->list[i].seen = 0;
    struct queue_page page = {.count_max = FACTS_MAX, .item = find, .owner = &count};
    int err = queue_list(history.queue, &page);
    if (err != 0 || page.has_more) store_check_fail("the queue cannot be listed: %s", err_str(err));
    for (uint32_t i = 0; i < history.facts->count; i++) {
        const struct fact *fact = &history.facts->list[i];
        if (fact->state == FACT_OWED && fact->seen == 0)
            store_check_fail("LOST: message %u of %" PRIu64 " bytes", i, fact->bytes);
    }
    for (unsigned i = 0; i < held_count; i++) {
        struct queue_edit edit = {.kind = EDIT_RELEASE, .id = held[i].id};
        held[i].fact->is_held_next = false;
        err = queue_edit(history.queue, &edit, 1);
        if (err != 0 || edit.result != 0) store_check_fail("a held message cannot be released");
        held[i].fact->is_held = false;
    }
    return count;
}

/* --- and can be delivered --- */

static void deliver(struct message *message)
{
    struct fact *fact = fact_of(message);
    struct store_wait wait;
    if (fact == NULL || fact->seen == 0)
        store_check_fail("a message was leased that is not in the queue");
    int err = store_read_body(message, fact);
    if (err == -ERR_CORRUPT && run.may_be_corrupt) {
        run.corrupt++;
        queue_set_aside(history.queue, message, store_wait_begin(&wait));
        (void)store_wait_end(&wait);
        return;
    }
    if (err != 0)
        store_check_fail("message %u (%s): its body: %s", (unsigned)(fact - history.facts->list),
                         state_name(fact), err == -ERR_INVALID ? "other bytes" : err_str(err));
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++) {
        message->envelope.recipients[i].state = RECIPIENT_DELIVERED;
        message->envelope.recipients[i].report = REPORT_NONE;
    }
    fact->state = FACT_LEAVING; /* the power may go in here too */
    queue_settle(history.queue, message, store_wait_begin(&wait));
    err = store_wait_end(&wait);
    if (err != 0) store_check_fail("a message cannot be settled: %s", err_str(err));
    fact->state = FACT_GONE;
}

static uint64_t deliver_all(void)
{
    uint64_t count = 0;
    for (;;) {
        struct lease lease;
        struct list *node;
        int err = store_lease(&lease, 16);
        if (err < 0) store_check_fail("cannot lease: %s", err_str(err));
        if (err == 0 && lease.next_due_ms == UINT64_MAX) return count;
        if (err == 0) store_check_fail("a message is not due after all that time");
        while ((node = list_pop_front(&lease.messages)) != NULL) {
            count++;
            deliver(LIST_ENTRY(node, struct message, node));
        }
    }
}

static void open_state(const char *directory)
{
    char why[512] = "";
    int err = store_open(directory, FACTS_MAX, why, sizeof(why));
    if (err != 0) store_check_fail("the queue does not open: %s %s", err_str(err), why);
}

/* All of it is gone by now; a new message stays over the next start. */
static void go_on(const char *directory)
{
    int err = store_put_one();
    if (err != 0) store_check_fail("no message can be put: %s", err_str(err));
    store_give_back();
    store_close();
    open_state(directory);
    if (find_all() != 1) store_check_fail("a message was lost by a clean restart");
    if (deliver_all() != 1) store_check_fail("the queue is not empty in the end");
    store_close();
}

void store_check(struct store_check *check, const char *directory)
{
    run = *check;
    sim_begin(run.seed, 0, SIM_START_WALL_MS + LATER_MS);
    open_state(directory);
    uint64_t count = find_all();
    const struct queue_counters *counters = queue_counters(history.queue);
    loop_wake(history.loop);
    sim_run_until(sim_now_ns() + 3 * NS_PER_S); /* the counters follow */
    uint64_t counted = counter_get(&counters->queued) + counter_get(&counters->held);
    if (counted != count)
        store_check_fail("%" PRIu64 " messages are counted, %" PRIu64 " are there", counted, count);
    if (deliver_all() != count) store_check_fail("not every message was leased");
    run.found = count;
    /* What was found wrong stays, set aside. */
    if (!run.may_be_corrupt) go_on(directory);
    *check = run;
}
