/* value.h - numbers with their units: 50MiB, 300s, 5%. Pure.
 *
 * A bare number is no size and no duration, since half of its readers would guess the unit wrong;
 * 0 is the same in all of them and needs none. */
#pragma once

#include "ring/base/slice.h"

#include <stdio.h>

enum unit_family { UNITS_NONE, UNITS_SIZE, UNITS_DURATION, UNITS_PERCENT };

enum value_status {
    VALUE_OK,
    VALUE_NOT_A_NUMBER,
    VALUE_NO_UNIT,
    VALUE_UNKNOWN_UNIT,
};

/* Reads a whole number with a unit of that family: bytes, milliseconds or percent come out. What
 * does not fit 64 bits is UINT64_MAX, which is out of every range. */
enum value_status value_parse(enum unit_family family, struct slice text, uint64_t *out);
/* Reads a factor with at most two decimals as hundredths: "1.5" is 150. */
enum value_status value_parse_factor(struct slice text, uint64_t *out);
/* Writes it with the largest unit that leaves a whole number. */
void value_write(enum unit_family family, uint64_t n, FILE *out);
void value_write_factor(uint64_t n, FILE *out);
/* "B, KiB, ...": for messages. */
const char *value_units(enum unit_family family);
