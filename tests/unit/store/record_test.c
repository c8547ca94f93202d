/* record_test.c - records: back and forth, cut at every byte, every bit flipped. */
#include "store/record.h"
#include "store/stored.h"
#include "tests/support/test.h"

static struct recipient recipients[2];
static struct extent extents[2] = {{1, 0, 8192, 0x11111111}, {1048575, 77, 65536, 0x22222222}};

static struct envelope sample(void)
{
    recipients[0] = (struct recipient){.address = SLICE("a@one.example"),
                                       .orcpt = SLICE("rfc822;b+2Bc@zero.example"),
                                       .notify = DSN_NOTIFY_SUCCESS | DSN_NOTIFY_DELAY,
                                       .state = RECIPIENT_FAILED,
                                       .attempts = 3,
                                       .next_ms = 99,
                                       .reply = SLICE("550 5.1.1 no\0\n such user")};
    recipients[1] =
        (struct recipient){.address = SLICE("b@two.example"), .notify = DSN_NOTIFY_NEVER};
    return (struct envelope){.sender = SLICE("s@example.test"),
                             .helo = SLICE("helo.example"),
                             .client = SLICE("2001:db8::1"),
                             .listener = SLICE("mx"),
                             .received_ms = 1234567890123,
                             .trace_bytes = 200,
                             .form = BODY_RAW,
                             .user = SLICE("someone"),
                             .envid = SLICE("id+3D1"),
                             .ret = DSN_RETURN_HEADERS,
                             .is_8bit = true,
                             .is_utf8 = true,
                             .requires_tls = true,
                             .recipients = recipients,
                             .recipient_count = 2};
}

static struct record_head head(void)
{
    return (struct record_head){.state = RECORD_QUEUED,
                                .form = BODY_RAW,
                                .id = 0x123456789abcdef,
                                .due_ms = 5,
                                .received_ms = 1234567890123,
                                .body_bytes = 73000,
                                .trace_bytes = 200,
                                .extent_count = 2,
                                .recipient_count = 2};
}

static size_t make(uint8_t *out, size_t cap)
{
    struct envelope envelope = sample();
    struct record_head h = head();
    size_t bytes = record_bytes(&envelope, 2);
    CHECK(bytes > 0 && bytes <= cap);
    CHECK(record_write(out, bytes, &h, &envelope, extents));
    record_seal(out, bytes);
    return bytes;
}

TEST(record_comes_back_as_it_was)
{
    uint8_t bytes[1000];
    size_t len = make(bytes, sizeof(bytes));
    struct stored *stored;
    CHECK_EQ("decode", stored_decode(slice_of(bytes, len), head().id, &stored), 0);
    const struct message *m = &stored->message;
    CHECK_EQ("id", m->id, head().id);
    CHECK_EQ("due", stored->due_ms, 5);
    CHECK_EQ("state", stored->state, RECORD_QUEUED);
    CHECK_EQ("body", m->body_bytes, 73000);
    CHECK_EQ("received", m->envelope.received_ms, 1234567890123);
    CHECK_EQ("trace", m->envelope.trace_bytes, 200);
    CHECK_EQ("form", m->envelope.form, BODY_RAW);
    CHECK(m->envelope.is_8bit && m->envelope.is_utf8 && m->envelope.requires_tls);
    CHECK(!m->envelope.is_binary && !m->envelope.has_utf8_header);
    CHECK_SLICE("user", m->envelope.user, "someone");
    CHECK_SLICE("envid", m->envelope.envid, "id+3D1");
    CHECK_EQ("ret", m->envelope.ret, DSN_RETURN_HEADERS);
    CHECK_EQ("extents", memcmp(m->extents, extents, sizeof(extents)), 0);
    CHECK_SLICE("sender", m->envelope.sender, "s@example.test");
    CHECK_SLICE("helo", m->envelope.helo, "helo.example");
    CHECK_SLICE("client", m->envelope.client, "2001:db8::1");
    CHECK_SLICE("listener", m->envelope.listener, "mx");
    CHECK_EQ("count", m->envelope.recipient_count, 2);
    const struct recipient *r = &m->envelope.recipients[0];
    CHECK_SLICE("address", r->address, "a@one.example");
    CHECK_EQ("state", r->state, RECIPIENT_FAILED);
    CHECK_EQ("attempts", r->attempts, 3);
    CHECK_EQ("next", r->next_ms, 99);
    CHECK(slice_eq(r->reply, SLICE("550 5.1.1 no\0\n such user")));
    CHECK_SLICE("orcpt", r->orcpt, "rfc822;b+2Bc@zero.example");
    CHECK_EQ("notify", r->notify, DSN_NOTIFY_SUCCESS | DSN_NOTIFY_DELAY);
    r = &m->envelope.recipients[1];
    CHECK_SLICE("address", r->address, "b@two.example");
    CHECK_EQ("orcpt", r->orcpt.len, 0);
    CHECK_EQ("notify", r->notify, DSN_NOTIFY_NEVER);
    CHECK_EQ("state", r->state, RECIPIENT_QUEUED);
    stored_free(stored);
}

