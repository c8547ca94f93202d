/* options.c - reads a command line by a table. */
#include "bench/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_COLUMNS 34

NORETURN static void print_help(const struct option_row *rows, size_t count, const char *usage)
{
    fputs(usage, stdout);
    for (size_t i = 0; i < count; i++) {
        char name[80];
        snprintf(name, sizeof(name), "--%s%s%s", rows[i].name, rows[i].value == NULL ? "" : " ",
                 rows[i].value == NULL ? "" : rows[i].value);
        printf("  %-*s %s\n", NAME_COLUMNS, name, rows[i].help);
    }
    exit(0);
}

void options_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputs(" (see --help)\n", stderr);
    va_end(args);
    exit(OPTIONS_EXIT_USAGE);
}

static const struct option_row *find_row(const struct option_row *rows, size_t count,
                                         struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq(slice_of_cstr(rows[i].name), name)) return &rows[i];
    }
    return NULL;
}

int options_read(const struct option_row *rows, size_t count, const char *usage, void *into,
                 int argc, char **argv)
{
    int at = 1;
    while (at < argc && strncmp(argv[at], "--", 2) == 0) {
        const char *text = argv[at++] + 2;
        if (*text == '\0') break;
        if (strcmp(text, "help") == 0) print_help(rows, count, usage);
        size_t name_len = strcspn(text, "=");
        const struct option_row *row = find_row(rows, count, slice_of(text, name_len));
        if (row == NULL) options_fail("there is no option --%.*s", (int)name_len, text);
        bool has_value = text[name_len] == '=';
        const char *value = has_value ? text + name_len + 1 : "";
        if (row->value == NULL && has_value) options_fail("--%s takes no value", row->name);
        if (row->value != NULL && !has_value) {
            if (at == argc) options_fail("--%s needs a value: %s", row->name, row->value);
            value = argv[at++];
        }
        if (!row->take(into, value)) {
            options_fail("--%s \"%s\" is not %s", row->name, value, row->value);
        }
    }
    return at;
}
