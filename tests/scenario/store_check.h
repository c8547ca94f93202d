/* store_check.h - opens what is left of a queue with its own recovery, and holds it against what it
 * owes (store_history.h).
 *
 * It opens; what was answered is there, once, whole, with the recipients' states as last answered;
 * what was refused or ended is not; the counters say what is there; all of it can be delivered; a
 * new message is put, and found by the next start. */
#pragma once

#include "tests/scenario/store_history.h"

struct store_check {
    uint64_t seed;           /* of the simulated world that it happens in, a new one */
    bool may_be_corrupt;     /* bodies may be found wrong, which must be noticed */
    uint64_t found, corrupt; /* out: messages; those whose body was noticed to be wrong */
};

/* In a world that has not begun yet. Returns when all is well. Else store_check_fail() is called,
 * which the program defines. */
void store_check(struct store_check *check, const char *directory);
NORETURN void store_check_fail(const char *format, ...) PRINTF_LIKE(1, 2);