/* Each flag, and what to return, by itself: none is lost, none comes back as another. */
TEST(record_keeps_each_flag)
{
    for (unsigned bits = 0; bits < 32; bits++) {
        for (unsigned ret = DSN_RETURN_UNSET; ret <= DSN_RETURN_HEADERS; ret++) {
            struct envelope envelope = sample();
            struct record_head h = head();
            envelope.is_8bit = (bits & 1) != 0;
            envelope.is_binary = (bits & 2) != 0;
            envelope.is_utf8 = (bits & 4) != 0;
            envelope.has_utf8_header = (bits & 8) != 0;
            envelope.requires_tls = (bits & 16) != 0;
            envelope.ret = ret;
            uint8_t bytes[1000];
            size_t len = record_bytes(&envelope, 2);
            CHECK(record_write(bytes, len, &h, &envelope, extents));
            record_seal(bytes, len);
            struct stored *stored;
            CHECK_EQ("decode", stored_decode(slice_of(bytes, len), h.id, &stored), 0);
            const struct envelope *e = &stored->message.envelope;
            CHECK_EQ("flags", bits,
                     e->is_8bit | e->is_binary << 1 | e->is_utf8 << 2 | e->has_utf8_header << 3 |
                         e->requires_tls << 4);
            CHECK_EQ("ret", e->ret, ret);
            stored_free(stored);
        }
    }
}

TEST(record_is_refused_at_every_cut)
{
    uint8_t bytes[1000];
    size_t len = make(bytes, sizeof(bytes));
    for (size_t cut = 0; cut < len; cut++) {
        struct stored *stored;
        CHECK_EQ("cut", stored_decode(slice_of(bytes, cut), head().id, &stored), -ERR_CORRUPT);
    }
}

