/* date.h - the date-time of a header field (RFC 5322 3.3), always in UTC:
 *
 *     Mon, 23 Nov 2026 16:00:00 +0000
 *
 * Pure: the caller brings the time, and a cache, so that each second is written out once. */
#pragma once

#include "ring/base/slice.h"

#define DATE_BYTES 31 /* always exactly so many */

/* Zero-initialised before first use. One thread's. */
struct date_cache {
    bool is_filled;
    uint64_t second; /* since 1970-01-01 UTC, the one that `text` says */
    char text[DATE_BYTES];
};

/* `wall_ms` are milliseconds since 1970-01-01 UTC; what lies behind the year 9999 is written as its
 * last second. The slice points into the cache: valid until the next call. */
struct slice date_text(struct date_cache *cache, uint64_t wall_ms);
