/* slots_test.c - the limit over several users, who is woken, and what each may keep. */
#include "server/delivery/slots.h"

#include "ring/base/clock.h"
#include "tests/support/test.h"

#include <pthread.h>

static unsigned changed_count[3];
static struct slots_user users[3];

static void on_changed(struct slots_user *user)
{
    changed_count[user - users]++;
}

struct fixture {
    struct loop *loop;
    struct delivery_slots *slots;
};

static struct fixture begin(void)
{
    struct fixture f = {NULL, delivery_slots_create()};
    char why[256] = "";
    struct loop_options options = {
        .submission_count = 64, .socket_count_max = 16, .input_count = 16};
    if (loop_create(&options, &f.loop, why, sizeof(why)) != 0) printf("%s\n", why);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        changed_count[i] = 0;
        slots_join(f.slots, SLICE("192.0.2.1:25 "), f.loop, on_changed, &users[i]);
    }
    return f;
}

static void turn(struct fixture *f)
{
    int err = loop_turn(f->loop, false);
    CHECK_EQ("turn", err, 0);
}

static void end(struct fixture *f)
{
    turn(f);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        /* Who leaves tells those that wait, and mail on its way is waited for. */
        if (!slots_leave(&users[i])) {
            turn(f);
            CHECK(slots_leave(&users[i]));
        }
    }
    delivery_slots_destroy(f->slots);
    loop_destroy(f->loop);
}

TEST(the_limit_holds_over_all_users)
{
    struct fixture f = begin();
    CHECK(slots_take(&users[0], 2));
    CHECK(slots_take(&users[1], 2));
    CHECK(!slots_take(&users[2], 2));
    CHECK(!slots_take(&users[0], 2));
    CHECK(slots_take(&users[2], 3));
    slots_give(&users[0]);
    slots_give(&users[1]);
    slots_give(&users[2]);
    end(&f);
}

TEST(who_waits_is_told_and_holders_are_asked)
{
    struct fixture f = begin();
    CHECK(slots_take(&users[0], 1));
    CHECK(!slots_are_wanted(&users[0]));
    CHECK(!slots_take(&users[1], 1));
    CHECK(slots_are_wanted(&users[0]));
    CHECK(!slots_are_wanted(&users[1])); /* its own wish does not count */
    turn(&f);
    CHECK_EQ("the holder is asked", changed_count[0], 1);
    CHECK_EQ("others are not", changed_count[2], 0);

    CHECK(!slots_take(&users[1], 1));
    turn(&f);
    CHECK_EQ("and once", changed_count[0], 1);

    slots_give(&users[0]);
    turn(&f);
    CHECK_EQ("the waiting one is told", changed_count[1], 1);
    CHECK(slots_take(&users[1], 1));
    CHECK(!slots_are_wanted(&users[0]));
    slots_give(&users[1]);
    end(&f);
}

TEST(a_wish_can_be_taken_back)
{
    struct fixture f = begin();
    CHECK(slots_take(&users[0], 1));
    CHECK(!slots_take(&users[1], 1));
    slots_wait_cancel(&users[1]);
    CHECK(!slots_are_wanted(&users[0]));
    slots_give(&users[0]);
    end(&f);
}

TEST(wishes_are_served_in_their_order)
{
    struct fixture f = begin();
    CHECK(slots_take(&users[0], 1));
    CHECK(!slots_take(&users[1], 1));
    CHECK(!slots_take(&users[2], 1));
    slots_give(&users[0]);
    CHECK(!slots_take(&users[0], 1)); /* who had it comes last */
    CHECK(!slots_take(&users[2], 1));
    CHECK(slots_take(&users[1], 1));
    slots_give(&users[1]);
    turn(&f);
    changed_count[0] = 0;
    slots_wait_cancel(&users[2]); /* and who gives up its turn passes it on */
    turn(&f);
    CHECK_EQ("told", changed_count[0], 1);
    CHECK(slots_take(&users[0], 1));
    slots_give(&users[0]);
    end(&f);
}

TEST(a_user_with_mail_on_its_way_stays)
{
    struct fixture f = begin();
    CHECK(slots_take(&users[0], 1));
    CHECK(!slots_take(&users[1], 1));
    slots_give(&users[0]);
    CHECK(!slots_leave(&users[0]));
    turn(&f);
    end(&f);
}

