#include "bench/proxy_header.h"

#include "tests/support/test.h"

static struct endpoint parse(const char *text)
{
    struct endpoint e;
    CHECK(endpoint_parse(slice_of_cstr(text), &e));
    return e;
}

TEST(proxy_clients_are_of_the_block_for_benchmarks)
{
    static const struct {
        uint32_t index;
        const char *want;
    } cases[] = {
        {0, "198.18.0.1:1024"},
        {254, "198.18.0.255:1024"},
        {255, "198.18.1.0:1024"},
        {65535, "198.19.0.0:1024"},
        {PROXY_CLIENTS_MAX - 1, "198.19.134.160:1024"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoint got = proxy_client(cases[i].index, 1024);
        char bytes[ENDPOINT_TEXT_MAX];
        struct buf text = {.data = bytes, .cap = sizeof(bytes)};
        endpoint_write(&got, &text);
        CHECK_SLICE("client", buf_slice(&text), cases[i].want);
    }
}

TEST(proxy_v1_is_one_line)
{
    struct endpoint client = parse("198.18.0.7:4711"), target = parse("192.0.2.1:25");
    char bytes[PROXY_HEADER_BYTES_MAX];
    struct buf out = {.data = bytes, .cap = sizeof(bytes)};
    proxy_write_v1(&client, &target, &out);
    CHECK_SLICE("header", buf_slice(&out), "PROXY TCP4 198.18.0.7 192.0.2.1 4711 25\r\n");
}

/* The bytes of the specification's section 2.2. */
TEST(proxy_v2_has_28_bytes)
{
    static const unsigned char want[28] = {
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11,
        0x00, 0x0c, 198,  18,   0,    7,    192,  0,    2,    1,    0x12, 0x67, 0x00, 0x19};
    struct endpoint client = parse("198.18.0.7:4711"), target = parse("192.0.2.1:25");
    char bytes[PROXY_HEADER_BYTES_MAX];
    struct buf out = {.data = bytes, .cap = sizeof(bytes)};
    proxy_write_v2(&client, &target, &out);
    CHECK(slice_eq(buf_slice(&out), slice_of(want, sizeof(want))));
}

TEST(proxy_targets_are_of_one_family_with_the_clients)
{
    struct endpoint six = parse("[2001:db8::1]:2525"), four = parse("127.0.0.1:25");
    struct endpoint of_six = proxy_target(&six), of_four = proxy_target(&four);
    CHECK_EQ("family", of_six.addr.any.sa_family, AF_INET);
    CHECK_EQ("port", endpoint_port(&of_six), 2525);
    CHECK(endpoint_eq(&of_four, &four));
}
