#include "bench/digest.h"

#include "tests/support/test.h"

static uint64_t digest_of(struct slice text)
{
    struct digest d;
    digest_init(&d);
    digest_add(&d, text);
    return digest_value(&d);
}

/* Values of the reference implementation, seed 0. */
TEST(digest_is_xxh64)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        {"", 0xef46db3751d8e999u},
        {"a", 0xd24ec4f1a98c6e5bu},
        {"abc", 0x44bc2cf5ad770999u},
        {"Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1u},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].text, digest_of(slice_of_cstr(cases[i].text)), cases[i].want);
    }
}

TEST(digest_is_the_same_at_every_split)
{
    char text[150];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)(i * 37 + 11);
    }
    struct slice all = slice_of(text, sizeof(text));
    uint64_t want = digest_of(all);
    for (size_t first = 0; first <= all.len; first++) {
        for (size_t second = first; second <= all.len; second++) {
            struct digest d;
            digest_init(&d);
            digest_add(&d, slice_of(text, first));
            digest_add(&d, slice_of(text + first, second - first));
            digest_add(&d, slice_from(all, second));
            CHECK_EQ("split", digest_value(&d), want);
        }
    }
}

TEST(digest_sees_every_bit)
{
    char text[100] = {0};
    struct slice all = slice_of(text, sizeof(text));
    uint64_t before = digest_of(all);
    for (size_t bit = 0; bit < 8 * sizeof(text); bit++) {
        text[bit / 8] = (char)(1u << bit % 8);
        CHECK(digest_of(all) != before);
        text[bit / 8] = 0;
    }
}

TEST(digest_goes_on_after_a_value)
{
    struct digest d;
    digest_init(&d);
    digest_add(&d, SLICE("Nobody inspects the "));
    (void)digest_value(&d);
    struct digest copy = d;
    digest_add(&copy, SLICE("spammish repetition"));
    CHECK_EQ("copy", digest_value(&copy), 0xfbcea83c8a378bf1u);
}
