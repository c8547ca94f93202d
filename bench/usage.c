/* usage.c - reads getrusage(2), which counts the kernel's io_uring workers of a process too. */
#include "bench/usage.h"

#include "ring/base/clock.h"

#include <sys/resource.h>

static uint64_t ns_of(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * NS_PER_S + (uint64_t)tv->tv_usec * 1000;
}

static struct usage read_usage(int who)
{
    struct rusage usage;
    int err = getrusage(who, &usage);
    ASSERT(err == 0);
    return (struct usage){ns_of(&usage.ru_utime), ns_of(&usage.ru_stime)};
}

static struct usage difference(struct usage now, const struct usage *start)
{
    return (struct usage){now.user_ns - start->user_ns, now.system_ns - start->system_ns};
}

struct usage usage_now(void)
{
    return read_usage(RUSAGE_SELF);
}

struct usage usage_since(const struct usage *start)
{
    return difference(usage_now(), start);
}

struct usage usage_of_thread(void)
{
    return read_usage(RUSAGE_THREAD);
}

struct usage usage_of_thread_since(const struct usage *start)
{
    return difference(usage_of_thread(), start);
}
