/* Units at their bounds, and the words that a typo is near to. */
#include "server/config/suggest.h"
#include "server/config/value.h"
#include "tests/support/test.h"

TEST(values_are_read_with_their_units)
{
    static const struct {
        enum unit_family family;
        const char *in;
        enum value_status status;
        uint64_t want;
        const char *written; /* NULL: as `in` */
    } cases[] = {
        {UNITS_NONE, "0", VALUE_OK, 0, NULL},
        {UNITS_NONE, "18446744073709551615", VALUE_OK, UINT64_MAX, NULL},
        {UNITS_NONE, "18446744073709551616", VALUE_OK, UINT64_MAX, "18446744073709551615"},
        {UNITS_NONE, "5MiB", VALUE_NOT_A_NUMBER, 0, NULL},
        {UNITS_NONE, "", VALUE_NOT_A_NUMBER, 0, NULL},
        {UNITS_NONE, "-1", VALUE_NOT_A_NUMBER, 0, NULL},
        {UNITS_NONE, "0x10", VALUE_NOT_A_NUMBER, 0, NULL},
        {UNITS_SIZE, "0", VALUE_OK, 0, "0B"},
        {UNITS_SIZE, "512B", VALUE_OK, 512, NULL},
        {UNITS_SIZE, "4KiB", VALUE_OK, 4096, NULL},
        {UNITS_SIZE, "50MiB", VALUE_OK, 52428800, NULL},
        {UNITS_SIZE, "1GiB", VALUE_OK, 1u << 30, NULL},
        {UNITS_SIZE, "1024MiB", VALUE_OK, 1u << 30, "1GiB"},
        {UNITS_SIZE, "2TiB", VALUE_OK, 2ull << 40, NULL},
        {UNITS_SIZE, "1KB", VALUE_OK, 1000, "1000B"},
        {UNITS_SIZE, "3MB", VALUE_OK, 3000000, "3000000B"},
        {UNITS_SIZE, "1GB", VALUE_OK, 1000000000, "1000000000B"},
        {UNITS_SIZE, "16777216TiB", VALUE_OK, UINT64_MAX, "18446744073709551615B"},
        {UNITS_SIZE, "50", VALUE_NO_UNIT, 0, NULL},
        {UNITS_SIZE, "50mb", VALUE_UNKNOWN_UNIT, 0, NULL},
        {UNITS_SIZE, "50 MiB", VALUE_UNKNOWN_UNIT, 0, NULL},
        {UNITS_SIZE, "1.5GiB", VALUE_UNKNOWN_UNIT, 0, NULL},
        {UNITS_SIZE, "MiB", VALUE_NOT_A_NUMBER, 0, NULL},
        {UNITS_DURATION, "0", VALUE_OK, 0, "0ms"},
        {UNITS_DURATION, "500ms", VALUE_OK, 500, NULL},
        {UNITS_DURATION, "90s", VALUE_OK, 90000, NULL},
        {UNITS_DURATION, "300s", VALUE_OK, 300000, "5m"},
        {UNITS_DURATION, "4h", VALUE_OK, 14400000, NULL},
        {UNITS_DURATION, "5d", VALUE_OK, 432000000, NULL},
        {UNITS_DURATION, "30", VALUE_NO_UNIT, 0, NULL},
        {UNITS_DURATION, "30min", VALUE_UNKNOWN_UNIT, 0, NULL},
        {UNITS_PERCENT, "5%", VALUE_OK, 5, NULL},
        {UNITS_PERCENT, "0", VALUE_OK, 0, "0%"},
        {UNITS_PERCENT, "5", VALUE_NO_UNIT, 0, NULL},
        {UNITS_PERCENT, "5%%", VALUE_UNKNOWN_UNIT, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t n = 0;
        enum value_status status = value_parse(cases[i].family, slice_of_cstr(cases[i].in), &n);
        CHECK_EQ(cases[i].in, status, cases[i].status);
        if (status != VALUE_OK || cases[i].status != VALUE_OK) continue;
        CHECK_EQ(cases[i].in, n, cases[i].want);
        char text[64] = "";
        FILE *out = fmemopen(text, sizeof(text), "w");
        value_write(cases[i].family, n, out);
        fclose(out);
        const char *want = cases[i].written != NULL ? cases[i].written : cases[i].in;
        CHECK_SLICE(cases[i].in, slice_of_cstr(text), want);
    }
}

TEST(values_cut_anywhere_read_no_further_than_their_end)
{
    static const char *const texts[] = {"18446744073709551616TiB", "300ms", "5%", "1.25"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (size_t len = 0; len <= strlen(texts[i]); len++) {
            char *copy = malloc(len + 1); /* so that a sanitizer sees a read past the end */
            memcpy(copy, texts[i], len);
            char *exact = realloc(copy, len > 0 ? len : 1);
            uint64_t n;
            for (int family = UNITS_NONE; family <= UNITS_PERCENT; family++) {
                enum value_status status =
                    value_parse((enum unit_family)family, slice_of(exact, len), &n);
                CHECK_EQ(texts[i], status == VALUE_NOT_A_NUMBER || len > 0, true);
            }
            CHECK_EQ(texts[i], value_parse_factor(slice_of(exact, len), &n) != VALUE_OK || len > 0,
                     true);
            free(exact);
        }
    }
}

TEST(factors_have_at_most_two_decimals)
{
    static const struct {
        const char *in;
        uint64_t want; /* UINT64_MAX: it is none */
    } cases[] = {
        {"2", 200},          {"1.5", 150},         {"1.25", 125},      {"1.05", 105},
        {"10.00", 1000},     {"1.", UINT64_MAX},   {".5", UINT64_MAX}, {"1.255", UINT64_MAX},
        {"1,5", UINT64_MAX}, {"1.5x", UINT64_MAX}, {"", UINT64_MAX},   {"1.-5", UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t n = UINT64_MAX;
        bool is_ok = value_parse_factor(slice_of_cstr(cases[i].in), &n) == VALUE_OK;
        CHECK_EQ(cases[i].in, is_ok ? n : UINT64_MAX, cases[i].want);
    }
}

TEST(a_typo_is_near_its_word)
{
    static const char *const words[] = {"recipients", "connections", "connections_per_client",
                                        "errors",     "tls",         "mx"};
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"recipient", "recipients"},
        {"recipeints", "recipients"},
        {"RECIPIENTS", "recipients"},
        {"conections", "connections"},
        {"eror", "errors"},
        {"tsl", "tls"},
        {"my", "mx"},
        {"banana", NULL},
        {"q", NULL},
        {"", NULL},
        {"connection_per_client", "connections_per_client"},
        {"a_word_that_is_much_longer_than_any_name_of_ours", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *best = NULL;
        for (size_t j = 0; j < ARRAY_LEN(words); j++) {
            best = suggest(slice_of_cstr(cases[i].in), best, words[j]);
        }
        CHECK_SLICE(cases[i].in, slice_of_cstr(best != NULL ? best : "none"),
                    cases[i].want != NULL ? cases[i].want : "none");
    }
}
