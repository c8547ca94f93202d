#include "bench/message.h"

#include "bench/intake.h"
#include "bench/message_text.h"
#include "ring/base/memory.h"
#include "tests/support/test.h"

static struct message_options options_of(uint64_t bytes)
{
    return (struct message_options){.run = 0xabc,
                                    .seed = 7,
                                    .from = "a@bench.test",
                                    .to = "b@bench.test",
                                    .sizes = {{bytes, 1}},
                                    .size_count = 1};
}

/* The message as it is on the wire, in memory that the caller frees. */
static struct slice wire_of(const struct message_maker *maker, const struct message *m)
{
    struct iovec *pieces = xcalloc(message_pieces_max(maker), sizeof(*pieces));
    uint32_t count = message_pieces(m, 0, message_rest_bytes(m), pieces);
    size_t bytes = MESSAGE_HEADER_BYTES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        bytes += pieces[i].iov_len;
    }
    struct buf out = {.data = xmalloc(bytes), .cap = bytes};
    message_write_header(maker, m, &out);
    for (uint32_t i = 0; i < count; i++) {
        buf_append(&out, pieces[i].iov_base, pieces[i].iov_len);
    }
    CHECK(!out.is_short);
    free(pieces);
    return buf_slice(&out);
}

/* Only CRLF as line ends, no line of more than 998 bytes besides a stuffed dot. */
static bool is_clean(struct slice wire)
{
    size_t line = 0;
    for (size_t i = 0; i < wire.len; i++) {
        char before = i == 0 ? '\0' : wire.data[i - 1];
        if (wire.data[i] == '\0' || (before == '\r') != (wire.data[i] == '\n')) return false;
        if (wire.data[i] == '\n') {
            line = 0;
        } else if (++line > MESSAGE_LINE_BYTES_MAX + 2) {
            return false;
        }
    }
    return true;
}

TEST(message_is_what_the_intake_expects)
{
    static const uint64_t sizes[] = {0,    1,    500,   550,   600,    1024,    2000,
                                     4095, 4096, 51200, 65536, 122500, 1 << 20, 3 << 20};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct message_options options = options_of(sizes[i]);
        struct message_maker *maker = message_maker_create(&options);
        for (uint64_t number = 1; number <= 40; number++) {
            struct message m;
            struct intake in;
            size_t taken;
            message_make(maker, number, true, &m);
            struct slice wire = wire_of(maker, &m);
            intake_init(&in, false);
            CHECK(intake_take(&in, wire, &taken));
            CHECK_EQ("all of it", taken, wire.len);
            CHECK(in.has_id && in.id.run == 0xabc && in.id.number == number);
            CHECK(!intake_is_altered(&in));
            CHECK_EQ("digest", digest_value(&in.digest), m.digest);
            CHECK_EQ("bytes", in.bytes, m.bytes);
            if (m.body_bytes > 0) CHECK_EQ("as asked", m.bytes, sizes[i]);
            CHECK(is_clean(wire));
            free((void *)(uintptr_t)wire.data);
        }
        message_maker_destroy(maker);
    }
}

TEST(message_bodies_differ_and_can_be_made_again)
{
    struct message_options options = options_of(4096);
    struct message_maker *maker = message_maker_create(&options);
    struct message_maker *same = message_maker_create(&options);
    struct message first, second, again;
    message_make(maker, 1, true, &first);
    message_make(maker, 2, true, &second);
    message_make(same, 1, true, &again);
    CHECK(first.digest != second.digest);
    CHECK_EQ("same seed", first.digest, again.digest);
    message_maker_destroy(maker);
    message_maker_destroy(same);
}

TEST(message_keeps_to_seven_bits_when_told)
{
    struct message_options options = options_of(4096);
    struct message_maker *maker = message_maker_create(&options);
    unsigned wide = 0;
    for (uint64_t number = 1; number <= 200; number++) {
        struct message m;
        message_make(maker, number, true, &m);
        wide += m.is_8bit;
        message_make(maker, number, false, &m);
        struct slice wire = wire_of(maker, &m);
        CHECK(!m.is_8bit);
        for (size_t i = 0; i < wire.len; i++) {
            CHECK((unsigned char)wire.data[i] < 128);
        }
        free((void *)(uintptr_t)wire.data);
    }
    CHECK(wide > 20 && wide < 100);
    message_maker_destroy(maker);
}

