/* Headers of proxies: every one is read whole, cut at every byte, and byte by byte; a part of one
 * is never taken for a header, and what follows one is never touched. */
#include "server/ingress/proxy_header.h"

#include "store/crc32c.h"
#include "tests/support/test.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4_TO_25 "\xc0\x00\x02\x01\xc0\x00\x02\x09\xdc\x04\x00\x19" /* 192.0.2.1:56324 */
#define V6_TO_25                                                                                   \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"                                                   \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"                                                   \
    "\xdc\x04\x00\x19"
#define MAPPED_TO_25                                                                               \
    "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01"                                                 \
    "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x09"                                                 \
    "\xdc\x04\x00\x19"
#define X10 "xxxxxxxxxx"
#define X80 X10 X10 X10 X10 X10 X10 X10 X10
#define TAIL "EHLO a.example\r\n"

/* Feeds `in` in pieces of `piece` bytes after a first one of `first`. */
static enum proxy_status feed(struct slice in, size_t first, size_t piece,
                              struct proxy_reader *reader, size_t *taken_out)
{
    proxy_reader_init(reader);
    size_t at = 0, end = MIN(first, in.len);
    for (;;) {
        size_t taken;
        enum proxy_status status = proxy_read(reader, slice_of(in.data + at, end - at), &taken);
        CHECK(taken <= end - at);
        if (status == PROXY_MORE) CHECK_EQ("all is taken", taken, end - at);
        at += taken;
        *taken_out = at;
        if (status != PROXY_MORE || end == in.len) return status;
        end = MIN(end + piece, in.len);
    }
}

static void check_source(const char *name, const struct proxy_header *header, const char *want)
{
    char text[ENDPOINT_TEXT_MAX];
    struct buf source = {text, 0, sizeof(text), false};
    endpoint_write(&header->source, &source);
    CHECK_BUF(name, source, want);
}

static void check_good_once(const char *name, struct slice header, struct slice stream,
                            size_t first, size_t piece, const char *source)
{
    struct proxy_reader reader;
    size_t taken;
    enum proxy_status status = feed(stream, first, piece, &reader, &taken);
    CHECK_EQ(name, status, PROXY_OK);
    if (status != PROXY_OK) return;
    CHECK_EQ(name, taken, header.len);
    CHECK_EQ(name, reader.header.is_probe, source[0] == '-');
    check_source(name, &reader.header, source);
}

/* `source` "-": a probe. */
static void check_good(const char *name, struct slice header, const char *source)
{
    char bytes[1024];
    struct buf stream = {bytes, 0, sizeof(bytes), false};
    buf_append_slice(&stream, header);
    buf_append_cstr(&stream, TAIL);
    CHECK(!stream.is_short);
    for (size_t cut = 0; cut <= stream.len; cut++) {
        check_good_once(name, header, buf_slice(&stream), cut, stream.len, source);
        if (cut >= header.len) continue;
        struct proxy_reader reader;
        size_t taken;
        CHECK_EQ(name, feed(slice_of(header.data, cut), cut, 1, &reader, &taken), PROXY_MORE);
    }
    check_good_once(name, header, buf_slice(&stream), 1, 1, source);
}

/* Bad, and never good before that, at every cut; `at` bytes are not yet bad. */
static void check_bad(const char *name, struct slice in, size_t at)
{
    struct proxy_reader reader;
    size_t taken;
    for (size_t cut = 0; cut <= in.len; cut++) {
        CHECK_EQ(name, feed(in, cut, in.len, &reader, &taken), PROXY_BAD);
        enum proxy_status want = cut <= at ? PROXY_MORE : PROXY_BAD;
        CHECK_EQ(name, feed(slice_of(in.data, cut), cut, 1, &reader, &taken), want);
    }
    CHECK_EQ(name, feed(in, 1, 1, &reader, &taken), PROXY_BAD);
    CHECK(reader.why != NULL);
}

/* --- version 1 --- */

