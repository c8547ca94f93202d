/* test.h - the frame of a unit test program: TEST(name) { CHECK...; } and a main of its own.
 *
 * Include it once in a program. A failed check prints where and what, and the program goes on to
 * the next test; its exit status is 1 when anything failed. */
#pragma once

#include "ring/base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static unsigned test_failures;

#define TEST(test_name)                                                                            \
    static void test_name(void);                                                                   \
    __attribute__((constructor)) static void test_add_##test_name(void)                            \
    {                                                                                              \
        static struct test test = {#test_name, test_name, NULL};                                   \
        *test_last = &test;                                                                        \
        test_last = &test.next;                                                                    \
    }                                                                                              \
    static void test_name(void)

#define CHECK(fact)                                                                                \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            test_failures++;                                                                       \
            printf("%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #fact);              \
        }                                                                                          \
    } while (0)

/* `name` says which case of a table it is. */
#define CHECK_EQ(name, got, want)                                                                  \
    do {                                                                                           \
        int64_t got_ = (int64_t)(got), want_ = (int64_t)(want);                                    \
        if (got_ != want_) {                                                                       \
            test_failures++;                                                                       \
            printf("%s:%d: %s: %s: %s is %" PRId64 ", not %" PRId64 "\n", __FILE__, __LINE__,      \
                   __func__, name, #got, got_, want_);                                             \
        }                                                                                          \
    } while (0)

#define CHECK_SLICE(name, got, want_text)                                                          \
    do {                                                                                           \
        struct slice got_ = (got), want_ = slice_of_cstr(want_text);                               \
        if (!slice_eq(got_, want_)) {                                                              \
            test_failures++;                                                                       \
            printf("%s:%d: %s: %s: %s is \"%.*s\", not \"%s\"\n", __FILE__, __LINE__, __func__,    \
                   name, #got, (int)got_.len, got_.data, want_.data);                              \
        }                                                                                          \
    } while (0)

#define CHECK_BUF(name, got, want_text) CHECK_SLICE(name, buf_slice(&(got)), want_text)

int main(void)
{
    unsigned count = 0;
    for (struct test *t = test_first; t != NULL; t = t->next, count++) {
        unsigned before = test_failures;
        t->run();
        if (test_failures != before) printf("FAILED %s\n", t->name);
    }
    printf("%u tests, %u failed checks\n", count, test_failures);
    return test_failures == 0 && count > 0 ? 0 : 1;
}
