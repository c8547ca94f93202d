/* cursor_test.c - a record written and read back, cut at every byte. */
#include "ring/base/cursor.h"
#include "tests/support/test.h"

#define RECORD_BYTES (1 + 2 + 4 + 8 + 2 + 5 + 3)

static void write_record(struct writer *w)
{
    write_u8(w, 0xfe);
    write_u16(w, 0xabcd);
    write_u32(w, 0xdeadbeef);
    write_u64(w, 0x0123456789abcdef);
    write_bytes16(w, SLICE("hello"));
    write_raw(w, SLICE("raw"));
}

TEST(a_record_reads_back)
{
    uint8_t bytes[RECORD_BYTES];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_record(&w);
    CHECK(!w.is_bad);
    CHECK_EQ("len", writer_len(&w), sizeof(bytes));
    CHECK_EQ("little end first", bytes[1], 0xcd);
    CHECK_EQ("little end first", bytes[3], 0xef);

    struct reader r = reader_of(bytes, sizeof(bytes));
    CHECK_EQ("u8", read_u8(&r), 0xfe);
    CHECK_EQ("u16", read_u16(&r), 0xabcd);
    CHECK_EQ("u32", read_u32(&r), 0xdeadbeef);
    CHECK_EQ("u64", read_u64(&r), 0x0123456789abcdef);
    CHECK_SLICE("bytes16", read_bytes16(&r), "hello");
    CHECK_SLICE("raw", read_raw(&r, 3), "raw");
    CHECK(!r.is_bad);
    CHECK_EQ("left", reader_left(&r), 0);
}

TEST(a_cut_record_turns_the_reader_bad_and_it_stays_so)
{
    uint8_t record[RECORD_BYTES];
    struct writer w = writer_of(record, sizeof(record));
    write_record(&w);
    for (size_t len = 0; len < sizeof(record); len++) {
        uint8_t *cut = malloc(len + (len == 0)); /* exact, for the sanitizer */
        memcpy(cut, record, len);
        struct reader r = reader_of(cut, len);
        read_u8(&r);
        read_u16(&r);
        read_u32(&r);
        read_u64(&r);
        read_bytes16(&r);
        read_raw(&r, 3);
        CHECK(r.is_bad);
        CHECK_EQ("after bad", read_u8(&r), 0);
        CHECK_EQ("after bad", read_u16(&r), 0);
        CHECK_EQ("after bad", read_u32(&r), 0);
        CHECK_EQ("after bad", read_u64(&r), 0);
        CHECK_EQ("after bad", read_bytes16(&r).len, 0);
        CHECK_EQ("after bad", read_raw(&r, 0).len, 0);
        free(cut);
    }
}

TEST(a_full_writer_turns_bad_and_writes_nothing_more)
{
    uint8_t want[RECORD_BYTES];
    struct writer w = writer_of(want, sizeof(want));
    write_record(&w);
    for (size_t cap = 0; cap < sizeof(want); cap++) {
        uint8_t *bytes = malloc(cap + (cap == 0));
        w = writer_of(bytes, cap);
        write_record(&w);
        CHECK(w.is_bad);
        size_t len = writer_len(&w);
        CHECK(len <= cap);
        CHECK(memcmp(bytes, want, len) == 0);
        write_u8(&w, 1);
        CHECK_EQ("nothing more", writer_len(&w), len);
        free(bytes);
    }
}

TEST(bytes_longer_than_16_bits_can_tell_are_refused)
{
    static uint8_t bytes[UINT16_MAX + 16];
    static const char value[UINT16_MAX + 1];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_bytes16(&w, slice_of(value, UINT16_MAX));
    CHECK(!w.is_bad);
    w = writer_of(bytes, sizeof(bytes));
    write_bytes16(&w, slice_of(value, UINT16_MAX + 1));
    CHECK(w.is_bad);
    CHECK_EQ("nothing written", writer_len(&w), 0);
}

TEST(a_huge_length_does_not_wrap)
{
    struct reader r = reader_of("abc", 3);
    CHECK_EQ("len", read_raw(&r, SIZE_MAX).len, 0);
    CHECK(r.is_bad);
    struct reader none = reader_of(NULL, 0);
    CHECK(!none.is_bad);
    CHECK_EQ("left", reader_left(&none), 0);
}
