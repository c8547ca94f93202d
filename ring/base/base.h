/* base.h - what every file may use: asserts, attributes, arithmetic on constants.
 *
 * An ASSERT states one fact about our own code and stays on in release builds. What a peer sent,
 * or what the disk returned, is never asserted: it is checked and answered. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define BIT(n) (1u << (n))
#define MUST_USE __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* The object that embeds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Rounds up to a multiple of `unit`, a power of two. */
#define ROUND_UP(n, unit) (((n) + ((unit)-1)) / (unit) * (unit))

#define ASSERT(fact)                                                                               \
    do {                                                                                           \
        if (UNLIKELY(!(fact))) assert_failed(#fact, __FILE__, __LINE__, __func__);                 \
    } while (0)

/* Writes one line to standard error and aborts. */
NORETURN void assert_failed(const char *fact, const char *file, int line, const char *function);
