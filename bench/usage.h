/* usage.h - the processor time of this process, all its threads together, or of one thread. */
#pragma once

#include "ring/base/base.h"

struct usage {
    uint64_t user_ns, system_ns;
};

struct usage usage_now(void);
struct usage usage_since(const struct usage *start);
/* Of the calling thread. The kernel's workers for it, if any, count to the process alone. */
struct usage usage_of_thread(void);
struct usage usage_of_thread_since(const struct usage *start);
