/* The end of the data: every known way to smuggle one in, at every split and every alignment; then
 * random bytes against an oracle that is too slow and too simple to be wrong in the same way. */
#include "tests/support/data_oracle.h"
#include "tests/support/test.h"

#define BYTES(literal)                                                                             \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define STREAM_BYTES_MAX 512
#define BOTH (DATA_BARE_CR | DATA_BARE_LF)

static const struct {
    const char *name;
    struct slice payload;
    bool is_end; /* the data ends with the payload; otherwise with what is sent after it */
    unsigned faults;
    bool has_8bit;
} cases[] = {
    {"E1 LF . LF", BYTES("\n.\n"), false, DATA_BARE_LF, false},
    {"E2 LF . CRLF", BYTES("\n.\r\n"), false, DATA_BARE_LF, false},
    {"E3 CRLF . LF", BYTES("\r\n.\n"), false, DATA_BARE_LF, false},
    {"E4 CRLF . CR x", BYTES("\r\n.\rx"), false, DATA_BARE_CR, false},
    {"E5 LF . CR", BYTES("\n.\r"), false, BOTH, false},
    {"E6 CR . LF", BYTES("\r.\n"), false, BOTH, false},
    {"E7 CR . CR", BYTES("\r.\r"), false, DATA_BARE_CR, false},
    {"E8 CR . CRLF", BYTES("\r.\r\n"), false, DATA_BARE_CR, false},
    {"E9 CRLF . CR CRLF", BYTES("\r\n.\r\r\n"), false, DATA_BARE_CR, false},
    {"E10 CR CRLF . CR CRLF", BYTES("\r\r\n.\r\r\n"), false, DATA_BARE_CR, false},
    {"E11 CRLF NUL . CRLF", BYTES("\r\n\0.\r\n"), false, DATA_NUL, false},
    {"E12 CRLF . NUL CRLF", BYTES("\r\n.\0\r\n"), false, DATA_NUL, false},
    {"E13 CR NUL LF . CRLF", BYTES("\r\0\n.\r\n"), false, BOTH | DATA_NUL, false},
    {"E14 CRLF . CR NUL LF", BYTES("\r\n.\r\0\n"), false, BOTH | DATA_NUL, false},
    {"E15 NUL CRLF . CRLF", BYTES("\0\r\n.\r\n"), true, DATA_NUL, false},
    {"E16 CRLF . CRLF, then NUL", BYTES("\r\n.\r\n"), true, 0, false},
    {"E17 CR CRLF . CRLF", BYTES("\r\r\n.\r\n"), true, DATA_BARE_CR, false},
    {"E18 stuffed dots", BYTES("\r\n..\r\n...\r\n.x\r\n"), false, 0, false},
    {"E20 CRLF SP . CRLF", BYTES("\r\n .\r\n"), false, 0, false},
    {"E20 CRLF . SP CRLF", BYTES("\r\n. \r\n"), false, 0, false},
    {"E23 fullwidth full stop", BYTES("\r\n\xef\xbc\x8e\r\n"), false, 0, true},
    {"E23 one dot leader", BYTES("\r\n\xe2\x80\xa4\r\n"), false, 0, true},
    {"E23 VT . VT", BYTES("\r\n\v.\v\r\n"), false, 0, false},
    {"E23 CRLF . VT CRLF", BYTES("\r\n.\v\r\n"), false, 0, false},
    {"E23 FF . FF", BYTES("\f.\f\r\n.\f\r\n"), false, 0, false},
    {"E23 0x85 . 0x85", BYTES("\x85.\x85"), false, 0, true},
    {"E23 U+2028 . U+2028", BYTES("\xe2\x80\xa8.\xe2\x80\xa8"), false, 0, true},
    {"E24 bare LF in a header", BYTES("\nX: a\nY: b"), false, DATA_BARE_LF, false},
    {"E24 bare CR in a header", BYTES("\rX: a\rY: b"), false, DATA_BARE_CR, false},
    {"CRLF CRLF . CRLF", BYTES("\r\n\r\n.\r\n"), true, 0, false},
    {"CRLF . CRLF . CRLF", BYTES("\r\n.\r\n"), true, 0, false},
    {"dot CR CR LF LF", BYTES("\r\n.\r\r\n\n"), false, BOTH, false},
    {"CRLF LF . CRLF", BYTES("\r\n\n.\r\n"), false, DATA_BARE_LF, false},
};

