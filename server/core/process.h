/* process.h - the process: spool, cores, admin, signals, reload, the end. */
#pragma once

#include "server/config/config.h"

struct process_options {
    struct config *config; /* taken */
    int ready_fd;          /* -1: none */
    const char *version;
    /* Reads the configuration again in the same way as at the start. */
    int (*load)(void *owner, struct config **config_out, struct config_problems *problems);
    void *owner;
};

/* Runs until TERM, INT or a fault. Returns the exit code: 0, 1 (a fault), 73 (the spool belongs to
 * another process), 78 (certificates, keys or users that the configuration names are bad). Errors
 * are told on standard error. */
int process_run(const struct process_options *options);
