/* life.h - one life of the server: a process that begins where the last one ended. */
#pragma once

#include "tests/scenario/ledger.h"

enum life_end {
    LIFE_DRAINED,  /* it was asked to end, and did */
    LIFE_CRASHED,  /* the power went */
    LIFE_FATAL,    /* a sync failed: it had to end */
    LIFE_VIOLATED, /* ledger->failure says what */
    LIFE_ENDS,
};

struct life_plan {
    uint64_t seed;
    bool is_last;         /* all is well again: the queue must become empty */
    uint64_t crash_after; /* completions; 0: no crash */
    uint64_t span_ns;     /* of its clients; then it drains */
    unsigned client_count;
    bool has_disk_faults;
    bool ignores_syncs;  /* nothing becomes durable: the checks must find it */
    bool has_lying_disk; /* writes are lost: the checks must find it */
    bool is_loud;        /* the log goes to standard error */
};

/* Runs in a process of its own and does not return. */
_Noreturn void life_run(const struct life_plan *plan);
