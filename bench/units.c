/* units.c - reads the values of options. Pure; nothing here prints or exits. */
#include "bench/units.h"

#define NS_PER_US 1000ull
#define DURATION_S_MAX (30ull * 24 * 3600)
#define NUMBER_MAX 1000000000000ull

/* A number with at most nine digits behind the point; *rest_out is what follows it. */
static bool take_number(struct slice text, double *number_out, struct slice *rest_out)
{
    double number = 0, unit = 1;
    size_t digits = 0, i = 0;
    bool is_fraction = false;
    for (; i < text.len; i++) {
        char c = text.data[i];
        if (c == '.' && !is_fraction) {
            is_fraction = true;
            continue;
        }
        if (c < '0' || c > '9') break;
        if (++digits > 21) return false;
        if (is_fraction) unit /= 10;
        number = is_fraction ? number + unit * (c - '0') : number * 10 + (c - '0');
    }
    *number_out = number;
    *rest_out = slice_from(text, i);
    return digits > 0 && number <= (double)NUMBER_MAX;
}

bool units_size(struct slice text, uint64_t max, uint64_t *bytes_out)
{
    static const struct {
        struct slice name;
        unsigned shift;
    } units[] = {{{"KiB", 3}, 10}, {{"MiB", 3}, 20}, {{"GiB", 3}, 30}, {{"B", 1}, 0}, {{"", 0}, 0}};
    size_t digits = 0;
    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    uint64_t number;
    if (!slice_to_u64(slice_of(text.data, digits), NUMBER_MAX, &number)) return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (!slice_eq(slice_from(text, digits), units[i].name)) continue;
        if (number > max >> units[i].shift) return false;
        *bytes_out = number << units[i].shift;
        return true;
    }
    return false;
}

bool units_duration(struct slice text, uint64_t *duration_ns_out)
{
    static const struct {
        struct slice name;
        uint64_t ns;
    } units[] = {{{"us", 2}, NS_PER_US},
                 {{"ms", 2}, 1000 * NS_PER_US},
                 {{"s", 1}, 1000000 * NS_PER_US},
                 {{"m", 1}, 60000000 * NS_PER_US},
                 {{"h", 1}, 3600000000 * NS_PER_US}};
    double number;
    struct slice unit;
    if (!take_number(text, &number, &unit)) return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (!slice_eq(unit, units[i].name)) continue;
        double ns = number * (double)units[i].ns;
        if (ns > (double)DURATION_S_MAX * 1e9) return false;
        *duration_ns_out = (uint64_t)(ns + 0.5);
        return true;
    }
    return false;
}

bool units_share(struct slice text, double *share_out)
{
    double number;
    struct slice unit;
    if (!take_number(text, &number, &unit)) return false;
    if (!slice_eq(unit, SLICE("%")) || number > 100) return false;
    *share_out = number / 100;
    return true;
}

bool units_rate(struct slice text, double *per_second_out)
{
    struct slice unit;
    if (!take_number(text, per_second_out, &unit)) return false;
    if (unit.len > 0 && !slice_eq(unit, SLICE("/s"))) return false;
    return *per_second_out > 0;
}

bool units_next(struct slice *rest, char separator, struct slice *part_out)
{
    if (rest->data == NULL) return false;
    const char *end = rest->len == 0 ? NULL : memchr(rest->data, separator, rest->len);
    if (end == NULL) {
        *part_out = *rest;
        *rest = slice_of(NULL, 0);
        return true;
    }
    size_t len = (size_t)(end - rest->data);
    *part_out = slice_of(rest->data, len);
    *rest = slice_from(*rest, len + 1);
    return true;
}

bool units_pair(struct slice text, struct slice *key_out, struct slice *value_out)
{
    const char *colon = text.len == 0 ? NULL : memchr(text.data, ':', text.len);
    if (colon == NULL) return false;
    size_t len = (size_t)(colon - text.data);
    *key_out = slice_of(text.data, len);
    *value_out = slice_from(text, len + 1);
    return true;
}
