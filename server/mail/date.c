/* date.c - days since the epoch into a calendar date, without libc, time zones or locale. */
#include "server/mail/date.h"

#include "ring/base/buf.h"

#define SECOND_MAX 253402300799ull /* 9999-12-31 23:59:59 */
#define DAY_SECONDS 86400u
#define DAYS_PER_ERA 146097u      /* 400 years */
#define DAYS_BEFORE_EPOCH 719468u /* from 0000-03-01, where an era begins, to 1970-01-01 */

static const char weekdays[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct civil_date {
    uint32_t year, month, day; /* month 0 to 11, day 1 to 31 */
};

/* Years are counted from 1 March, so that the leap day is the last of its year. */
static struct civil_date civil_of_days(uint64_t days)
{
    days += DAYS_BEFORE_EPOCH;
    uint32_t era = (uint32_t)(days / DAYS_PER_ERA), era_day = (uint32_t)(days % DAYS_PER_ERA);
    uint32_t era_year =
        (era_day - era_day / 1460 + era_day / 36524 - era_day / (DAYS_PER_ERA - 1)) / 365;
    uint32_t year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    uint32_t march_month = (5 * year_day + 2) / 153; /* 0: March; 153 days are five months */
    struct civil_date date = {
        .year = era * 400 + era_year + (march_month >= 10 ? 1 : 0),
        .month = (march_month + 2) % 12,
        .day = year_day - (153 * march_month + 2) / 5 + 1,
    };
    ASSERT(date.day >= 1 && date.day <= 31);
    return date;
}

static void date_write(uint64_t second, struct buf *out)
{
    uint64_t days = second / DAY_SECONDS;
    uint32_t of_day = (uint32_t)(second % DAY_SECONDS);
    struct civil_date date = civil_of_days(days);

    buf_append(out, weekdays[days % 7], 3);
    buf_append(out, ", ", 2);
    buf_append_padded(out, date.day, 2);
    buf_append_char(out, ' ');
    buf_append(out, months[date.month], 3);
    buf_append_char(out, ' ');
    buf_append_padded(out, date.year, 4);
    buf_append_char(out, ' ');
    buf_append_padded(out, of_day / 3600, 2);
    buf_append_char(out, ':');
    buf_append_padded(out, of_day / 60 % 60, 2);
    buf_append_char(out, ':');
    buf_append_padded(out, of_day % 60, 2);
    buf_append(out, " +0000", 6);
}

struct slice date_text(struct date_cache *cache, uint64_t wall_ms)
{
    uint64_t second = MIN(wall_ms / 1000, SECOND_MAX);
    if (!cache->is_filled || cache->second != second) {
        struct buf text = {cache->text, 0, sizeof(cache->text), false};
        date_write(second, &text);
        ASSERT(text.len == DATE_BYTES && !text.is_short);
        cache->second = second;
        cache->is_filled = true;
    }
    return slice_of(cache->text, DATE_BYTES);
}