TEST(record_is_refused_with_any_bit_flipped)
{
    uint8_t bytes[1000];
    size_t len = make(bytes, sizeof(bytes));
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct stored *stored;
        CHECK_EQ("flip", stored_decode(slice_of(bytes, len), head().id, &stored), -ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* What a writer with a bug, or a later version, could leave: sums that fit, fields that do not. */
TEST(record_with_bad_fields_is_refused_although_its_checksum_fits)
{
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
    } cases[] = {
        {"length", 0, 1},
        {"version, an older one", 4, 1},
        {"version, a later one", 4, 4},
        {"state", 5, 3},
        {"form", 6, 2},
        {"flags", 7, 0x40},
        {"id", 8, 1},
        {"body longer than extents", 34, 9},
        {"trace", 43, 1},
        {"extent count", 44, 3},
        {"extent count, huge", 47, 0xff},
        {"recipient count", 48, 1},
        {"recipient count, more", 48, 3},
        {"recipient count, huge", 50, 0xff},
        {"extent segment", 55, 1},
        {"extent bytes", 63, 1},
        /* The six strings take 64 bytes, with their lengths. */
        {"ret", 84 + 64, 3},
        {"notify", 84 + 64 + 1 + 2 + 13 + 2 + 25, 0x10},
        {"recipient state", 84 + 64 + 1 + 2 + 13 + 2 + 25 + 1, 3},
        {"recipient report", 84 + 64 + 1 + 2 + 13 + 2 + 25 + 1, 6 << 2},
        {"recipient flags", 84 + 64 + 1 + 2 + 13 + 2 + 25 + 1, 0x40},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[1000];
        size_t len = make(bytes, sizeof(bytes));
        bytes[cases[i].at] = cases[i].value;
        record_seal(bytes, len);
        struct stored *stored;
        CHECK_EQ(cases[i].name, stored_decode(slice_of(bytes, len), head().id, &stored),
                 -ERR_CORRUPT);
    }
}

/* What failed under version 2 was never reported. */
TEST(record_of_version_2_is_read)
{
    enum { AT_STATE = 84 + 64 + 1 + 2 + 13 + 2 + 25 + 1 };
    uint8_t bytes[1000];
    size_t len = make(bytes, sizeof(bytes));
    bytes[4] = 2;
    bytes[AT_STATE] = RECIPIENT_FAILED;
    record_seal(bytes, len);
    struct stored *stored;
    CHECK_EQ("read", stored_decode(slice_of(bytes, len), head().id, &stored), 0);
    if (stored == NULL) return;
    const struct recipient *recipient = &stored->message.envelope.recipients[0];
    CHECK_EQ("state", recipient->state, RECIPIENT_FAILED);
    CHECK_EQ("report", recipient->report, REPORT_FAILED);
    CHECK_EQ("warned", recipient->is_warned, false);
    stored_free(stored);
    bytes[AT_STATE] = RECIPIENT_QUEUED | REPORT_DELAYED << 2; /* it had none */
    record_seal(bytes, len);
    CHECK_EQ("report", stored_decode(slice_of(bytes, len), head().id, &stored), -ERR_CORRUPT);
}

TEST(record_keeps_what_is_set_in_place)
{
    uint8_t bytes[1000];
    size_t len = make(bytes, sizeof(bytes));
    struct extent extent = {9, 8, 7, 6};
    record_set_due(bytes, 77);
    record_set_extent(bytes, 0, &extent);
    record_set_extent(bytes, 1, &extents[1]);
    struct record_head h;
    CHECK(!record_check(slice_of(bytes, len), head().id, &h));
    record_seal(bytes, len);
    CHECK(record_check(slice_of(bytes, len), head().id, &h));
    CHECK_EQ("due", h.due_ms, 77);
    struct extent got = record_extent(bytes, 0);
    CHECK_EQ("extent", memcmp(&got, &extent, sizeof(got)), 0);
}

TEST(record_limits_are_kept)
{
    struct envelope envelope = sample();
    struct record_head h = head();
    struct stored *stored;
    static char text[70000];
    memset(text, 'x', sizeof(text));

    recipients[0].reply = slice_of(text, 4000);
    size_t bytes = record_bytes(&envelope, 2);
    recipients[0].reply = slice_of(text, MESSAGE_REPLY_BYTES_MAX);
    CHECK_EQ("a long reply is cut", bytes, record_bytes(&envelope, 2));

    envelope.helo = slice_of(text, 65536);
    CHECK_EQ("a string past its prefix", stored_create(&h, &envelope, &stored), -ERR_TOO_LARGE);
    envelope.helo = slice_of(text, 65535);
    CHECK_EQ("the longest string", stored_create(&h, &envelope, &stored), 0);
    stored_free(stored);

    envelope = sample();
    struct recipient *many = calloc(MESSAGE_RECIPIENTS_MAX + 1, sizeof(*many));
    envelope.recipients = many;
    envelope.recipient_count = h.recipient_count = MESSAGE_RECIPIENTS_MAX;
    CHECK_EQ("most recipients", stored_create(&h, &envelope, &stored), 0);
    stored_free(stored);
    envelope.recipient_count = h.recipient_count = MESSAGE_RECIPIENTS_MAX + 1;
    CHECK_EQ("too many recipients", stored_create(&h, &envelope, &stored), -ERR_TOO_LARGE);
    for (uint32_t i = 0; i < MESSAGE_RECIPIENTS_MAX; i++)
        many[i].address = slice_of(text, 2000);
    envelope.recipient_count = h.recipient_count = MESSAGE_RECIPIENTS_MAX;
    CHECK_EQ("a record past its limit", stored_create(&h, &envelope, &stored), -ERR_TOO_LARGE);
    free(many);
}

TEST(message_id_is_written_and_read)
{
    static const struct {
        uint64_t id;
        const char *text;
    } cases[] = {
        {0, "0000000000000"},
        {31, "000000000000Z"},
        {UINT64_MAX, "FZZZZZZZZZZZZ"},
        {0x0123456789abcdef, "028T5CY4TQKFF"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[MESSAGE_ID_TEXT];
        message_id_write(cases[i].id, text);
        CHECK_SLICE("text", slice_of(text, sizeof(text)), cases[i].text);
        uint64_t id = 1;
        CHECK(message_id_parse(slice_of_cstr(cases[i].text), &id));
        CHECK_EQ(cases[i].text, id, cases[i].id);
    }
    uint64_t id;
    CHECK(message_id_parse(SLICE("oooooooooooil"), &id) && id == 33);
    static const char *const bad[] = {"",
                                      "000000000000",
                                      "00000000000000",
                                      "G000000000000",
                                      "ZZZZZZZZZZZZZ",
                                      "000000000000U",
                                      "000000 000000"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!message_id_parse(slice_of_cstr(bad[i]), &id));
}
