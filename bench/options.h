/* options.h - a command line as a table: long options, most with a value.
 *
 * --NAME VALUE or --NAME=VALUE. What is wrong is said on standard error with the option's name. */
#pragma once

#include "ring/base/slice.h"

#define OPTIONS_EXIT_USAGE 64

struct option_row {
    const char *name;
    const char *value; /* what help calls the value; NULL: the option is a flag */
    const char *help;
    /* Takes the value ("" for a flag); false when it does not fit. */
    bool (*take)(void *into, const char *value);
};

/* Ends the process with the help (0) or the fault (OPTIONS_EXIT_USAGE). Returns the index of the
 * first argument that is no option. */
int options_read(const struct option_row *rows, size_t count, const char *usage, void *into,
                 int argc, char **argv);
/* Prints "TOOL: " and the fault, and ends the process with OPTIONS_EXIT_USAGE. */
NORETURN void options_fail(const char *format, ...) PRINTF_LIKE(1, 2);
