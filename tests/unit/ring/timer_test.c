/* timer_test.c - the wheel against the rule: a timer fires within one tick after its deadline,
 * never before, whatever the steps in which time moves. */
#include "ring/base/clock.h"
#include "ring/loop.h"
#include "ring/timer.h"
#include "tests/support/test.h"

#define TICK_NS (TIMER_TICK_MS * NS_PER_MS)
#define START_NS 123456789ull /* no multiple of a tick */
#define DAY_MS (24ull * 3600 * 1000)

/* The two things that timers want of a loop, in place of the real one. */
struct loop {
    struct timer_wheel *wheel;
    uint64_t now_ns;
};

struct timer_wheel *loop_timers(struct loop *loop)
{
    return loop->wheel;
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

static struct loop fake;

struct probe {
    struct timer timer;
    uint64_t deadline_ns, fired_ns;
    uint32_t fired_count;
    uint64_t again_ms; /* not 0: arms itself again */
    struct probe *victim;
};

static void probe_fire(struct timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    CHECK(!timer_is_armed(timer));
    p->fired_ns = fake.now_ns;
    p->fired_count++;
    if (p->again_ms != 0) timer_arm(&fake, timer, p->again_ms);
    if (p->victim != NULL) timer_disarm(&p->victim->timer);
}

static void probe_arm(struct probe *p, uint64_t delay_ms)
{
    p->deadline_ns = fake.now_ns + delay_ms * NS_PER_MS;
    timer_arm(&fake, &p->timer, delay_ms);
}

static void begin(struct probe *probes, size_t count)
{
    fake = (struct loop){timer_wheel_create(START_NS), START_NS};
    for (size_t i = 0; i < count; i++) {
        probes[i] = (struct probe){0};
        timer_init(&probes[i].timer, probe_fire);
    }
}

static void end(void)
{
    timer_wheel_destroy(fake.wheel);
}

static void move_to(uint64_t now_ns)
{
    fake.now_ns = now_ns;
    timer_wheel_advance(fake.wheel, now_ns);
}

static const uint64_t delays_ms[] = {
    0,       1,       7,       8,       9,      15,         16,
    17,      63 * 8,  64 * 8,  500,     511,    512,        513,
    4000,    32767,   32768,   32769,   60000,  300000,     600000,
    2097151, 2097152, 2097153, 3600000, DAY_MS, 2 * DAY_MS, TIMER_DELAY_MS_MAX,
};

TEST(a_timer_fires_within_a_tick_after_its_deadline)
{
    for (size_t i = 0; i < ARRAY_LEN(delays_ms); i++) {
        /* Armed at different places of the wheel, also just before its levels turn over. */
        static const uint64_t before_ticks[] = {0, 1, 63, 64, 4095, 4096, 262143, 16777215};
        for (size_t k = 0; k < ARRAY_LEN(before_ticks); k++) {
            struct probe p;
            begin(&p, 1);
            move_to(START_NS + before_ticks[k] * TICK_NS + k);
            probe_arm(&p, delays_ms[i]);
            CHECK(timer_is_armed(&p.timer));
            move_to(p.deadline_ns - (delays_ms[i] > 0));
            CHECK_EQ("not before", p.fired_count, 0);
            move_to(p.deadline_ns + TICK_NS);
            CHECK_EQ("at most a tick after", p.fired_count, 1);
            move_to(p.deadline_ns + 100 * DAY_MS * NS_PER_MS);
            CHECK_EQ("once", p.fired_count, 1);
            end();
        }
    }
}

TEST(waiting_as_the_wheel_asks_meets_every_deadline)
{
    for (size_t i = 0; i < ARRAY_LEN(delays_ms); i++) {
        struct probe p;
        begin(&p, 1);
        CHECK(timer_wheel_wait_ns(fake.wheel, fake.now_ns) == UINT64_MAX);
        move_to(START_NS + 12345 * NS_PER_MS + 1);
        probe_arm(&p, delays_ms[i]);
        unsigned wakes = 0;
        while (p.fired_count == 0 && wakes < 10) {
            uint64_t wait_ns = timer_wheel_wait_ns(fake.wheel, fake.now_ns);
            CHECK(wait_ns > 0 && wait_ns != UINT64_MAX);
            move_to(fake.now_ns + wait_ns);
            wakes++;
        }
        CHECK(wakes <= 5); /* one a level */
        CHECK(p.fired_ns >= p.deadline_ns);
        CHECK(p.fired_ns <= p.deadline_ns + TICK_NS);
        CHECK(timer_wheel_wait_ns(fake.wheel, fake.now_ns) == UINT64_MAX);
        end();
    }
}

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static uint64_t random_delay_ms(void)
{
    return random_below(1ull << (1 + random_below(30))) % (TIMER_DELAY_MS_MAX + 1);
}

/* Checks every probe after time moved from `before_ns` to now. */
static void check_probes(struct probe *probes, bool *armed, size_t count, uint64_t before_ns)
{
    for (size_t i = 0; i < count; i++) {
        struct probe *p = &probes[i];
        if (!armed[i]) {
            CHECK_EQ("disarmed", p->fired_count, 0);
        } else if (p->fired_count > 0) {
            CHECK_EQ("once", p->fired_count, 1);
            CHECK(p->fired_ns >= p->deadline_ns);
            /* It was not due a tick ago, when time last moved. */
            CHECK(before_ns < p->deadline_ns + TICK_NS);
            armed[i] = false;
            p->fired_count = 0;
        } else {
            CHECK(fake.now_ns < p->deadline_ns + TICK_NS);
        }
        CHECK_EQ("armed", timer_is_armed(&p->timer), armed[i]);
    }
}

TEST(many_timers_armed_moved_and_disarmed_at_random)
{
    enum { COUNT = 100 };
    static struct probe probes[COUNT];
    bool armed[COUNT] = {false};
    random_state = 88172645463325252ull;
    begin(probes, COUNT);
    for (unsigned round = 0; round < 5000; round++) {
        for (unsigned k = 0; k < 5; k++) {
            size_t i = random_below(COUNT);
            if (random_below(4) == 0) {
                timer_disarm(&probes[i].timer);
                armed[i] = false;
            } else {
                probe_arm(&probes[i], random_delay_ms());
                armed[i] = true;
            }
        }
        uint64_t before_ns = fake.now_ns;
        uint64_t step_ns = random_below(1ull << (1 + random_below(45)));
        uint64_t wait_ns = timer_wheel_wait_ns(fake.wheel, fake.now_ns);
        if (round % 3 == 0 && wait_ns != UINT64_MAX) step_ns = wait_ns;
        move_to(before_ns + step_ns);
        check_probes(probes, armed, COUNT, before_ns);
    }
    end();
}

TEST(fire_may_arm_again_and_gets_its_next_turn)
{
    struct probe p;
    begin(&p, 1);
    p.again_ms = 1;
    probe_arm(&p, 0);
    move_to(START_NS + 1000 * TICK_NS);
    CHECK_EQ("one turn", p.fired_count, 1);
    for (unsigned i = 1; i <= 10; i++) {
        move_to(START_NS + (1000 + i) * TICK_NS);
        CHECK_EQ("a turn each", p.fired_count, 1 + i);
    }
    timer_disarm(&p.timer);
    move_to(START_NS + 2000 * TICK_NS);
    CHECK_EQ("disarmed", p.fired_count, 11);
    end();
}

static void at_once_fire(struct timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    p->fired_count++;
    if (p->fired_count < 100) timer_arm(&fake, timer, 0);
}

TEST(a_timer_without_delay_fires_once_a_tick_and_the_wheel_wants_it)
{
    struct probe p;
    begin(&p, 1);
    timer_init(&p.timer, at_once_fire);
    move_to(START_NS + 10 * TICK_NS); /* right on a tick */
    timer_arm(&fake, &p.timer, 0);
    CHECK_EQ("wait", timer_wheel_wait_ns(fake.wheel, fake.now_ns), TICK_NS);
    for (unsigned i = 1; i <= 10; i++) {
        move_to(START_NS + (10 + i) * TICK_NS);
        CHECK_EQ("once a tick", p.fired_count, i);
        CHECK_EQ("wait", timer_wheel_wait_ns(fake.wheel, fake.now_ns), TICK_NS);
    }
    end();
}

TEST(fire_may_disarm_another_that_is_due)
{
    struct probe probes[3];
    begin(probes, 3);
    probes[0].victim = &probes[1];
    for (size_t i = 0; i < 3; i++) {
        probe_arm(&probes[i], 100);
    }
    move_to(START_NS + NS_PER_S);
    CHECK_EQ("first", probes[0].fired_count, 1);
    CHECK_EQ("victim", probes[1].fired_count, 0);
    CHECK(!timer_is_armed(&probes[1].timer));
    CHECK_EQ("last", probes[2].fired_count, 1);
    end();
}

static struct probe *fired_order[8];
static size_t fired_order_count;

static void order_fire(struct timer *timer)
{
    fired_order[fired_order_count++] = CONTAINER_OF(timer, struct probe, timer);
}

TEST(timers_fire_in_the_order_of_their_deadlines_after_a_jump)
{
    static const uint64_t delays[] = {600000, 50, DAY_MS, 5000, 100, 40000000, 4990};
    static const size_t want[] = {1, 4, 6, 3, 0, 5, 2};
    struct probe probes[ARRAY_LEN(delays)];
    begin(probes, ARRAY_LEN(probes));
    fired_order_count = 0;
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        timer_init(&probes[i].timer, order_fire);
        probe_arm(&probes[i], delays[i]);
    }
    move_to(START_NS + 3 * DAY_MS * NS_PER_MS);
    CHECK_EQ("all", fired_order_count, ARRAY_LEN(probes));
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        CHECK_EQ("order", fired_order[i] - probes, want[i]);
    }
    end();
}