TEST(shares_are_even_and_zero_when_turns_are_needed)
{
    struct fixture f = begin();
    CHECK(slots_take(&users[0], 2));
    CHECK(slots_take(&users[0], 2));
    CHECK(!slots_take(&users[1], 2));
    CHECK_EQ("two users", slots_share(&users[0], 2), 1);
    CHECK(!slots_take(&users[2], 2));
    CHECK_EQ("three users", slots_share(&users[0], 2), 0);
    slots_give(&users[0]);
    slots_give(&users[0]);
    end(&f);
}

/* --- two cores that compete --- */

#define TURNS_MAX 500

struct competitor {
    struct delivery_slots *slots;
    struct slots_user user;
    pthread_t thread;
    unsigned taken;
    bool is_holding;
};

static unsigned holders, holders_max; /* atomic */

static void try_to_take(struct slots_user *user)
{
    struct competitor *c = CONTAINER_OF(user, struct competitor, user);
    if (c->is_holding || c->taken == TURNS_MAX || !slots_take(user, 1)) return;
    c->is_holding = true;
    c->taken++;
    unsigned now = __atomic_add_fetch(&holders, 1, __ATOMIC_SEQ_CST);
    if (now > holders_max) holders_max = now;
}

static void give_back(struct competitor *c)
{
    c->is_holding = false;
    __atomic_fetch_sub(&holders, 1, __ATOMIC_SEQ_CST);
    slots_give(&c->user);
}

static void *competitor_main(void *argument)
{
    struct competitor *c = argument;
    struct loop *loop = NULL;
    char why[256] = "";
    struct loop_options options = {
        .submission_count = 64, .socket_count_max = 16, .input_count = 16};
    if (loop_create(&options, &loop, why, sizeof(why)) != 0) {
        printf("%s\n", why);
        exit(1);
    }
    slots_join(c->slots, SLICE("192.0.2.1:25 "), loop, try_to_take, &c->user);
    try_to_take(&c->user);
    while (c->taken < TURNS_MAX || c->is_holding) {
        /* Who was refused sleeps until it is told. */
        if (loop_turn(loop, !c->is_holding) != 0) exit(1);
        if (c->is_holding) give_back(c);
        try_to_take(&c->user);
    }
    while (!slots_leave(&c->user))
        if (loop_turn(loop, true) != 0) exit(1);
    loop_destroy(loop);
    return NULL;
}

TEST(permissions_come_evenly_over_all_users)
{
    struct fixture f = begin();
    uint64_t now_ns = 1000 * NS_PER_S;
    /* At first a second's worth is in store. */
    for (unsigned i = 0; i < 10; i++)
        CHECK_EQ("in store", slots_take_token(&users[i % 3], 10, now_ns), 0);
    CHECK_EQ("none left", slots_take_token(&users[1], 10, now_ns), NS_PER_S / 10);
    now_ns += NS_PER_S / 10;
    CHECK_EQ("the next", slots_take_token(&users[2], 10, now_ns), 0);
    CHECK_EQ("only one", slots_take_token(&users[0], 10, now_ns), NS_PER_S / 10);
    /* What was not used for long is not saved up. */
    now_ns += 60 * NS_PER_S;
    unsigned taken = 0;
    while (slots_take_token(&users[0], 10, now_ns) == 0)
        taken++;
    CHECK_EQ("after a pause", taken, 10);
    end(&f);
}

/* Never both at once, and each gets all its turns: a lost wake-up would leave one asleep. */
TEST(two_cores_take_turns)
{
    struct delivery_slots *slots = delivery_slots_create();
    static struct competitor both[2];
    holders = holders_max = 0;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        both[i] = (struct competitor){.slots = slots};
        CHECK(pthread_create(&both[i].thread, NULL, competitor_main, &both[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        pthread_join(both[i].thread, NULL);
        CHECK_EQ("turns", both[i].taken, TURNS_MAX);
    }
    CHECK_EQ("at once", holders_max, 1);
    delivery_slots_destroy(slots);
}
