/* options.c - reads a command line by a table. */
#include "bench/options.h"

#include "bench/units.h"

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

static bool take_number(const struct option_row *row, const char *value, uint64_t *out)
{
    return slice_to_u64(slice_of_cstr(value), row->max, out) && *out >= row->min;
}

static bool take_choice(const struct option_row *row, const char *value, uint32_t *out)
{
    ASSERT(row->value != NULL);
    struct slice words = slice_of_cstr(row->value), word;
    for (uint32_t place = 0; units_next(&words, '|', &word); place++) {
        if (!slice_eq(word, slice_of_cstr(value))) continue;
        *out = place;
        return true;
    }
    return false;
}

/* Stores the value of a row that has no take(). */
static bool take_plain(const struct option_row *row, void *into, const char *value)
{
    void *at = (char *)into + row->offset;
    uint64_t n;
    switch (row->kind) {
    case OPTION_FLAG:
        return *(bool *)at = true;
    case OPTION_TEXT:
        *(const char **)at = value;
        return true;
    case OPTION_U32:
        if (!take_number(row, value, &n)) return false;
        *(uint32_t *)at = (uint32_t)n;
        return true;
    case OPTION_U64:
        return take_number(row, value, at);
    case OPTION_SIZE:
        return units_size(slice_of_cstr(value), row->max, at) && *(uint64_t *)at >= row->min;
    case OPTION_DURATION:
        return units_duration(slice_of_cstr(value), at) && *(uint64_t *)at > 0;
    case OPTION_CHOICE:
        return take_choice(row, value, at);
    }
    return false;
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
        bool fits = row->take != NULL ? row->take(into, value) : take_plain(row, into, value);
        if (!fits) {
            options_fail("--%s \"%s\" is not %s", row->name, value, row->value);
        }
    }
    return at;
}
