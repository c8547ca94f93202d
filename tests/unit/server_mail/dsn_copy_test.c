#include "server/mail/dsn_copy.h"
#include "tests/support/test.h"

struct run {
    bool is_stuffed, is_header;
    struct slice in;
    size_t cut, room; /* of each call */
};

static char copied_bytes[512 << 10];

static struct slice copy(const struct run *run)
{
    struct dsn_copier copier;
    size_t len = 0;
    struct slice parts[2] = {slice_of(run->in.data, run->cut), slice_from(run->in, run->cut)};
    dsn_copier_init(&copier, run->is_stuffed, run->is_header);
    for (size_t i = 0; i < 2; i++) {
        while (parts[i].len > 0 && !copier.is_over) {
            struct buf out = {copied_bytes + len, 0, run->room, false};
            size_t taken = dsn_copy(&copier, parts[i], &out);
            CHECK(taken > 0 && !out.is_short);
            parts[i] = slice_from(parts[i], taken);
            len += out.len;
        }
    }
    struct buf out = {copied_bytes + len, 0, DSN_COPY_ROOM_BYTES, false};
    dsn_copy_end(&copier, &out);
    CHECK(copier.is_over && !out.is_short);
    return slice_of(copied_bytes, len + out.len);
}

TEST(the_same_comes_out_at_every_split)
{
    static const struct {
        const char *name;
        bool is_stuffed, is_header;
        struct slice in;
        const char *want;
    } cases[] = {
        {"nothing", true, false, SLICE(""), ""},
        {"as it was stored", true, false, SLICE("S: x\r\n\r\n..dot\r\n...\r\nend\r\n"),
         "S: x\r\n\r\n..dot\r\n...\r\nend\r\n"},
        {"a dot that is too few", true, false, SLICE("a\r\n.b\r\n.\r\nc"), "a\r\nb\r\n\r\nc"},
        {"raw", false, false, SLICE(".a\r\nb.\r\n..\r\n.\r\n"), "..a\r\nb.\r\n...\r\n..\r\n"},
        {"bare ones", false, false, SLICE("a\nb\rc\r\r\n.\n\r.d\n.e\r"),
         "a\r\nb c \r\n..\r\n .d\r\n..e "},
        {"a NUL", false, false, SLICE("a\0b"), "a?b"},
        {"8-bit", false, false, SLICE("\xff\x80\r\n"), "\xff\x80\r\n"},
        {"header", true, true, SLICE("S: x\r\n\ty\r\nT: z\r\n\r\nbody\r\n"),
         "S: x\r\n\ty\r\nT: z\r\n"},
        {"header alone", true, true, SLICE("S: x\r\n"), "S: x\r\n"},
        {"no header", true, true, SLICE("\r\nbody\r\n"), ""},
        {"header with bare ones", false, true, SLICE("S: x\ry\nT: z\n\nbody"),
         "S: x y\r\nT: z\r\n"},
        {"header that is cut off", false, true, SLICE("S: x\r"), "S: x "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].in.len; cut++) {
            for (size_t room = DSN_COPY_ROOM_BYTES; room < 12; room += 7) {
                struct run run = {cases[i].is_stuffed, cases[i].is_header, cases[i].in, cut, room};
                CHECK_SLICE(cases[i].name, copy(&run), cases[i].want);
            }
        }
    }
}

/* Whatever goes in: no bare CR or LF, no end of the data, no NUL comes out. */
TEST(what_comes_out_can_go_by_DATA)
{
    static const char alphabet[] = {'\r', '\n', '.', 'a', '\0', ' '};
    char in[6];
    for (unsigned n = 0; n < 6 * 6 * 6 * 6 * 6 * 6; n++) {
        unsigned rest = n;
        for (size_t i = 0; i < sizeof(in); i++, rest /= 6)
            in[i] = alphabet[rest % 6];
        struct run run = {n % 2 == 0, false, slice_of(in, sizeof(in)), n % 7, 4 + n % 5};
        struct slice out = copy(&run);
        bool is_good = memchr(out.data, '\0', out.len) == NULL;
        for (size_t i = 0; i < out.len; i++) {
            bool is_cr = out.data[i] == '\r', is_lf = out.data[i] == '\n';
            if (is_cr) is_good = is_good && i + 1 < out.len && out.data[i + 1] == '\n';
            if (is_lf) is_good = is_good && i > 0 && out.data[i - 1] == '\r';
            bool is_start = i == 0 || out.data[i - 1] == '\n';
            if (is_start && out.data[i] == '.')
                is_good = is_good && i + 1 < out.len && out.data[i + 1] == '.';
        }
        CHECK(is_good);
    }
}

TEST(a_long_header_is_cut_at_the_end_of_a_line)
{
    static char in[4 * DSN_HEADER_BYTES_MAX];
    for (size_t i = 0; i < sizeof(in); i += 64) {
        memset(in + i, 'x', 62);
        memcpy(in + i + 62, "\r\n", 2);
    }
    struct run run = {false, true, slice_of(in, sizeof(in)), 1000, 100};
    struct slice out = copy(&run);
    CHECK_EQ("length", out.len, DSN_HEADER_BYTES_MAX);
    CHECK(memcmp(out.data, in, out.len) == 0);

    /* One line that does not end. */
    memset(in, 'x', sizeof(in));
    out = copy(&run);
    CHECK_EQ("length", out.len, DSN_HEADER_BYTES_MAX + DSN_HEADER_LINE_BYTES_MAX);
}
