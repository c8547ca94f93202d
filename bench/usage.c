/* usage.c - reads getrusage(2), which counts the kernel's io_uring workers of a process too. */
#include "bench/usage.h"

#include "ring/base/clock.h"

#include <sys/resource.h>

static uint64_t ns_of(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * NS_PER_S + (uint64_t)tv->tv_usec * 1000;
}

struct usage usage_now(void)
{
    struct rusage self;
    int err = getrusage(RUSAGE_SELF, &self);
    ASSERT(err == 0);
    return (struct usage){ns_of(&self.ru_utime), ns_of(&self.ru_stime)};
}

struct usage usage_since(const struct usage *start)
{
    struct usage now = usage_now();
    return (struct usage){now.user_ns - start->user_ns, now.system_ns - start->system_ns};
}
