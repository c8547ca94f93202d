/* poison.h - tells AddressSanitizer which memory of a pool nobody may touch now. Without the
 * sanitizer these do nothing. */
#pragma once

#include "ring/base/base.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_IS_ON 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(POISON_IS_ON)
#define POISON_IS_ON 1
#endif

#ifdef POISON_IS_ON
#include <sanitizer/asan_interface.h>
#endif

static inline void poison(void *at, size_t bytes)
{
#ifdef POISON_IS_ON
    __asan_poison_memory_region(at, bytes);
#else
    (void)at, (void)bytes;
#endif
}

static inline void unpoison(void *at, size_t bytes)
{
#ifdef POISON_IS_ON
    __asan_unpoison_memory_region(at, bytes);
#else
    (void)at, (void)bytes;
#endif
}