TEST(version_1_is_read_at_every_cut)
{
    static const struct {
        const char *line, *source;
    } cases[] = {
        {"PROXY TCP4 192.0.2.1 192.0.2.9 56324 25\r\n", "192.0.2.1:56324"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
        {"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0"},
        {"PROXY TCP6 2001:db8::1 2001:DB8::2 1 2\r\n", "[2001:db8::1]:1"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        /* A mapped address is the IPv4 client that it stands for. */
        {"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.9 7 25\r\n", "192.0.2.1:7"},
        {"PROXY UNKNOWN\r\n", "-"},
        {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "-"},
        {"PROXY UNKNOWN whatever  it is\r\n", "-"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_good(cases[i].line, slice_of_cstr(cases[i].line), cases[i].source);
}

TEST(version_1_that_is_not_exact_is_bad)
{
    static const char *const lines[] = {
        "PROXY TCP5 192.0.2.1 192.0.2.9 56324 25\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.9 56324 25\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.9 56324 25\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.9 56324 25\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.9 56324 25\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.9 56324 25\r\n",
        "PROXY TCP4\t192.0.2.1 192.0.2.9 56324 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 56324 25 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 56324 25 26\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 56324\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY unknown\r\n",
        /* An address of the other family, or none. */
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.9 56324 25\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 [2001:db8::1] 2001:db8::2 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.9 56324 25\r\n",
        "PROXY TCP4 192.0.2 192.0.2.9 56324 25\r\n",
        "PROXY TCP4 192.0.02.1 192.0.2.9 56324 25\r\n",
        "PROXY TCP4 host.example 192.0.2.9 56324 25\r\n",
        "PROXY TCP4 192.0.2.1:1 192.0.2.9 56324 25\r\n",
        /* Ports. */
        "PROXY TCP4 192.0.2.1 192.0.2.9 65536 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 56324 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 056324 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 56324 025\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 +1 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 -1 25\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        check_bad(lines[i], slice_of_cstr(lines[i]), strlen(lines[i]) - 1);
}

TEST(version_1_ends_with_crlf_alone_and_in_time)
{
    check_bad("bare LF", SLICE("PROXY UNKNOWN\nEHLO a\r\n"), 13);
    check_bad("bare CR", SLICE("PROXY UNKNOWN\rEHLO a\r\n"), 14);
    check_bad("two CR", SLICE("PROXY UNKNOWN\r\r\n"), 14);
    check_bad("a NUL in an address", SLICE("PROXY TCP4 192.0.2.1\0 192.0.2.9 56324 25\r\n"), 41);

    char line[PROXY_V1_BYTES_MAX + 2];
    memcpy(line, "PROXY UNKNOWN ", 14);
    memset(line + 14, 'x', sizeof(line) - 14);
    memcpy(line + PROXY_V1_BYTES_MAX - 2, "\r\n", 2);
    check_good("107 bytes", slice_of(line, PROXY_V1_BYTES_MAX), "-");
    memcpy(line + PROXY_V1_BYTES_MAX - 2, "x\r\n", 3);
    check_bad("108 bytes", slice_of(line, PROXY_V1_BYTES_MAX + 1), PROXY_V1_BYTES_MAX - 1);
}

TEST(what_is_no_header_is_bad_at_its_first_wrong_byte)
{
    static const struct {
        const char *in;
        size_t at;
    } cases[] = {
        {"EHLO a.example\r\n", 0},   {"QUIT\r\n", 0},         {"GET / HTTP/1.1\r\n\r\n", 0},
        {"\x16\x03\x01\x02\x01", 0}, {" PROXY UNKNOWN", 0},   {"proxy UNKNOWN\r\n", 0},
        {"PROXX UNKNOWN\r\n", 4},    {"PROXYUNKNOWN\r\n", 5}, {"POST / HTTP/1.1\r\n", 1},
        {"\r\n\r\nEHLO a", 4},       {"\r\nEHLO a", 2},       {"\r\n\r\n\r\n", 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_bad(cases[i].in, slice_of_cstr(cases[i].in), cases[i].at);
}

/* --- version 2 --- */

#define V2(command_and_family, length, rest) SLICE(SIGNATURE command_and_family length rest)

TEST(version_2_is_read_at_every_cut)
{
    check_good("IPv4", V2("\x21\x11", "\0\x0c", V4_TO_25), "192.0.2.1:56324");
    check_good("IPv6", V2("\x21\x21", "\0\x24", V6_TO_25), "[2001:db8::1]:56324");
    check_good("mapped", V2("\x21\x21", "\0\x24", MAPPED_TO_25), "192.0.2.1:56324");
    check_good("ALPN and what is not known",
               V2("\x21\x11", "\0\x1b", V4_TO_25 "\x01\0\x04smtp\xea\0\0\x99\0\x02zz"),
               "192.0.2.1:56324");
    check_good("NOOP", V2("\x21\x11", "\0\x12", V4_TO_25 "\x04\0\x03\0\0\0"), "192.0.2.1:56324");
    check_good("LOCAL", V2("\x20\x00", "\0\0", ""), "-");
    /* The length holds, whatever is in it. */
    check_good("LOCAL with addresses", V2("\x20\x11", "\0\x0c", V4_TO_25), "-");
    check_good("LOCAL of no family", V2("\x20\xff", "\0\x03", "\xff\xff\xff"), "-");
    check_good("LOCAL with values", V2("\x20\x11", "\0\x13", V4_TO_25 "\x03\0\x04zzzz"), "-");
    check_good("UNSPEC", V2("\x21\x00", "\0\0", ""), "-");
    check_good("UNSPEC with bytes", V2("\x21\x00", "\0\x05", "hello"), "-");
    check_good("UNSPEC transport", V2("\x21\x10", "\0\x0c", V4_TO_25), "-");
    check_good("UNSPEC family", V2("\x21\x01", "\0\x02", "zz"), "-");
}

TEST(version_2_that_is_malformed_is_bad)
{
    check_bad("version 1", V2("\x11\x11", "\0\x0c", V4_TO_25), 15);
    check_bad("version 3", V2("\x31\x11", "\0\x0c", V4_TO_25), 15);
    check_bad("command 2", V2("\x22\x11", "\0\x0c", V4_TO_25), 15);
    check_bad("family 4", V2("\x21\x41", "\0\x0c", V4_TO_25), 15);
    check_bad("transport 3", V2("\x21\x13", "\0\x0c", V4_TO_25), 15);
    check_bad("UDP", V2("\x21\x12", "\0\x0c", V4_TO_25), 15);
    check_bad("UDP over IPv6", V2("\x21\x22", "\0\x24", V6_TO_25), 15);
    check_bad("UNIX", V2("\x21\x31", "\0\xd8", X80 X80), 15);
    check_bad("no addresses", V2("\x21\x11", "\0\0", ""), 15);
    check_bad("short addresses", V2("\x21\x11", "\0\x0b", V4_TO_25), 15);
    check_bad("IPv6 with the length of IPv4", V2("\x21\x21", "\0\x0c", V4_TO_25), 15);
    check_bad("signature", SLICE("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" V4_TO_25), 10);
    /* Values. */
    check_bad("one byte over", V2("\x21\x11", "\0\x0d", V4_TO_25 "\x04"), 28);
    check_bad("two bytes over", V2("\x21\x11", "\0\x0e", V4_TO_25 "\x04\0"), 28);
    check_bad("too long by one", V2("\x21\x11", "\0\x10", V4_TO_25 "\x04\0\x02z"), 30);
    check_bad("a second is cut", V2("\x21\x11", "\0\x11", V4_TO_25 "\x04\0\0\x04\0"), 31);
    check_bad("short checksum", V2("\x21\x11", "\0\x12", V4_TO_25 "\x03\0\x03zzz"), 30);
    check_bad("short TLS", V2("\x21\x11", "\0\x13", V4_TO_25 "\x20\0\x04\1\0\0\0"), 30);
    check_bad("a byte over in TLS", V2("\x21\x11", "\0\x15", V4_TO_25 "\x20\0\x06\1\0\0\0\0z"), 36);
    check_bad("too long in TLS",
              V2("\x21\x11", "\0\x18", V4_TO_25 "\x20\0\x08\1\0\0\0\0\x21\0\x01z"), 38);
}

/* --- values of version 2 --- */

struct builder {
    struct buf out;
    char bytes[2048];
};

static void builder_init(struct builder *b)
{
    b->out = (struct buf){b->bytes, 0, sizeof(b->bytes), false};
    struct slice front = SLICE(SIGNATURE "\x21\x11\0\0" V4_TO_25);
    buf_append_slice(&b->out, front);
}

static void add_value(struct builder *b, uint8_t type, struct slice value)
{
    buf_append_char(&b->out, (char)type);
    buf_append_char(&b->out, (char)(value.len >> 8));
    buf_append_char(&b->out, (char)(value.len & 0xff));
    buf_append_slice(&b->out, value);
}

static void set_length(struct builder *b)
{
    CHECK(!b->out.is_short);
    b->bytes[14] = (char)((b->out.len - 16) >> 8);
    b->bytes[15] = (char)((b->out.len - 16) & 0xff);
}

/* Where the checksum stands; all else must be there by then. */
static void set_crc(struct builder *b, size_t at)
{
    uint32_t crc = crc32c_portable(0, b->bytes, b->out.len);
    for (unsigned i = 0; i < 4; i++)
        b->bytes[at + i] = (char)(crc >> (24 - 8 * i));
}

static size_t build_full(struct builder *b)
{
    builder_init(b);
    add_value(b, 0x05, SLICE("unique\0id"));
    add_value(b, 0x03, SLICE("\0\0\0\0"));
    size_t crc_at = b->out.len - 4;
    add_value(b, 0x02, SLICE("mx.example"));
    add_value(b, 0x20,
              SLICE("\x03\0\0\0\0"
                    "\x21\0\x07TLSv1.3"
                    "\x23\0\x03"
                    "AES"
                    "\x22\0\x06"
                    "Client"
                    "\x25\0\x04zzzz"));
    add_value(b, 0x01, SLICE("smtp"));
    set_length(b);
    return crc_at;
}

TEST(values_are_kept_at_every_cut)
{
    struct builder b;
    set_crc(&b, build_full(&b));
    check_good("full", buf_slice(&b.out), "192.0.2.1:56324");
    for (size_t cut = 0; cut <= b.out.len; cut++) {
        struct proxy_reader reader;
        size_t taken;
        CHECK_EQ("full", feed(buf_slice(&b.out), cut, 1, &reader, &taken), PROXY_OK);
        const struct proxy_header *header = &reader.header;
        CHECK(slice_eq(proxy_text(header, PROXY_UNIQUE_ID), SLICE("unique\0id")));
        CHECK_SLICE("full", proxy_text(header, PROXY_AUTHORITY), "mx.example");
        CHECK_SLICE("full", proxy_text(header, PROXY_TLS_VERSION), "TLSv1.3");
        CHECK_SLICE("full", proxy_text(header, PROXY_TLS_CIPHER), "AES");
        CHECK_SLICE("full", proxy_text(header, PROXY_CLIENT_NAME), "Client");
        CHECK(header->has_tls && header->has_certificate && header->is_verified);
    }
}

TEST(any_changed_bit_under_a_checksum_is_noticed)
{
    struct builder b;
    set_crc(&b, build_full(&b));
    for (size_t bit = 0; bit < 8 * b.out.len; bit++) {
        b.bytes[bit / 8] = (char)(b.bytes[bit / 8] ^ (1 << bit % 8));
        struct proxy_reader reader;
        size_t taken;
        enum proxy_status status = feed(buf_slice(&b.out), b.out.len, 1, &reader, &taken);
        /* LOCAL is to be believed without a look at the rest; so is UNSPEC. A checksum that has
         * become another value is none. */
        bool is_crc_type = bit / 8 >= 40 && (uint8_t)b.bytes[40] != 0x03;
        bool is_good = status == PROXY_OK && !reader.header.is_probe && !is_crc_type;
        if (is_good) CHECK_EQ("bit", bit, -1);
        b.bytes[bit / 8] = (char)(b.bytes[bit / 8] ^ (1 << bit % 8));
    }
}

TEST(the_checksum_is_that_of_the_specification)
{
    /* As HAProxy sends it: big-endian, over the header with zeros in its place. */
    struct builder b;
    builder_init(&b);
    add_value(&b, 0x03, SLICE("\0\0\0\0"));
    set_length(&b);
    set_crc(&b, b.out.len - 4);
    check_good("alone", buf_slice(&b.out), "192.0.2.1:56324");
    b.bytes[b.out.len - 1] ^= 1;
    check_bad("wrong", buf_slice(&b.out), b.out.len - 1);

    builder_init(&b);
    add_value(&b, 0x03, SLICE("\0\0\0\0"));
    add_value(&b, 0x03, SLICE("\0\0\0\0"));
    set_length(&b);
    check_bad("two", buf_slice(&b.out), b.out.len - 5);
}

TEST(tls_says_what_it_says)
{
    static const struct {
        const char *name;
        char front[6];
        bool has_tls, has_certificate, is_verified;
    } cases[] = {
        {"no TLS", "\0\0\0\0\1", false, false, false},
        {"TLS", "\1\0\0\0\1", true, false, false},
        {"TLS, verify 0 without a certificate", "\1\0\0\0\0", true, false, false},
        {"a certificate", "\3\0\0\0\0", true, true, true},
        {"of the session", "\5\0\0\0\0", true, true, true},
        {"not verified", "\3\0\0\0\x12", true, true, false},
        {"not verified either", "\3\1\0\0\0", true, true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct builder b;
        builder_init(&b);
        add_value(&b, 0x20, slice_of(cases[i].front, 5));
        set_length(&b);
        struct proxy_reader reader;
        size_t taken;
        CHECK_EQ(cases[i].name, feed(buf_slice(&b.out), 1, 1, &reader, &taken), PROXY_OK);
        CHECK_EQ(cases[i].name, reader.header.has_tls, cases[i].has_tls);
        CHECK_EQ(cases[i].name, reader.header.has_certificate, cases[i].has_certificate);
        CHECK_EQ(cases[i].name, reader.header.is_verified, cases[i].is_verified);
    }
}

TEST(long_texts_are_cut_and_the_last_of_two_counts)
{
    char text[PROXY_TEXT_BYTES_MAX + 45];
    memset(text, 'a', sizeof(text));
    struct builder b;
    builder_init(&b);
    add_value(&b, 0x02, slice_of(text, sizeof(text)));
    add_value(&b, 0x05, SLICE("first"));
    add_value(&b, 0x05, SLICE("2nd"));
    set_length(&b);
    check_good("long", buf_slice(&b.out), "192.0.2.1:56324");
    struct proxy_reader reader;
    size_t taken;
    CHECK_EQ("long", feed(buf_slice(&b.out), 7, 50, &reader, &taken), PROXY_OK);
    CHECK_EQ("long", reader.header.text_lens[PROXY_AUTHORITY], PROXY_TEXT_BYTES_MAX);
    CHECK_SLICE("long", proxy_text(&reader.header, PROXY_UNIQUE_ID), "2nd");
}

TEST(the_longest_header_is_read_in_constant_memory)
{
    static char bytes[16 + UINT16_MAX + sizeof(TAIL)];
    memset(bytes, 0, sizeof(bytes));
    struct slice front = SLICE(SIGNATURE "\x21\x11\xff\xff" V4_TO_25);
    memcpy(bytes, front.data, front.len);
    /* The checksum comes last, behind more than is ever kept. */
    size_t end = 16 + UINT16_MAX, crc_at = end - 4;
    size_t filler = end - front.len - 3 - 7;
    bytes[front.len] = 0x04;
    bytes[front.len + 1] = (char)(filler >> 8);
    bytes[front.len + 2] = (char)(filler & 0xff);
    memcpy(bytes + crc_at - 3, "\x03\0\x04", 3);
    uint32_t crc = crc32c_portable(0, bytes, end);
    for (unsigned i = 0; i < 4; i++)
        bytes[crc_at + i] = (char)(crc >> (24 - 8 * i));
    memcpy(bytes + end, TAIL, sizeof(TAIL));
    static const size_t pieces[] = {1, 7, 4096, 65536, sizeof(bytes)};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct proxy_reader reader;
        size_t taken;
        struct slice in = slice_of(bytes, sizeof(bytes));
        CHECK_EQ("longest", feed(in, pieces[i], pieces[i], &reader, &taken), PROXY_OK);
        CHECK_EQ("longest", taken, end);
        check_source("longest", &reader.header, "192.0.2.1:56324");
        bytes[20000] ^= 1;
        CHECK_EQ("longest", feed(in, pieces[i], pieces[i], &reader, &taken), PROXY_BAD);
        bytes[20000] ^= 1;
    }
}

TEST(random_bytes_give_the_same_at_every_cut)
{
    uint64_t seed = 88172645463325252u;
    struct builder b;
    set_crc(&b, build_full(&b));
    for (unsigned round = 0; round < 3000; round++) {
        char bytes[sizeof(b.bytes)];
        memcpy(bytes, b.bytes, b.out.len);
        /* Behind the signature, so that most rounds come past it. */
        for (unsigned i = 0; i < 1 + round % 4; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes[12 + seed % (b.out.len - 12)] = (char)(seed >> 32);
        }
        struct slice in = slice_of(bytes, b.out.len);
        struct proxy_reader whole, split;
        size_t whole_taken, split_taken;
        enum proxy_status want = feed(in, in.len, 1, &whole, &whole_taken);
        enum proxy_status got = feed(in, seed % in.len, 1, &split, &split_taken);
        CHECK_EQ("status", got, want);
        if (want != PROXY_OK) continue;
        CHECK_EQ("taken", split_taken, whole_taken);
        CHECK(memcmp(&whole.header, &split.header, sizeof(whole.header)) == 0);
    }
}
