/* value.c - see value.h. */
#include "server/config/value.h"

#include <inttypes.h>

#define KB 1000ull
#define KIB 1024ull
#define SECOND 1000ull

struct unit {
    const char *name;
    uint64_t factor;
    bool is_written; /* used by value_write() */
};

/* Each from the smallest to the largest. */
static const struct unit sizes[] = {
    {"B", 1, true},
    {"KB", KB, false},
    {"KiB", KIB, true},
    {"MB", KB *KB, false},
    {"MiB", KIB *KIB, true},
    {"GB", KB *KB *KB, false},
    {"GiB", KIB *KIB *KIB, true},
    {"TB", KB *KB *KB *KB, false},
    {"TiB", KIB *KIB *KIB *KIB, true},
};
static const struct unit durations[] = {
    {"ms", 1, true},
    {"s", SECOND, true},
    {"m", 60 * SECOND, true},
    {"h", 3600 * SECOND, true},
    {"d", 86400 * SECOND, true},
};
static const struct unit percents[] = {{"%", 1, true}};

static const struct {
    const struct unit *units;
    size_t count;
    const char *words;
} families[] = {
    [UNITS_NONE] = {NULL, 0, ""},
    [UNITS_SIZE] = {sizes, ARRAY_LEN(sizes), "B, KiB, MiB, GiB, TiB, KB, MB, GB, TB"},
    [UNITS_DURATION] = {durations, ARRAY_LEN(durations), "ms, s, m, h, d"},
    [UNITS_PERCENT] = {percents, ARRAY_LEN(percents), "%"},
};

/* The leading digits; *rest_out gets what follows. */
static bool take_digits(struct slice text, uint64_t *n_out, struct slice *rest_out)
{
    size_t at = 0;
    uint64_t n = 0;
    for (; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++) {
        uint64_t digit = (uint64_t)(text.data[at] - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    *n_out = n;
    *rest_out = slice_from(text, at);
    return at > 0;
}

enum value_status value_parse(enum unit_family family, struct slice text, uint64_t *out)
{
    uint64_t n;
    struct slice unit;
    if (!take_digits(text, &n, &unit)) return VALUE_NOT_A_NUMBER;
    if (unit.len == 0) {
        *out = n;
        return family == UNITS_NONE || n == 0 ? VALUE_OK : VALUE_NO_UNIT;
    }
    if (family == UNITS_NONE) return VALUE_NOT_A_NUMBER;
    for (size_t i = 0; i < families[family].count; i++) {
        const struct unit *known = &families[family].units[i];
        if (!slice_eq(unit, slice_of_cstr(known->name))) continue;
        *out = n > UINT64_MAX / known->factor ? UINT64_MAX : n * known->factor;
        return VALUE_OK;
    }
    return VALUE_UNKNOWN_UNIT;
}

enum value_status value_parse_factor(struct slice text, uint64_t *out)
{
    uint64_t whole, part = 0;
    struct slice rest;
    if (!take_digits(text, &whole, &rest)) return VALUE_NOT_A_NUMBER;
    if (rest.len > 0) {
        struct slice digits = slice_from(rest, 1), end;
        if (rest.data[0] != '.' || digits.len > 2 || !take_digits(digits, &part, &end) ||
            end.len > 0) {
            return VALUE_NOT_A_NUMBER;
        }
        if (digits.len == 1) part *= 10;
    }
    *out = whole > UINT64_MAX / 1000 ? UINT64_MAX : whole * 100 + part;
    return VALUE_OK;
}

void value_write(enum unit_family family, uint64_t n, FILE *out)
{
    const struct unit *best = NULL;
    for (size_t i = 0; i < families[family].count; i++) {
        const struct unit *unit = &families[family].units[i];
        if (unit->is_written && (best == NULL || (n != 0 && n % unit->factor == 0))) best = unit;
    }
    if (best == NULL) {
        fprintf(out, "%" PRIu64, n);
    } else {
        fprintf(out, "%" PRIu64 "%s", n / best->factor, best->name);
    }
}

void value_write_factor(uint64_t n, FILE *out)
{
    fprintf(out, "%" PRIu64, n / 100);
    if (n % 100 != 0) fprintf(out, ".%02" PRIu64, n % 100);
}

const char *value_units(enum unit_family family)
{
    return families[family].words;
}
