/* load_pace.h - the intended times of an open loop, and a thread that wakes the loop for them.
 *
 * The loop's timers are too coarse for thousands of messages a second; the thread sleeps on the
 * clock and wakes the loop every interval, but not more often than each LOAD_PACE_NS_MIN. */
#pragma once

#include "ring/loop.h"

#define LOAD_PACE_NS_MIN 100000
#define LOAD_PACE_NS_MAX 5000000

struct load_pace;

struct load_pace_options {
    double rate; /* a second, above 0 */
    bool is_poisson;
    uint64_t seed;
    double share; /* of an interval, 0 to 1: how much later than now the first time is */
};

struct load_pace *load_pace_start(struct loop *loop, const struct load_pace_options *options);
void load_pace_stop(struct load_pace *pace); /* NULL is allowed */
/* The intended time of the next message; load_pace_advance() goes on to the one after it. */
uint64_t load_pace_next_ns(const struct load_pace *pace);
void load_pace_advance(struct load_pace *pace);
