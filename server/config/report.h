/* report.h - collects what is wrong with a configuration, and puts it in order.
 *
 * A place is where a value came from: a position in the file, a variable of the environment, a
 * flag, or nowhere (a default). Problems are listed by place: the file from top to bottom, then the
 * environment by name, then the flags as they were given. */
#pragma once

#include "server/config/config.h"

#define PROBLEMS_MAX 1000      /* listed; further ones are counted in one last line */
#define PROBLEM_BYTES_MAX 1000 /* of one line; longer ones are cut */

enum place_kind { PLACE_DEFAULT, PLACE_FILE, PLACE_ENVIRONMENT, PLACE_FLAG };

struct place {
    enum place_kind kind;
    unsigned line; /* in a file from 1; elsewhere the position among the variables or flags */
    unsigned column;
    const char *name; /* of the file, the variable or the flag; borrowed */
};

struct problem {
    struct place place;
    char *text; /* the whole line */
};

struct report {
    struct problem *problems;
    size_t count, room;
    size_t unlisted;
};

void report_init(struct report *report);
/* One problem at `place`; a default's place is written as that of the file's start. */
void report_add(struct report *report, const struct place *place, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* One problem in line `line` of the list file `file`, which is named at `place`. */
void report_add_in_list(struct report *report, const struct place *place, const char *file,
                        size_t line, const char *format, ...) PRINTF_LIKE(5, 6);
/* Writes '?' for each byte of `text` that is not UTF-8, or that a terminal would act on. */
void text_disarm(char *text);
/* Sorts, moves everything to *problems, and ends the report. */
void report_finish(struct report *report, struct config_problems *problems);
/* "file:12:5", "environment NAME", "--set KEY" or "default". */
void place_write(const struct place *place, FILE *out);
