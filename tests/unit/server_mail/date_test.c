#include "server/mail/date.h"
#include "tests/support/test.h"

#include <time.h>

TEST(date_text_of_known_times)
{
    static const struct {
        uint64_t wall_ms;
        const char *want;
    } cases[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 +0000"},
        {999, "Thu, 01 Jan 1970 00:00:00 +0000"},
        {1000, "Thu, 01 Jan 1970 00:00:01 +0000"},
        {951782399000, "Mon, 28 Feb 2000 23:59:59 +0000"},
        {951782400000, "Tue, 29 Feb 2000 00:00:00 +0000"},
        {951868800000, "Wed, 01 Mar 2000 00:00:00 +0000"},
        {1795449600000, "Mon, 23 Nov 2026 16:00:00 +0000"},
        {4107542400000, "Mon, 01 Mar 2100 00:00:00 +0000"},
        {4107542399000, "Sun, 28 Feb 2100 23:59:59 +0000"},
        {253402300799999, "Fri, 31 Dec 9999 23:59:59 +0000"},
        {253402300800000, "Fri, 31 Dec 9999 23:59:59 +0000"},
        {UINT64_MAX, "Fri, 31 Dec 9999 23:59:59 +0000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct date_cache cache = {0};
        CHECK_SLICE(cases[i].want, date_text(&cache, cases[i].wall_ms), cases[i].want);
        CHECK_SLICE("again", date_text(&cache, cases[i].wall_ms), cases[i].want);
    }
}

TEST(date_text_agrees_with_libc)
{
    struct date_cache cache = {0};
    /* Steps of a day and a bit, through every day of some centuries. */
    for (uint64_t second = 0; second < 20000000000ull; second += 86400 + 3607) {
        time_t time = (time_t)second;
        struct tm tm;
        char want[64];
        gmtime_r(&time, &tm);
        strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S +0000", &tm);
        CHECK_SLICE("libc", date_text(&cache, second * 1000 + 5), want);
    }
}

TEST(date_text_follows_a_clock_that_steps_back)
{
    struct date_cache cache = {0};
    date_text(&cache, 86400000);
    CHECK_SLICE("back", date_text(&cache, 0), "Thu, 01 Jan 1970 00:00:00 +0000");
    CHECK_SLICE("forth", date_text(&cache, 86400000), "Fri, 02 Jan 1970 00:00:00 +0000");
}
