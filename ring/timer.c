/* timer.c - the hierarchical timer wheel.
 *
 * Time is counted in ticks of TIMER_TICK_MS since the wheel was made, written here in digits of
 * base 64, one level of 64 slots for each digit. A timer sits on the level of the highest digit in
 * which its deadline differs from the wheel's tick, in the slot of the deadline's digit there.
 * From that follows all the rest:
 *
 *     level 2   [ . . . 5 . . ]    64^2 ticks a slot
 *     level 1   [ . 1 . . . . ]    64 ticks a slot
 *     level 0   [ . . . . 4 . ]    1 tick a slot: what is in it is due at that tick
 *
 * - slots in use on a level lie ahead of the wheel's own digit, so that no level wraps around;
 * - whatever is on a lower level is due before whatever is on a higher one, so that the first slot
 *   in use on the lowest level in use is the next event, and time may jump right to it;
 * - when the tick reaches the start of a slot, its timers differ from it only in lower digits, and
 *   move down to where they belong (at most once a level), or are due.
 *
 * A bitmap a level tells the slots in use. Disarming does not know the wheel, so its bit stays; it
 * is ignored while its slot is empty, and cleared when time comes past it. */
#include "ring/timer.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "ring/loop.h"

#include <stdlib.h>

#define TICK_NS (TIMER_TICK_MS * NS_PER_MS)
#define SLOT_BITS 6
#define SLOT_COUNT (1u << SLOT_BITS)
/* Seven digits are 1,000 years: the tick itself never runs out. */
#define LEVEL_COUNT 7

struct timer_wheel {
    uint64_t start_ns;
    uint64_t tick; /* everything due at this tick or before has been fired, or is in `due` */
    bool is_advancing;
    struct list due;
    uint64_t used[LEVEL_COUNT]; /* a bit a slot */
    struct list slots[LEVEL_COUNT][SLOT_COUNT];
};

void timer_init(struct timer *timer, void (*fire)(struct timer *timer))
{
    list_init(&timer->node);
    timer->deadline_tick = 0;
    timer->fire = fire;
}

static unsigned slot_of(uint64_t tick, unsigned level)
{
    return (unsigned)(tick >> (level * SLOT_BITS)) & (SLOT_COUNT - 1);
}

/* Puts a timer where its deadline belongs, seen from the wheel's tick. */
static void wheel_place(struct timer_wheel *wheel, struct timer *timer)
{
    if (timer->deadline_tick <= wheel->tick) {
        list_push_back(&wheel->due, &timer->node);
        return;
    }
    uint64_t differs = timer->deadline_tick ^ wheel->tick;
    unsigned level = (63 - (unsigned)__builtin_clzll(differs)) / SLOT_BITS;
    ASSERT(level < LEVEL_COUNT);
    unsigned slot = slot_of(timer->deadline_tick, level);
    wheel->used[level] |= 1ull << slot;
    list_push_back(&wheel->slots[level][slot], &timer->node);
}

/* Whole ticks from the wheel's start to `now_ns`, rounded up by `round_ns`. */
static uint64_t wheel_ticks(const struct timer_wheel *wheel, uint64_t now_ns, uint64_t round_ns)
{
    return now_ns < wheel->start_ns ? 0 : (now_ns - wheel->start_ns + round_ns) / TICK_NS;
}

void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay_ms)
{
    ASSERT(timer->fire != NULL);
    struct timer_wheel *wheel = loop_timers(loop);
    uint64_t deadline_ns = loop_now_ns(loop) + MIN(delay_ms, TIMER_DELAY_MS_MAX) * NS_PER_MS;
    uint64_t tick = wheel_ticks(wheel, deadline_ns, TICK_NS - 1);
    list_remove(&timer->node);
    /* Never in the tick that has been fired, so that fire() may arm with no delay and the loop
     * still gets its turn. */
    timer->deadline_tick = MAX(tick, wheel->tick + 1);
    wheel_place(wheel, timer);
}

void timer_disarm(struct timer *timer)
{
    list_remove(&timer->node);
}

