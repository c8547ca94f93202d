#include "server/smtp/header.h"
#include "tests/support/test.h"

TEST(header_counts_received_fields_at_every_cut)
{
    static const struct {
        const char *name, *in;
        uint32_t received;
        bool is_over;
        const char *body; /* what follows the empty line */
    } cases[] = {
        {"none", "Subject: a\r\n\r\nb", 0, true, "b"},
        {"one", "Received: a\r\n\r\n", 1, true, ""},
        {"any case", "RECEIVED: a\r\nreceived:b\r\nrEcEiVeD: c\r\n\r\n", 3, true, ""},
        {"folded lines", "Received: a\r\n Received: b\r\n\tReceived: c\r\n\r\n", 1, true, ""},
        {"not only a prefix", "Received-SPF: a\r\nReceive: b\r\nXReceived: c\r\n\r\n", 0, true, ""},
        {"in the body", "A: b\r\n\r\nReceived: c\r\nReceived: d\r\n", 0, true,
         "Received: c\r\nReceived: d\r\n"},
        {"inside a line", "A: Received: b\r\n\r\n", 0, true, ""},
        {"without a header", "\r\nReceived: a\r\n", 0, true, "Received: a\r\n"},
        {"bare LFs end lines", "Received: a\nReceived: b\n\nReceived: c\n", 2, true,
         "Received: c\n"},
        {"bare CRs do not", "A: b\rReceived: c\r\r\rReceived: d\r\n\r\n", 0, true, ""},
        {"CR at the start of a line", "\rReceived: c\r\nReceived: d\r\n", 1, false, ""},
        {"cut short", "Received: a\r\nRecei\r\nved: b\r\n", 1, false, ""},
        {"empty", "", 0, false, ""},
        {"no colon yet", "Received", 0, false, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_of_cstr(cases[i].in);
        for (size_t cut = 0; cut <= in.len; cut++) {
            struct header_scanner h;
            header_init(&h);
            header_scan(&h, slice_of(in.data, cut));
            header_scan(&h, slice_from(in, cut));
            CHECK_EQ(cases[i].name, h.received_count, cases[i].received);
            CHECK_EQ(cases[i].name, h.is_over, cases[i].is_over);
            CHECK_EQ(cases[i].name, h.bytes, in.len - strlen(cases[i].body));
        }
    }
}

TEST(header_counts_past_every_limit)
{
    struct header_scanner h;
    header_init(&h);
    for (uint32_t i = 0; i < 2 * HEADER_RECEIVED_MAX; i++) {
        header_scan(&h, SLICE("Received: from a by b; c\r\n\tfolded\r\n"));
    }
    CHECK_EQ("fields", h.received_count, 2 * HEADER_RECEIVED_MAX);
    for (size_t i = 0; i < HEADER_BYTES_MAX / 64 + 1; i++) {
        header_scan(&h,
                    SLICE("X-0123456789-0123456789-0123456789-0123456789-0123456789-01: a\r\n"));
    }
    CHECK(h.bytes > HEADER_BYTES_MAX);
    CHECK(!h.is_over);
    h.bytes = UINT32_MAX - 2;
    header_scan(&h, SLICE("A: does not wrap\r\n"));
    CHECK_EQ("bytes", h.bytes, UINT32_MAX);
}
