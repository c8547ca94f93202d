/* crc32c_test.c - known answers of RFC 3720 B.4, and both implementations against each other. */
#include "store/crc32c.h"
#include "tests/support/test.h"

TEST(crc32c_gives_the_known_answers)
{
    static uint8_t zeros[32], ones[32], rising[32];
    memset(ones, 0xff, sizeof(ones));
    for (size_t i = 0; i < sizeof(rising); i++)
        rising[i] = (uint8_t)i;
    const struct {
        const char *name;
        const void *data;
        size_t len;
        uint32_t want;
    } cases[] = {
        {"nothing", "", 0, 0},
        {"digits", "123456789", 9, 0xe3069283},
        {"zeros", zeros, 32, 0x8a9136aa},
        {"ones", ones, 32, 0x62a8ab43},
        {"rising", rising, 32, 0x46dd794e},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].name, crc32c(0, cases[i].data, cases[i].len), cases[i].want);
        CHECK_EQ(cases[i].name, crc32c_portable(0, cases[i].data, cases[i].len), cases[i].want);
    }
}

TEST(crc32c_is_the_same_by_both_ways_at_every_length_and_split)
{
    static uint8_t bytes[7000];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    for (size_t len = 0; len < sizeof(bytes); len += len < 900 ? 1 : 61) {
        uint32_t want = crc32c_portable(0, bytes, len);
        CHECK_EQ("whole", crc32c(0, bytes, len), want);
        size_t cut = len * 7 / 11;
        CHECK_EQ("in two", crc32c(crc32c(0, bytes, cut), bytes + cut, len - cut), want);
    }
}
