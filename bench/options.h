/* options.h - a command line as a table: long options, most with a value.
 *
 * --NAME VALUE or --NAME=VALUE. What is wrong is said on standard error with the option's name. */
#pragma once

#include "ring/base/slice.h"

#define OPTIONS_EXIT_USAGE 64

/* What a row without take() does with the value: it is stored at `offset` of the caller's struct.
 */
enum option_kind {
    OPTION_FLAG,     /* bool: set to true */
    OPTION_TEXT,     /* const char *: of the command line itself */
    OPTION_U32,      /* uint32_t, from min to max */
    OPTION_U64,      /* uint64_t, from min to max */
    OPTION_SIZE,     /* uint64_t: bytes, with units, from min to max */
    OPTION_DURATION, /* uint64_t: nanoseconds, above 0 */
    OPTION_CHOICE,   /* uint32_t: the place of the word in `value`, "none|starttls|implicit" */
};

struct option_row {
    const char *name;
    const char *value; /* what help calls the value; NULL: the option is a flag */
    const char *help;
    /* Takes the value ("" for a flag); false when it does not fit. NULL: as `kind` says. */
    bool (*take)(void *into, const char *value);
    enum option_kind kind;
    size_t offset;
    uint64_t min, max;
};

/* Ends the process with the help (0) or the fault (OPTIONS_EXIT_USAGE). Returns the index of the
 * first argument that is no option. */
int options_read(const struct option_row *rows, size_t count, const char *usage, void *into,
                 int argc, char **argv);
/* Prints "TOOL: " and the fault, and ends the process with OPTIONS_EXIT_USAGE. */
NORETURN void options_fail(const char *format, ...) PRINTF_LIKE(1, 2);
