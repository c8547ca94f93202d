/* sink_options.h - what `sink` was asked to do. */
#pragma once

#include "bench/sink_behaviour.h"
#include "ring/base/endpoint.h"

#define SINK_SESSIONS_MAX 60000

struct sink_options {
    struct endpoint listen;
    struct sink_behaviour behaviour;
    const char *ledger; /* the load's, compared with at the end; NULL: none */
    const char *record; /* the sink's own; NULL: none */
    const char *script, *json;
    const char *compare; /* the load's ledger: compare only, do not listen */
    char **received;     /* then: the sink's ledgers */
    int received_count;
    uint32_t sessions_max;
    bool is_counting_only, may_double;
};

/* Reads the command line. When it is wrong, or asks for help, says so and ends the process (64, 0).
 * Strings are those of the command line. */
void sink_options_read(struct sink_options *options, int argc, char **argv);
