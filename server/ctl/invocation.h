/* invocation.h - one call of the program: its command, options and arguments, parsed. */
#pragma once

#include "server/ctl/ctl.h"

enum option {
    OPTION_ADMIN,
    OPTION_ALL,
    OPTION_CONFIG,
    OPTION_CRAM_MD5,
    OPTION_CRYPT,
    OPTION_DEMO,
    OPTION_DOMAIN,
    OPTION_DRY_RUN,
    OPTION_FOR,
    OPTION_HELP,
    OPTION_ITERATIONS,
    OPTION_JSON,
    OPTION_LIMIT,
    OPTION_OLDER,
    OPTION_READY_FD,
    OPTION_REASON,
    OPTION_RECIPIENT,
    OPTION_SENDER,
    OPTION_SET, /* may be repeated */
    OPTION_SHOW,
    OPTION_STATE,
    OPTION_YES,
    OPTION_COUNT,
};

struct invocation;

struct command {
    const char *name;
    const char *summary; /* one line, for the list of commands */
    const char *help;    /* examples first */
    uint32_t options;    /* BITs of enum option; --help is always taken */
    size_t arguments_max;
    int (*run)(const struct invocation *call);
};

#define ARGUMENTS_MAX 1000

struct invocation {
    const struct ctl_hooks *hooks;
    const struct command *command;
    const char *values[OPTION_COUNT]; /* NULL: not given; "" for one without a value */
    const char *arguments[ARGUMENTS_MAX];
    size_t argument_count;
    char *flags[CTL_SET_MAX + 1]; /* of --set, ended with NULL */
    size_t flag_count;
};

/* Reads what follows the command's name. Returns 0, or CTL_USAGE after a line on standard error. */
int invocation_parse(struct invocation *call, int argc, char **argv);
/* A line "postern COMMAND: ..." on standard error. Returns CTL_USAGE. */
int usage_error(const struct invocation *call, const char *format, ...) PRINTF_LIKE(2, 3);
/* --config, $POSTERN_CONFIG or CTL_CONFIG_FILE. */
const char *invocation_config_file(const struct invocation *call);
/* CTL_DONE, or CTL_FAILED (and a line) when standard output did not take everything. */
int finish_output(const struct invocation *call);
