/* The octets of BDAT: what is noted and what is written, at every split and every alignment; then
 * random bytes against an oracle that is too slow and too simple to be wrong in the same way. */
#include "server/smtp/raw.h"
#include "tests/support/raw_oracle.h"
#include "tests/support/test.h"

#define BYTES(literal)                                                                             \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define BOTH (DATA_BARE_CR | DATA_BARE_LF)

static const struct {
    const char *name;
    struct slice in;
    unsigned faults;
    bool has_8bit;
    struct slice normal;
} cases[] = {
    {"empty", BYTES(""), 0, false, BYTES("")},
    {"lines", BYTES("a\r\nb\r\n"), 0, false, BYTES("a\r\nb\r\n")},
    {"no CRLF at the end", BYTES("a\r\nb"), 0, false, BYTES("a\r\nb")},
    {"the end of DATA is content", BYTES("a\r\n.\r\nMAIL FROM:<x@y>\r\n"), 0, false,
     BYTES("a\r\n.\r\nMAIL FROM:<x@y>\r\n")},
    {"dots are not stuffed", BYTES(".\r\n..\r\n.a"), 0, false, BYTES(".\r\n..\r\n.a")},
    {"bare LF", BYTES("a\nb"), DATA_BARE_LF, false, BYTES("a\r\nb")},
    {"LF first", BYTES("\na"), DATA_BARE_LF, false, BYTES("\r\na")},
    {"LF behind CRLF", BYTES("\r\n\n"), DATA_BARE_LF, false, BYTES("\r\n\r\n")},
    {"bare LF and a dot", BYTES("a\n.\nb"), DATA_BARE_LF, false, BYTES("a\r\n.\r\nb")},
    {"bare CR", BYTES("a\rb"), DATA_BARE_CR, false, BYTES("a b")},
    {"CR last", BYTES("a\r"), DATA_BARE_CR, false, BYTES("a ")},
    {"CR CR LF", BYTES("a\r\r\n"), DATA_BARE_CR, false, BYTES("a \r\n")},
    {"CR CR", BYTES("\r\r"), DATA_BARE_CR, false, BYTES("  ")},
    {"LF CR", BYTES("a\n\rb"), BOTH, false, BYTES("a\r\n b")},
    {"NUL", BYTES("a\0b"), DATA_NUL, false, BYTES("a\0b")},
    {"NUL between CR and LF", BYTES("\r\0\n"), BOTH | DATA_NUL, false, BYTES(" \0\r\n")},
    {"8-bit", BYTES("a\xff\r\n"), 0, true, BYTES("a\xff\r\n")},
    {"8-bit behind a CR", BYTES("\r\x80"), DATA_BARE_CR, true, BYTES(" \x80")},
};

/* Feeds pieces that lie in memory of exactly their size, so that a read past them is caught. */
static void scan_exact(struct data_scanner *s, struct slice piece)
{
    char *copy = malloc(piece.len + 1);
    memcpy(copy + 1, piece.data, piece.len); /* odd, so never aligned */
    raw_scan(s, slice_of(copy + 1, piece.len));
    free(copy);
}

static void scan_cut(struct data_scanner *s, struct slice in, size_t cut)
{
    raw_init(s);
    scan_exact(s, slice_of(in.data, cut));
    scan_exact(s, slice_from(in, cut));
    raw_end(s);
}

TEST(raw_notes_the_same_at_every_cut)
{
    char bytes[512];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t pad = 0; pad < 140; pad++) {
            struct buf b = {bytes, 0, sizeof(bytes), false};
            for (size_t n = 0; n < pad; n++)
                buf_append_char(&b, 'x');
            buf_append_slice(&b, cases[i].in);
            for (size_t cut = 0; cut <= b.len; cut++) {
                struct data_scanner s;
                scan_cut(&s, buf_slice(&b), cut);
                CHECK_EQ(cases[i].name, s.faults, cases[i].faults);
                CHECK_EQ(cases[i].name, s.has_8bit, cases[i].has_8bit);
                CHECK_EQ(cases[i].name, s.bytes, b.len);
            }
        }
    }
}

/* A line of `len` bytes behind `before`, ended by `end`. */
static bool is_long(struct slice before, size_t len, struct slice end, size_t cut)
{
    char bytes[DATA_LINE_BYTES_MAX + 256];
    struct buf b = {bytes, 0, sizeof(bytes), false};
    buf_append_slice(&b, before);
    for (size_t n = 0; n < len; n++)
        buf_append_char(&b, 'x');
    buf_append_slice(&b, end);
    CHECK(!b.is_short);
    struct data_scanner s;
    scan_cut(&s, buf_slice(&b), MIN(cut, b.len));
    return (s.faults & DATA_LONG_LINE) != 0;
}

TEST(raw_long_lines_are_those_above_998)
{
    static const struct slice befores[] = {BYTES(""), BYTES("\r\n"), BYTES("0123456789abcdef\r\n"),
                                           BYTES("a\r\nbcdefghijkl\r\n")};
    static const struct slice ends[] = {BYTES("\r\n"), BYTES(""), BYTES("\r\nx\r\n"),
                                        BYTES("\r\n0123456789012345678901234567890123456789"
                                              "0123456789012345678901234567890123456789")};
    for (size_t i = 0; i < ARRAY_LEN(befores); i++) {
        for (size_t j = 0; j < ARRAY_LEN(ends); j++) {
            for (size_t cut = 0; cut < DATA_LINE_BYTES_MAX + 120; cut += cut < 990 ? 7 : 1) {
                CHECK(!is_long(befores[i], 997, ends[j], cut));
                CHECK(!is_long(befores[i], 998, ends[j], cut));
                CHECK(is_long(befores[i], 999, ends[j], cut));
                CHECK(is_long(befores[i], 1020, ends[j], cut));
            }
        }
    }
}

