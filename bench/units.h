/* units.h - the values of options, with their units: sizes, durations, shares, rates. Pure. */
#pragma once

#include "ring/base/slice.h"

/* "4KiB", "50MiB", "1GiB", or bytes without a unit. */
bool units_size(struct slice text, uint64_t max, uint64_t *bytes_out);
/* "300s", "5ms", "200us", "2m". */
bool units_duration(struct slice text, uint64_t *duration_ns_out);
/* "5%", "0.1%": 0 to 1. */
bool units_share(struct slice text, double *share_out);
/* "2500", "2500/s", "0.5/s": above 0. */
bool units_rate(struct slice text, double *per_second_out);

/* The part of *rest before the next `separator`, which is removed with it. False at the end. */
bool units_next(struct slice *rest, char separator, struct slice *part_out);
/* Cuts "KEY:VALUE" at its colon. */
bool units_pair(struct slice text, struct slice *key_out, struct slice *value_out);
