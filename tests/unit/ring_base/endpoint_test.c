/* endpoint_test.c - addresses: every text form, and what is not one. */
#include "ring/base/endpoint.h"
#include "tests/support/test.h"

TEST(good_addresses_read_and_write_back)
{
    static const struct {
        const char *in, *text, *address, *literal;
        uint16_t port;
        size_t key_len;
    } cases[] = {
        {"192.0.2.1:25", "192.0.2.1:25", "192.0.2.1", "[192.0.2.1]", 25, 4},
        {"0.0.0.0:0", "0.0.0.0:0", "0.0.0.0", "[0.0.0.0]", 0, 4},
        {"255.255.255.255:65535", "255.255.255.255:65535", "255.255.255.255", "[255.255.255.255]",
         65535, 4},
        {"[2001:db8::1]:25", "[2001:db8::1]:25", "2001:db8::1", "[IPv6:2001:db8::1]", 25, 16},
        {"[2001:DB8:0:0:0:0:0:1]:25", "[2001:db8::1]:25", "2001:db8::1", "[IPv6:2001:db8::1]", 25,
         16},
        {"[::]:2525", "[::]:2525", "::", "[IPv6:::]", 2525, 16},
        {"[::ffff:192.0.2.1]:25", "192.0.2.1:25", "192.0.2.1", "[192.0.2.1]", 25, 4},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "[IPv6:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]", 65535, 16},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoint e;
        char bytes[ENDPOINT_TEXT_MAX];
        struct buf b = {bytes, 0, sizeof(bytes), false};
        CHECK(endpoint_parse(slice_of_cstr(cases[i].in), &e));
        endpoint_write(&e, &b);
        CHECK_BUF(cases[i].in, b, cases[i].text);
        buf_reset(&b);
        endpoint_write_address(&e, &b);
        CHECK_BUF(cases[i].in, b, cases[i].address);
        buf_reset(&b);
        endpoint_write_literal(&e, &b);
        CHECK_BUF(cases[i].in, b, cases[i].literal);
        CHECK(!b.is_short);
        CHECK_EQ(cases[i].in, endpoint_port(&e), cases[i].port);
        CHECK_EQ(cases[i].in, endpoint_key(&e).len, cases[i].key_len);
    }
}

TEST(bad_addresses_are_refused)
{
    static const char *const cases[] = {
        "",
        ":",
        ":25",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1: 25",
        "192.0.2.256:25",
        "192.0.2:25",
        "192.0.2.1.1:25",
        "2001:db8::1:25",
        "[2001:db8::1]",
        "[2001:db8::1]25",
        "[2001:db8::1:25",
        "2001:db8::1]:25",
        "[]:25",
        "[192.0.2.1]:25",
        "[2001:db8::1::2]:25",
        "[fe80::1%eth0]:25",
        "localhost:25",
        "1111111111111111111111111111111111111111111111111111111111111111:25",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoint e;
        CHECK_EQ(cases[i], endpoint_parse(slice_of_cstr(cases[i]), &e), false);
        CHECK_EQ(cases[i], e.addr_len, 0);
    }
    struct endpoint e;
    CHECK(!endpoint_parse(SLICE("192.0.2.1\0:25"), &e));
    CHECK(!endpoint_parse(SLICE("[::1\0]:25"), &e));
}

TEST(a_text_cut_anywhere_is_no_other_address_family)
{
    static const char text[] = "[2001:db8::1]:2525";
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        struct endpoint e;
        bool is_good = endpoint_parse(slice_of(text, len), &e);
        CHECK_EQ("cut", is_good, len >= sizeof("[2001:db8::1]:"));
    }
}

TEST(a_mapped_address_is_the_same_peer)
{
    struct endpoint v4, mapped, other_port, v6, none = {0};
    CHECK(endpoint_parse(SLICE("192.0.2.1:25"), &v4));
    CHECK(endpoint_parse(SLICE("[::ffff:192.0.2.1]:25"), &mapped));
    CHECK(endpoint_parse(SLICE("192.0.2.1:26"), &other_port));
    CHECK(endpoint_parse(SLICE("[2001:db8::1]:25"), &v6));
    CHECK(endpoint_eq(&v4, &mapped));
    CHECK(!endpoint_eq(&v4, &other_port));
    CHECK(!endpoint_eq(&v4, &v6));
    CHECK(!endpoint_eq(&v4, &none));
    CHECK(endpoint_eq(&none, &none));
    CHECK(slice_eq(endpoint_key(&v4), endpoint_key(&mapped)));
    CHECK_EQ("none", endpoint_key(&none).len, 0);
    CHECK_EQ("none", endpoint_port(&none), 0);
    char bytes[8];
    struct buf b = {bytes, 0, sizeof(bytes), false};
    endpoint_write(&none, &b);
    CHECK_BUF("none", b, "-");
}
