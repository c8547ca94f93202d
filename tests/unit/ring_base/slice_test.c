/* slice_test.c - slices: comparing, trimming, numbers. */
#include "ring/base/slice.h"
#include "tests/support/test.h"

TEST(slices_compare_without_case)
{
    static const struct {
        const char *a, *b;
        bool is_equal, starts;
    } cases[] = {
        {"", "", true, true},
        {"MAIL", "mail", true, true},
        {"mail from", "MAIL", false, true},
        {"mai", "mail", false, false},
        {"[", "{", false, false}, /* one bit apart, but not letters */
        {"@", "`", false, false},
        {"a1Z", "A1z", true, true},
        {"\xc4", "\xe4", false, false}, /* only ASCII has case here */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice a = slice_of_cstr(cases[i].a), b = slice_of_cstr(cases[i].b);
        CHECK_EQ(cases[i].a, slice_eq_nocase(a, b), cases[i].is_equal);
        CHECK_EQ(cases[i].a, slice_starts_with_nocase(a, b), cases[i].starts);
    }
    CHECK(slice_eq(SLICE("a\0b"), slice_of("a\0b", 3)));
    CHECK(!slice_eq(SLICE("a\0b"), slice_of("a\0c", 3)));
    CHECK(slice_eq((struct slice){NULL, 0}, SLICE("")));
}

TEST(slice_trim_takes_blanks_at_both_ends)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"", ""},     {" ", ""},          {"\t \t", ""},  {" a", "a"},
        {"a\t", "a"}, {"  a b  ", "a b"}, {"\ra", "\ra"}, {"\n a ", "\n a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_SLICE(cases[i].in, slice_trim(slice_of_cstr(cases[i].in)), cases[i].want);
    }
}

TEST(slice_to_u64_takes_digits_only)
{
    static const struct {
        const char *in;
        uint64_t max;
        bool is_number;
        uint64_t want;
    } cases[] = {
        {"0", 10, true, 0},
        {"10", 10, true, 10},
        {"11", 10, false, 0},
        {"9", 5, false, 0},
        {"0", 0, true, 0},
        {"1", 0, false, 0},
        {"007", 10, true, 7},
        {"", 10, false, 0},
        {"-1", 10, false, 0},
        {"+1", 10, false, 0},
        {" 1", 10, false, 0},
        {"1 ", 10, false, 0},
        {"1a", 100, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999999999", UINT64_MAX, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t got = 0;
        bool is_number = slice_to_u64(slice_of_cstr(cases[i].in), cases[i].max, &got);
        CHECK_EQ(cases[i].in, is_number, cases[i].is_number);
        CHECK_EQ(cases[i].in, got, cases[i].want);
    }
}

TEST(slice_to_cstr_terminates)
{
    char *text = slice_to_cstr(slice_of("abcdef", 3));
    CHECK(strcmp(text, "abc") == 0);
    free(text);
    text = slice_to_cstr((struct slice){NULL, 0});
    CHECK(strcmp(text, "") == 0);
    free(text);
    CHECK_SLICE("from", slice_from(SLICE("abc"), 2), "c");
    CHECK_SLICE("from the end", slice_from(SLICE("abc"), 3), "");
}