bool timer_is_armed(const struct timer *timer)
{
    return !list_is_empty(&timer->node);
}

struct timer_wheel *timer_wheel_create(uint64_t now_ns)
{
    struct timer_wheel *wheel = xcalloc(1, sizeof(*wheel));
    wheel->start_ns = now_ns;
    list_init(&wheel->due);
    for (unsigned level = 0; level < LEVEL_COUNT; level++) {
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
            list_init(&wheel->slots[level][slot]);
        }
    }
    return wheel;
}

void timer_wheel_destroy(struct timer_wheel *wheel)
{
    if (wheel == NULL) return;
    ASSERT(!wheel->is_advancing);
    /* Timers may outlive the wheel of a loop that ended; they are then simply not armed. */
    for (unsigned level = 0; level < LEVEL_COUNT; level++) {
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
            while (list_pop_front(&wheel->slots[level][slot]) != NULL) {
            }
        }
    }
    free(wheel);
}

/* The slot that time comes to next: the first one with timers on the lowest level that has any. */
static bool wheel_next_slot(const struct timer_wheel *wheel, unsigned *level_out,
                            unsigned *slot_out, uint64_t *tick_out)
{
    for (unsigned level = 0; level < LEVEL_COUNT; level++) {
        for (uint64_t used = wheel->used[level]; used != 0; used &= used - 1) {
            unsigned slot = (unsigned)__builtin_ctzll(used);
            if (list_is_empty(&wheel->slots[level][slot])) continue;
            unsigned shift = level * SLOT_BITS;
            uint64_t above = wheel->tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
            *level_out = level;
            *slot_out = slot;
            *tick_out = above | (uint64_t)slot << shift;
            return true;
        }
    }
    return false;
}

/* Forgets the slots up to the wheel's own digit: time has passed them, so they are empty. */
static void wheel_clear_passed(struct timer_wheel *wheel, uint64_t before)
{
    for (unsigned level = 0; level < LEVEL_COUNT; level++) {
        unsigned shift = (level + 1) * SLOT_BITS;
        bool is_new_round = wheel->tick >> shift != before >> shift;
        uint64_t passed = UINT64_MAX >> (SLOT_COUNT - 1 - slot_of(wheel->tick, level));
        wheel->used[level] &= is_new_round ? 0 : ~passed;
        if (!is_new_round) return; /* higher digits did not change either */
    }
}

void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ns)
{
    uint64_t target = wheel_ticks(wheel, now_ns, 0);
    if (target <= wheel->tick) return;
    ASSERT(!wheel->is_advancing);
    wheel->is_advancing = true;

    unsigned level, slot;
    uint64_t tick;
    while (wheel_next_slot(wheel, &level, &slot, &tick) && tick <= target) {
        ASSERT(tick > wheel->tick);
        uint64_t before = wheel->tick;
        wheel->tick = tick;
        struct list moving;
        list_init(&moving);
        list_append_all(&moving, &wheel->slots[level][slot]);
        wheel_clear_passed(wheel, before);
        for (struct list *node; (node = list_pop_front(&moving)) != NULL;) {
            wheel_place(wheel, LIST_ENTRY(node, struct timer, node));
        }
    }
    uint64_t before = wheel->tick;
    wheel->tick = target;
    wheel_clear_passed(wheel, before);

    /* All that is due is off the slots before anything fires: fire() may arm and disarm any timer,
     * also another one that is due now. */
    for (struct list *node; (node = list_pop_front(&wheel->due)) != NULL;) {
        struct timer *timer = LIST_ENTRY(node, struct timer, node);
        timer->fire(timer);
    }
    wheel->is_advancing = false;
}

uint64_t timer_wheel_wait_ns(const struct timer_wheel *wheel, uint64_t now_ns)
{
    unsigned level, slot;
    uint64_t tick;
    if (!wheel_next_slot(wheel, &level, &slot, &tick)) return UINT64_MAX;
    uint64_t due_ns = wheel->start_ns + tick * TICK_NS;
    return due_ns > now_ns ? due_ns - now_ns : 0;
}
