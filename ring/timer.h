/* timer.h - deadlines on a hierarchical wheel: arming and disarming cost O(1).
 *
 * Resolution is TIMER_TICK_MS: a timer fires at its deadline or up to one tick later, never
 * before. fire() runs from the loop with the timer disarmed; it may arm it again. */
#pragma once

#include "ring/base/list.h"

struct loop;

#define TIMER_TICK_MS 8
#define TIMER_DELAY_MS_MAX (8ull * 24 * 3600 * 1000) /* longer delays are cut to this */

struct timer {
    struct list node;
    uint64_t deadline_tick;
    void (*fire)(struct timer *timer);
};

void timer_init(struct timer *timer, void (*fire)(struct timer *timer));
/* Arms it, or moves it when armed. */
void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay_ms);
/* May be called when not armed. */
void timer_disarm(struct timer *timer);
bool timer_is_armed(const struct timer *timer);

/* The wheel itself: the loop owns one. */
struct timer_wheel;
struct timer_wheel *timer_wheel_create(uint64_t now_ns);
void timer_wheel_destroy(struct timer_wheel *wheel);
/* Fires what is due. */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ns);
/* Nanoseconds from `now_ns` until the wheel wants to be advanced; UINT64_MAX when it is empty. */
uint64_t timer_wheel_wait_ns(const struct timer_wheel *wheel, uint64_t now_ns);
