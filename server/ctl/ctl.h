/* ctl.h - the command line: postern run | check | queue | reload | health | passwd | version |
 * help.
 *
 * ctl_main() parses the arguments and runs one command. All but `run` and `passwd` are clients:
 * they read the configuration or talk to the daemon's admin address. `run` loads the configuration
 * and hands it to a hook, so that nothing here knows the process. Standard output carries data,
 * standard error talk. docs/command-line.md has the commands and their JSON. */
#pragma once

#include "server/config/config.h"

#define CTL_CONFIG_FILE "/etc/postern/postern.yaml" /* without --config and $POSTERN_CONFIG */
#define CTL_ADMIN_ADDRESS "127.0.0.1:8025"          /* without --admin and a configuration */
#define CTL_SET_MAX 64                              /* --set flags */

/* As in sysexits.h, which mail software has always used. */
enum ctl_exit {
    CTL_DONE = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 64,
    CTL_UNREACHABLE = 69, /* no daemon answers at the admin address */
    CTL_SPOOL_TAKEN = 73, /* another process owns the spool */
    CTL_BAD_CONFIG = 78,
};

struct ctl_run_options {
    struct config *config;   /* taken: the hook frees it */
    const char *config_file; /* borrowed, as are the flags: they live as long as ctl_main() */
    /* Where to say that the daemon listens; -1: nowhere. */
    int ready_fd;
    /* The --set flags, ended with NULL. A reload is
     *     config_load_with_flags(config_file, environ, flags, ...)
     * which is how `config` was loaded. */
    char *const *flags;
};

struct ctl_hooks {
    const char *version; /* "0.1.0" */
    /* Runs the daemon to its end; returns the exit code. */
    int (*run)(const struct ctl_run_options *options);
};

/* Returns the exit code of the process. */
int ctl_main(int argc, char **argv, const struct ctl_hooks *hooks);