TEST(raw_bare_newlines_end_no_line)
{
    struct slice half = SLICE("0123456789012345678901234567890123456789012345678901234567890123\n");
    struct data_scanner s;
    raw_init(&s);
    for (size_t n = 0; n < 15; n++)
        raw_scan(&s, half);
    CHECK_EQ("975 bytes", s.faults, DATA_BARE_LF);
    raw_scan(&s, half);
    CHECK_EQ("1040 bytes", s.faults, DATA_BARE_LF | DATA_LONG_LINE);
    raw_init(&s);
    for (size_t n = 0; n < DATA_LINE_BYTES_MAX; n++)
        raw_scan(&s, SLICE("\r"));
    CHECK_EQ("997 bare CRs and one that waits", s.faults, DATA_BARE_CR);
    raw_scan(&s, SLICE("\r"));
    CHECK_EQ("998 and one that waits", s.faults, DATA_BARE_CR);
    raw_end(&s);
    CHECK_EQ("999", s.faults, DATA_BARE_CR | DATA_LONG_LINE);
}

static size_t normalize(struct data_scanner *s, struct slice in, size_t cut, size_t room,
                        struct buf *all)
{
    size_t at = 0;
    char some[64];
    CHECK(room <= sizeof(some));
    raw_init(s);
    while (at < in.len) {
        struct buf out = {some, 0, room, false};
        size_t taken =
            raw_normalize(s, slice_of(in.data + at, (at < cut ? cut : in.len) - at), &out);
        CHECK(taken > 0 && !out.is_short);
        if (taken == 0) break;
        buf_append_slice(all, buf_slice(&out));
        at += taken;
    }
    struct buf out = {some, 0, 1, false};
    raw_normalize_end(s, &out);
    buf_append_slice(all, buf_slice(&out));
    return at;
}

TEST(raw_normalize_writes_what_it_says)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = cases[i].in;
        for (size_t room = 2; room <= 64; room++) {
            for (size_t cut = 0; cut <= in.len; cut++) {
                char bytes[128];
                struct buf out = {bytes, 0, sizeof(bytes), false};
                struct data_scanner s;
                CHECK_EQ(cases[i].name, normalize(&s, in, cut, room, &out), in.len);
                CHECK(slice_eq(buf_slice(&out), cases[i].normal));
                CHECK_EQ(cases[i].name, s.faults, cases[i].faults);
                CHECK_EQ(cases[i].name, s.has_8bit, cases[i].has_8bit);
                CHECK_EQ(cases[i].name, s.bytes, in.len);
            }
        }
    }
    struct data_scanner s;
    char none[1];
    struct buf out = {none, 0, sizeof(none), false};
    raw_init(&s);
    CHECK_EQ("no room", raw_normalize(&s, SLICE("abc"), &out), 0);
    CHECK_EQ("no room", out.len, 0);
}

/* Numbers that are the same in every run. */
static uint32_t next_random(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20);
}

/* Mostly clean lines of any length, and in between bytes of `alphabet`. */
static size_t random_content(char *out, size_t size, struct slice alphabet)
{
    size_t len = next_random() % (size + 1), at = 0;
    while (at < len) {
        if (next_random() % 3 == 0) {
            size_t n = next_random() % (next_random() % 8 == 0 ? 1100 : 90);
            for (; n > 0 && at < len; n--)
                out[at++] = 'y';
        } else if (next_random() % 3 == 0) {
            for (const char *line = "\r\n"; *line != '\0' && at < len; line++)
                out[at++] = *line;
        } else {
            out[at++] = alphabet.data[next_random() % alphabet.len];
        }
    }
    return len;
}

TEST(raw_agrees_with_the_oracle_on_random_bytes)
{
    static const struct slice alphabets[] = {BYTES("\r\n.\0x"), BYTES("xyz"),
                                             BYTES("xxxxxxxxxxxxxxxxxxxxxxxxxxxx\r"),
                                             BYTES("xxxxxxxxx\r\n.\0\x80")};
    char bytes[3000], normal[6000], wanted[6000];
    for (size_t round = 0; round < 20000; round++) {
        struct slice alphabet = alphabets[round % ARRAY_LEN(alphabets)];
        struct slice in = {bytes, random_content(bytes, sizeof(bytes), alphabet)};
        struct raw_oracle want = raw_oracle_of(in);
        struct data_scanner s;
        raw_init(&s);
        for (size_t at = 0; at < in.len;) {
            size_t most = next_random() % 2 == 0 ? 4 : 700;
            size_t wanted_len = next_random() % most, piece = MIN(in.len - at, wanted_len);
            scan_exact(&s, slice_of(in.data + at, piece));
            at += piece;
        }
        raw_end(&s);
        CHECK_EQ("random", s.faults, want.faults);
        CHECK_EQ("random", s.has_8bit, want.has_8bit);

        struct buf out = {normal, 0, sizeof(normal), false}, expected = {wanted, 0, 6000, false};
        raw_oracle_normalize(in, &expected);
        normalize(&s, in, next_random() % (in.len + 1), 64, &out);
        CHECK(slice_eq(buf_slice(&out), buf_slice(&expected)));
        CHECK_EQ("random", s.faults, want.faults & ~(unsigned)DATA_LONG_LINE);
    }
}
