/* usage.h - the processor time of this process, all its threads together. */
#pragma once

#include "ring/base/base.h"

struct usage {
    uint64_t user_ns, system_ns;
};

struct usage usage_now(void);
struct usage usage_since(const struct usage *start);
