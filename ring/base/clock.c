/* clock.c - the two clocks of the machine. */
#include "ring/base/clock.h"

#include <time.h>

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now;
    int err = clock_gettime(clock, &now);
    ASSERT(err == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ms(void)
{
    return clock_read_ns(CLOCK_REALTIME) / NS_PER_MS;
}
