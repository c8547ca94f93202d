/* load_options.h - what `load` was asked to do. */
#pragma once

#include "bench/message.h"
#include "ring/base/endpoint.h"

#define LOAD_SESSIONS_MAX 60000
#define LOAD_RECIPIENTS_MAX 1000

struct load_options {
    struct endpoint to;
    uint32_t sessions, recipients;
    uint64_t messages;                /* 0: until it is stopped */
    uint64_t messages_per_connection; /* 0: no limit */
    uint64_t timeout_ns;
    double rate; /* messages a second from all sessions; 0: as fast as replies come */
    struct message_options message;
    const char *ledger, *json; /* NULL: none; standard output */
    bool is_pipelining, is_poisson, has_sync_ledger, may_reconnect, until_killed_ok, with_buckets;
};

/* Reads the command line. When it is wrong, or asks for help, says so and ends the process (64, 0).
 * Strings are those of the command line. */
void load_options_read(struct load_options *options, int argc, char **argv);