TEST(message_mix_has_its_weights)
{
    struct message_options options = options_of(1024);
    options.sizes[1] = (struct message_size){8192, 3};
    options.size_count = 2;
    struct message_maker *maker = message_maker_create(&options);
    unsigned large = 0;
    for (uint64_t number = 1; number <= 4000; number++) {
        struct message m;
        message_make(maker, number, true, &m);
        large += m.bytes == 8192;
    }
    CHECK(large > 2800 && large < 3200);
    message_maker_destroy(maker);
}

TEST(message_of_50_mib_takes_little_memory)
{
    struct message_options options = options_of(50 << 20);
    struct message_maker *maker = message_maker_create(&options);
    struct message m;
    message_make(maker, 1, true, &m);
    CHECK_EQ("bytes", m.bytes, 50 << 20);
    CHECK(message_pieces_max(maker) < 1000);
    struct iovec *pieces = xcalloc(message_pieces_max(maker), sizeof(*pieces));
    uint32_t count = message_pieces(&m, 0, message_rest_bytes(&m), pieces);
    CHECK(count > 10 && pieces[0].iov_base == pieces[1].iov_base);
    CHECK(pieces[0].iov_len % 4096 != 0);
    free(pieces);
    message_maker_destroy(maker);
}

/* Copies the wire form of the part, cut wherever its pieces are. */
static void append_part(const struct message *m, uint64_t from, uint64_t bytes,
                        struct iovec *pieces, struct buf *out)
{
    uint32_t count = message_pieces(m, from, bytes, pieces);
    for (uint32_t i = 0; i < count; i++) {
        buf_append(out, pieces[i].iov_base, pieces[i].iov_len);
    }
}

TEST(message_is_the_same_in_parts_of_any_size)
{
    static const uint64_t sizes[] = {0, 1024, 4096, 61007 + 600, 200000};
    static const uint64_t parts[] = {1, 7, 1000, 61006, 61007, 61008, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct message_options options = options_of(sizes[i]);
        struct message_maker *maker = message_maker_create(&options);
        struct message m;
        message_make(maker, 3, true, &m);
        struct slice whole = wire_of(maker, &m);
        size_t header_bytes = message_header_bytes(maker);
        uint64_t rest = message_rest_bytes(&m);
        CHECK_EQ("wire", header_bytes + rest, whole.len);
        struct iovec *pieces = xcalloc(message_pieces_max(maker), sizeof(*pieces));
        struct buf got = {.data = xmalloc(whole.len), .cap = whole.len};
        for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
            buf_reset(&got);
            for (uint64_t at = 0; at < rest; at += parts[k]) {
                append_part(&m, at, MIN(parts[k], rest - at), pieces, &got);
            }
            CHECK(slice_eq(buf_slice(&got), slice_from(whole, header_bytes)));
        }
        free(got.data);
        free(pieces);
        free((void *)(uintptr_t)whole.data);
        message_maker_destroy(maker);
    }
}

TEST(message_for_bdat_has_no_stuffed_dots_and_no_end)
{
    static const uint64_t sizes[] = {0, 1024, 4096, 200000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct message_options options = options_of(sizes[i]);
        options.is_unstuffed = true;
        struct message_maker *maker = message_maker_create(&options);
        for (uint64_t number = 1; number <= 40; number++) {
            struct message m;
            message_make(maker, number, true, &m);
            struct slice wire = wire_of(maker, &m);
            CHECK_EQ("bytes", wire.len, m.bytes);
            struct digest digest;
            digest_init(&digest);
            digest_add(&digest, slice_from(wire, message_header_bytes(maker)));
            CHECK(digest_value(&digest) == m.digest);
            free((void *)(uintptr_t)wire.data);
        }
        message_maker_destroy(maker);
    }
}

TEST(text_fills_exactly_and_has_its_shapes)
{
    static char raw[20000], wire[40000];
    for (int kind = 0; kind < TEXT_KIND_COUNT; kind++) {
        for (size_t bytes = 0; bytes <= 5000; bytes += bytes < 50 ? 1 : 97) {
            if (bytes == 1) continue;
            uint64_t random = bytes;
            struct buf text = {.data = raw, .cap = sizeof(raw)};
            struct buf stuffed = {.data = wire, .cap = sizeof(wire)};
            text_write((enum text_kind)kind, &random, bytes, &text);
            text_stuff(buf_slice(&text), &stuffed);
            CHECK_EQ("bytes", text.len, bytes);
            CHECK(is_clean(buf_slice(&stuffed)));
            if (kind == TEXT_DOT_FIRST && bytes > 4) {
                CHECK_SLICE("first line", slice_of(wire, 4), "..\r\n");
            }
        }
    }
}