TEST(a_longer_delay_is_cut_and_a_huge_jump_is_one_step)
{
    struct probe p;
    begin(&p, 1);
    move_to(START_NS + 100ull * 365 * DAY_MS * NS_PER_MS); /* a century idle */
    probe_arm(&p, TIMER_DELAY_MS_MAX);
    timer_arm(&fake, &p.timer, UINT64_MAX);
    move_to(p.deadline_ns - 1);
    CHECK_EQ("not before", p.fired_count, 0);
    move_to(p.deadline_ns + TICK_NS);
    CHECK_EQ("cut", p.fired_count, 1);
    end();
}

TEST(disarmed_timers_do_not_wake_the_loop)
{
    struct probe probes[64];
    begin(probes, ARRAY_LEN(probes));
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        probe_arm(&probes[i], 1 + i * i * i);
    }
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        timer_disarm(&probes[i].timer);
        timer_disarm(&probes[i].timer);
    }
    CHECK(timer_wheel_wait_ns(fake.wheel, fake.now_ns) == UINT64_MAX);
    probe_arm(&probes[0], 10);
    uint64_t wait_ns = timer_wheel_wait_ns(fake.wheel, fake.now_ns);
    CHECK(wait_ns >= 10 * NS_PER_MS && wait_ns <= 10 * NS_PER_MS + TICK_NS);
    CHECK_EQ("late already", timer_wheel_wait_ns(fake.wheel, fake.now_ns + NS_PER_S), 0);
    move_to(START_NS + NS_PER_S);
    CHECK_EQ("fired", probes[0].fired_count, 1);
    end();
}

TEST(time_that_stands_or_goes_back_fires_nothing)
{
    struct probe p;
    begin(&p, 1);
    move_to(START_NS + NS_PER_S);
    probe_arm(&p, 0);
    move_to(START_NS + NS_PER_S);
    move_to(START_NS);
    move_to(0);
    CHECK_EQ("fired", p.fired_count, 0);
    move_to(START_NS + NS_PER_S + TICK_NS);
    CHECK_EQ("fired", p.fired_count, 1);
    end();
    timer_wheel_destroy(NULL);
}

TEST(timers_left_when_the_wheel_ends_are_not_armed)
{
    struct probe p;
    begin(&p, 1);
    probe_arm(&p, 1000);
    end();
    CHECK(!timer_is_armed(&p.timer));
}
