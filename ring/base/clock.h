/* clock.h - the two clocks of the machine. Code that runs on a loop asks the loop instead
 * (loop_now_ns, loop_wall_ms): it reads the clock once a turn, and a simulated loop has its own. */
#pragma once

#include "ring/base/base.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

uint64_t clock_monotonic_ns(void);
/* Milliseconds since 1970-01-01 UTC. */
uint64_t clock_wall_ms(void);