static const struct slice after =
    SLICE("MAIL FROM:<x@y>\r\nRCPT TO:<z@y>\r\nDATA\r\nsecond message\r\n.\r\n");

/* "From: a", `pad` bytes of text, the payload, and the commands that it would smuggle in. */
static struct slice stream_of(char *bytes, size_t pad, struct slice payload,
                              size_t *payload_end_out)
{
    struct buf b = {bytes, 0, STREAM_BYTES_MAX, false};
    buf_append_cstr(&b, "From: a\r\n\r\n");
    for (size_t i = 0; i < pad; i++) {
        buf_append_char(&b, 'x');
    }
    buf_append_slice(&b, payload);
    *payload_end_out = b.len;
    buf_append_slice(&b, after);
    CHECK(!b.is_short);
    return buf_slice(&b);
}

/* Feeds pieces that lie in memory of exactly their size, so that a read past them is caught. */
static enum data_status scan_exact(struct data_scanner *s, struct slice piece, size_t *taken_out)
{
    char *copy = malloc(piece.len + 1);
    char *exact = copy + 1; /* odd, so never aligned */
    memcpy(exact, piece.data, piece.len);
    enum data_status status = data_scan(s, slice_of(exact, piece.len), taken_out);
    free(copy);
    return status;
}

static enum data_status scan_cut(struct data_scanner *s, struct slice in, size_t cut,
                                 size_t *taken_out)
{
    size_t taken;
    data_init(s);
    enum data_status status = scan_exact(s, slice_of(in.data, cut), taken_out);
    if (status == DATA_END) return status;
    status = scan_exact(s, slice_from(in, cut), &taken);
    *taken_out += taken;
    return status;
}

static enum data_status scan_bytewise(struct data_scanner *s, struct slice in, size_t *taken_out)
{
    enum data_status status = DATA_MORE;
    *taken_out = 0;
    data_init(s);
    while (status == DATA_MORE && *taken_out < in.len) {
        size_t taken;
        status = scan_exact(s, slice_of(in.data + *taken_out, 1), &taken);
        *taken_out += taken;
    }
    return status;
}

TEST(data_ends_only_at_the_true_end_at_every_cut)
{
    char bytes[STREAM_BYTES_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *name = cases[i].name;
        for (size_t pad = 0; pad <= 140; pad = pad < 40 ? pad + 1 : pad + 7) {
            size_t payload_end, taken;
            struct slice in = stream_of(bytes, pad, cases[i].payload, &payload_end);
            size_t want = cases[i].is_end ? payload_end : in.len;
            for (size_t cut = 0; cut <= in.len + 1; cut++) {
                struct data_scanner s;
                enum data_status status =
                    cut <= in.len ? scan_cut(&s, in, cut, &taken) : scan_bytewise(&s, in, &taken);
                CHECK_EQ(name, status, DATA_END);
                CHECK_EQ(name, taken, want);
                CHECK_EQ(name, s.bytes, want);
                CHECK_EQ(name, s.faults, cases[i].faults);
                CHECK_EQ(name, s.has_8bit, cases[i].has_8bit);
                if (status == DATA_END) CHECK_EQ(name, data_content_bytes(&s), want - 3);
            }
        }
    }
}

TEST(data_first_line_of_only_a_dot_is_an_empty_message)
{
    struct slice in = SLICE(".\r\nQUIT\r\n");
    for (size_t cut = 0; cut <= in.len; cut++) {
        struct data_scanner s;
        size_t taken;
        CHECK_EQ("E19", scan_cut(&s, in, cut, &taken), DATA_END);
        CHECK_EQ("E19", taken, 3);
        CHECK_EQ("E19", data_content_bytes(&s), 0);
        CHECK_EQ("E19", s.faults, 0);
    }
}

TEST(data_nul_behind_the_end_is_left_to_the_next_command)
{
    struct data_scanner s;
    size_t taken;
    data_init(&s);
    CHECK_EQ("E16", data_scan(&s, slice_of("a\r\n.\r\n\0QUIT\r\n", 13), &taken), DATA_END);
    CHECK_EQ("E16", taken, 6);
    CHECK_EQ("E16", s.faults, 0);
}

