#include "bench/intake.h"

#include "tests/support/test.h"

#include <string.h>

static uint64_t digest_of(struct slice text)
{
    struct digest d;
    digest_init(&d);
    digest_add(&d, text);
    return digest_value(&d);
}

/* Feeds `data` in two parts; true when the end was found exactly at its end. */
static bool feed(struct intake *in, struct slice data, size_t cut)
{
    size_t taken = 0;
    intake_init(in, false);
    bool is_end = intake_take(in, slice_of(data.data, cut), &taken);
    if (is_end) return taken == data.len;
    if (taken != cut) return false;
    return intake_take(in, slice_from(data, cut), &taken) && cut + taken == data.len;
}

TEST(intake_unstuffs_the_same_at_every_cut)
{
    static const struct {
        const char *data, *body;
    } cases[] = {
        {"A: b\r\n\r\n.\r\n", ""},
        {"A: b\r\n\r\ntext\r\n.\r\n", "text\r\n"},
        {"A: b\r\n\r\n..\r\n.\r\n", ".\r\n"},
        {"A: b\r\n\r\n...x\r\n..y\r\n.\r\n", "..x\r\n.y\r\n"},
        {"A: b\r\n\r\n.x\r\n.\r\n", "x\r\n"},
        {"A: b\r\n\r\na.b.\r\n.c.\r\n\r\n.\r\n", "a.b.\r\nc.\r\n\r\n"},
        {"A: b\r\n\r\n\n.\n\r.\r\r\n.\r\n", "\n.\n\r.\r\r\n"},
        {"A: b\r\n\r\nx\n.\r\ny\r\n.\r\n", "x\n.\r\ny\r\n"},
        {"A: b\r\n\r\n.\rx\r\n.\r\n", "\rx\r\n"},
        {"A: b\r\n\r\n.\r\r\n.\r\n", "\r\r\n"},
        {"A: b\r\n\r\n.\r.\r\n.\r\n", "\r.\r\n"},
        {".\r\n", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice data = slice_of_cstr(cases[i].data), body = slice_of_cstr(cases[i].body);
        for (size_t cut = 0; cut <= data.len; cut++) {
            struct intake in;
            CHECK_EQ(cases[i].data, feed(&in, data, cut), true);
            CHECK_EQ(cases[i].data, in.body_bytes, body.len);
            CHECK_EQ(cases[i].data, digest_value(&in.digest), digest_of(body));
        }
    }
}

TEST(intake_leaves_what_follows_the_end)
{
    struct intake in;
    size_t taken;
    intake_init(&in, false);
    CHECK(intake_take(&in, SLICE("A: b\r\n\r\nx\r\n.\r\nQUIT\r\n"), &taken));
    CHECK_EQ("taken", taken, strlen("A: b\r\n\r\nx\r\n.\r\n"));
}

TEST(intake_finds_marks_below_other_fields)
{
    static const char head[] = "Received: from a.example\r\n\tby b.example; X-Load-Id: no\r\n"
                               "X-LOAD-ID:  0f1e2d3c4b5a6978-000000000042 \r\n"
                               "X-Load-Digest: ef46db3751d8e999 000000000000\r\n"
                               "Subject: X-Load-Id: 1111111111111111-000000000001\r\n";
    char data[1024];
    struct buf all = {.data = data, .cap = sizeof(data)};
    buf_append_cstr(&all, head);
    for (size_t i = 0; i < 300; i++) {
        buf_append_char(&all, 'z'); /* a field longer than is kept */
    }
    buf_append_cstr(&all, ": x\r\n\r\n.\r\n");
    for (size_t cut = 0; cut <= all.len; cut++) {
        struct intake in;
        CHECK(feed(&in, buf_slice(&all), cut));
        CHECK(in.has_id && in.id.run == 0x0f1e2d3c4b5a6978u && in.id.number == 42);
        CHECK(!intake_is_altered(&in));
    }
}

TEST(intake_knows_an_altered_body)
{
    static const struct {
        const char *name, *data;
        bool is_altered;
    } cases[] = {
        {"as sent", "X-Load-Digest: 44bc2cf5ad770999 000000000003\r\n\r\nabc\r\n.\r\n", true},
        {"empty", "X-Load-Digest: ef46db3751d8e999 000000000000\r\n\r\n.\r\n", false},
        {"grown", "X-Load-Digest: ef46db3751d8e999 000000000000\r\n\r\n\r\n.\r\n", true},
        {"wrong length", "X-Load-Digest: ef46db3751d8e999 000000000001\r\n\r\n.\r\n", true},
        {"no digest", "A: b\r\n\r\n.\r\n", true},
        {"no header section", ".\r\n", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct intake in;
        CHECK_EQ(cases[i].name, feed(&in, slice_of_cstr(cases[i].data), 0), true);
        CHECK_EQ(cases[i].name, intake_is_altered(&in), cases[i].is_altered);
    }
}

TEST(intake_counting_only_still_finds_the_end)
{
    struct intake in;
    size_t taken;
    intake_init(&in, true);
    CHECK(!intake_take(&in, SLICE("A: b\r\n\r\nx\n.\n"), &taken));
    CHECK(intake_take(&in, SLICE("\r\n.\r\n"), &taken));
    CHECK_EQ("taken", taken, 5);
}
