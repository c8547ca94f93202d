/* unstuff_test.c - dots come out the same however the body is cut. */
#include "server/delivery/unstuff.h"

#include "tests/support/test.h"

TEST(unstuffs_the_same_at_every_two_cuts)
{
    static const struct {
        const char *name, *in, *want;
    } cases[] = {
        {"empty", "", ""},
        {"no dots", "a\r\nb\r\n", "a\r\nb\r\n"},
        {"one dot", "..a\r\n", ".a\r\n"},
        {"a line of one dot", "..\r\n", ".\r\n"},
        {"three dots", "....\r\n", "...\r\n"},
        {"later line", "a\r\n..b\r\nc\r\n", "a\r\n.b\r\nc\r\n"},
        {"dots inside a line stay", "a..b\r\n.. .\r\n", "a..b\r\n. .\r\n"},
        {"after an empty line", "\r\n..\r\n\r\n", "\r\n.\r\n\r\n"},
        {"a bare LF begins no line", "a\n..b\r\n", "a\n..b\r\n"},
        {"a bare CR begins no line", "a\r..b\r\n", "a\r..b\r\n"},
        {"CR CR LF does", "a\r\r\n..b\r\n", "a\r\r\n.b\r\n"},
        {"a bare LF first", "\n..b\r\n", "\n..b\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].in);
        for (size_t cut = 0; cut <= len; cut++) {
            for (size_t cut2 = cut; cut2 <= len; cut2++) {
                char bytes[64];
                struct unstuffer u = {0};
                size_t got = unstuff(&u, slice_of(cases[i].in, cut), bytes);
                got += unstuff(&u, slice_of(cases[i].in + cut, cut2 - cut), bytes + got);
                got += unstuff(&u, slice_of(cases[i].in + cut2, len - cut2), bytes + got);
                CHECK_SLICE(cases[i].name, slice_of(bytes, got), cases[i].want);
            }
        }
    }
}