TEST(data_end_is_found_across_every_boundary_of_a_large_buffer)
{
    enum { SIZE = 4096, AROUND = 8 };
    char *bytes = malloc(SIZE + AROUND + 5);
    for (size_t end = SIZE - AROUND; end <= SIZE + AROUND; end++) {
        memset(bytes, 'x', end);
        for (size_t i = 76; i + 2 < end - 8; i += 78) {
            memcpy(bytes + i, "\r\n", 2);
        }
        memcpy(bytes + end - 5, "\r\n.\r\n", 5);
        for (size_t cut = SIZE - AROUND; cut <= end; cut++) {
            struct data_scanner s;
            size_t taken;
            CHECK_EQ("E22", scan_cut(&s, slice_of(bytes, end), cut, &taken), DATA_END);
            CHECK_EQ("E22", taken, end);
            CHECK_EQ("E22", s.faults, 0);
        }
    }
    free(bytes);
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

/* Mostly from `alphabet`, in between stretches of clean lines that wide compares may skip. */
static size_t random_stream(char *out, size_t size, struct slice alphabet)
{
    size_t len = next_random() % (size + 1), at = 0;
    while (at < len) {
        if (next_random() % 4 == 0) {
            for (size_t n = next_random() % 100; n > 0 && at < len; n--) {
                out[at++] = 'y';
            }
        } else if (next_random() % 3 == 0) {
            for (const char *line = "yy\r\n"; *line != '\0' && at < len; line++) {
                out[at++] = *line;
            }
        } else {
            out[at++] = alphabet.data[next_random() % alphabet.len];
        }
    }
    return len;
}

static void check_against_oracle(struct slice in)
{
    struct data_oracle want = data_oracle_of(in);
    struct data_scanner s;
    size_t at = 0;
    enum data_status status = DATA_MORE;
    data_init(&s);
    while (status == DATA_MORE && at < in.len) {
        size_t wanted = next_random() % (next_random() % 2 == 0 ? 4 : 300), taken;
        size_t piece = MIN(in.len - at, wanted);
        status = scan_exact(&s, slice_of(in.data + at, piece), &taken);
        CHECK(status == DATA_END || taken == piece);
        at += taken;
    }
    CHECK_EQ("random", status, want.status);
    CHECK_EQ("random", at, want.taken);
    CHECK_EQ("random", s.faults, want.faults);
    CHECK_EQ("random", s.has_8bit, want.has_8bit);
}

TEST(data_agrees_with_the_oracle_on_random_bytes)
{
    static const struct slice alphabets[] = {
        BYTES("\r\n.\0x"),
        BYTES("\r\n."),
        BYTES("\r\r\n\n.x\xff"),
        BYTES("xxxxxxxxx\r\n.\0\x80"),
    };
    char bytes[400];
    for (size_t round = 0; round < 60000; round++) {
        struct slice alphabet = alphabets[round % ARRAY_LEN(alphabets)];
        check_against_oracle(slice_of(bytes, random_stream(bytes, sizeof(bytes), alphabet)));
    }
}

/* Runs data_normalize() with `cut` bytes first and with room for `room` bytes at a time. */
static enum data_status normalize(struct data_scanner *s, struct slice in, size_t cut, size_t room,
                                  struct buf *all)
{
    enum data_status status = DATA_MORE;
    char some[64];
    CHECK(room <= sizeof(some));
    data_init(s);
    for (size_t at = 0; at < in.len && status == DATA_MORE;) {
        size_t piece = (at < cut ? cut : in.len) - at, taken;
        struct buf out = {some, 0, room, false};
        status = data_normalize(s, slice_of(in.data + at, piece), &out, &taken);
        CHECK(taken > 0 && taken <= piece);
        if (taken == 0) break;
        CHECK(!out.is_short);
        buf_append_slice(all, buf_slice(&out));
        at += taken;
    }
    return status;
}

static void check_normalized(const char *name, struct slice out, unsigned faults)
{
    struct data_scanner again;
    size_t taken;
    data_init(&again);
    CHECK_EQ(name, data_scan(&again, out, &taken), DATA_END);
    CHECK_EQ(name, taken, out.len);
    CHECK_EQ(name, again.faults, faults & DATA_NUL);
}

TEST(data_normalize_keeps_every_payload_inside_its_body)
{
    char bytes[STREAM_BYTES_MAX], normal[2 * STREAM_BYTES_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *name = cases[i].name;
        size_t payload_end;
        struct slice in = stream_of(bytes, 3, cases[i].payload, &payload_end);
        size_t want = cases[i].is_end ? payload_end : in.len;
        for (size_t cut = 0; cut <= in.len; cut++) {
            struct buf out = {normal, 0, sizeof(normal), false};
            struct data_scanner s;
            CHECK_EQ(name, normalize(&s, in, cut, 2 + cut % 62, &out), DATA_END);
            CHECK_EQ(name, s.bytes, want);
            CHECK_EQ(name, s.faults, cases[i].faults);
            CHECK_EQ(name, s.has_8bit, cases[i].has_8bit);
            check_normalized(name, buf_slice(&out), cases[i].faults);
        }
    }
}

TEST(data_normalize_writes_what_it_says)
{
    static const struct {
        const char *name, *in, *want;
    } rows[] = {
        {"clean text", "a\r\nb\r\n.\r\n", "a\r\nb\r\n.\r\n"},
        {"empty message", ".\r\n", ".\r\n"},
        {"bare LF", "a\nb\r\n.\r\n", "a\r\nb\r\n.\r\n"},
        {"bare CR", "a\rb\r\n.\r\n", "a b\r\n.\r\n"},
        {"two CR and LF", "a\r\r\n.\r\n", "a \r\n.\r\n"},
        {"dot line between bare LFs", "a\n.\nb\r\n.\r\n", "a\r\n..\r\nb\r\n.\r\n"},
        {"dot behind a bare LF", "a\n.b\r\n.\r\n", "a\r\n..b\r\n.\r\n"},
        {"two dots behind a bare LF", "a\n..b\r\n.\r\n", "a\r\n...b\r\n.\r\n"},
        {"stuffing dot in front of a bare LF", "a\r\n.\nb\r\n.\r\n", "a\r\n\r\nb\r\n.\r\n"},
        {"stuffed dot in front of a bare LF", "a\r\n..\nb\r\n.\r\n", "a\r\n..\r\nb\r\n.\r\n"},
        {"stuffing dot and a bare CR", "\r\n.\rb\r\n.\r\n", "\r\n. b\r\n.\r\n"},
        {"stuffed dots stay", "..\r\n...\r\n.x\r\n.\r\n", "..\r\n...\r\n.x\r\n.\r\n"},
        {"bare CR in front of a dot", "a\r\n\r.\r\n.\r\n", "a\r\n .\r\n.\r\n"},
        {"bare LF, bare CR, dot", "\n\r.\r\n\r\n.\r\n", "\r\n .\r\n\r\n.\r\n"},
        {"LF LF", "\n\n\r\n.\r\n", "\r\n\r\n\r\n.\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice in = slice_of_cstr(rows[i].in);
        for (size_t room = 2; room <= 64; room++) {
            for (size_t cut = 0; cut <= in.len; cut++) {
                char bytes[64];
                struct buf out = {bytes, 0, sizeof(bytes), false};
                struct data_scanner s;
                CHECK_EQ(rows[i].name, normalize(&s, in, cut, room, &out), DATA_END);
                CHECK_BUF(rows[i].name, out, rows[i].want);
            }
        }
    }
}

TEST(data_normalize_takes_nothing_without_room)
{
    struct data_scanner s;
    char bytes[1];
    size_t taken = 99;
    struct buf out = {bytes, 0, sizeof(bytes), false};
    data_init(&s);
    CHECK_EQ("no room", data_normalize(&s, SLICE("abc"), &out, &taken), DATA_MORE);
    CHECK_EQ("no room", taken, 0);
    CHECK_EQ("no room", out.len, 0);
}

TEST(data_normalize_agrees_with_the_oracle_on_random_bytes)
{
    char bytes[400], normal[800];
    for (size_t round = 0; round < 20000; round++) {
        struct slice in = {bytes, random_stream(bytes, sizeof(bytes), slice_of("\r\n.\0x", 5))};
        struct data_oracle want = data_oracle_of(in);
        struct buf out = {normal, 0, sizeof(normal), false};
        struct data_scanner s;
        CHECK_EQ("random", normalize(&s, in, next_random() % (in.len + 1), 64, &out), want.status);
        CHECK_EQ("random", s.bytes, want.taken);
        CHECK_EQ("random", s.faults, want.faults);
        if (want.status == DATA_END) check_normalized("random", buf_slice(&out), want.faults);
    }
}
