/* network_test.c - networks: every text form, what is not one, and which addresses are inside. */
#include "ring/base/network.h"
#include "tests/support/test.h"

TEST(good_networks_read_and_write_back)
{
    static const struct {
        const char *in, *text;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.0/24"},
        {"192.0.2.1", "192.0.2.1"},
        {"192.0.2.1/32", "192.0.2.1"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"128.0.0.0/1", "128.0.0.0/1"},
        {"10.128.0.0/9", "10.128.0.0/9"},
        {"192.0.2.254/31", "192.0.2.254/31"},
        {"2001:db8::/32", "2001:db8::/32"},
        {"2001:DB8:0::1", "2001:db8::1"},
        {"::1/128", "::1"},
        {"::/0", "::/0"},
        {"2001:db8:8000::/33", "2001:db8:8000::/33"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct network network;
        char bytes[ENDPOINT_TEXT_MAX];
        struct buf text = {bytes, 0, sizeof(bytes), false};
        CHECK_EQ(cases[i].in, network_parse(slice_of_cstr(cases[i].in), &network), true);
        network_write(&network, &text);
        CHECK_BUF(cases[i].in, text, cases[i].text);
        CHECK(!text.is_short);
    }
}

TEST(bad_networks_are_refused)
{
    static const char *const cases[] = {
        "",
        "/",
        "/24",
        "192.0.2.0/",
        "192.0.2.0/33",
        "192.0.2.0/-1",
        "192.0.2.0/ 24",
        "192.0.2.0/24/24",
        "192.0.2.0/99999999999999999999",
        "192.0.2.1/24", /* a bit behind the prefix, in the next byte */
        "192.0.3.0/23", /* in the byte of the prefix's end */
        "0.0.0.1/0",
        "10.1.0.0/8",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1:25",
        " 192.0.2.1",
        "192.0.2.1 ",
        "example.com",
        "2001:db8::/129",
        "2001:db8::1/64",
        "2001:db8:8000::/32",
        "[2001:db8::1]",
        "2001:db8:::1",
        "1234:1234:1234:1234:1234:1234:1234:1234:1234:1234",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct network network;
        CHECK_EQ(cases[i], network_parse(slice_of_cstr(cases[i]), &network), false);
        CHECK_EQ("nothing is left of it", network.bits, 0);
    }
    struct network network;
    CHECK(!network_parse(slice_of("1.2.3.4\0", 8), &network));
    CHECK(!network_parse(slice_of("1.2.3.4", 0), &network));
}

static bool contains(const char *in, const char *address)
{
    struct network network;
    struct endpoint endpoint;
    CHECK_EQ(in, network_parse(slice_of_cstr(in), &network), true);
    CHECK_EQ(address, endpoint_parse(slice_of_cstr(address), &endpoint), true);
    return network_contains(&network, &endpoint);
}

TEST(addresses_are_inside_or_not)
{
    static const struct {
        const char *network, *address;
        bool want;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.0:1", true},
        {"192.0.2.0/24", "192.0.2.255:1", true},
        {"192.0.2.0/24", "192.0.3.0:1", false},
        {"192.0.2.0/24", "192.0.1.255:1", false},
        {"192.0.2.128/25", "192.0.2.127:1", false},
        {"192.0.2.128/25", "192.0.2.128:1", true},
        {"192.0.2.8/29", "192.0.2.15:1", true},
        {"192.0.2.8/29", "192.0.2.16:1", false},
        {"192.0.2.1", "192.0.2.1:1", true},
        {"192.0.2.1", "192.0.2.0:1", false},
        {"0.0.0.0/0", "203.0.113.9:1", true},
        {"0.0.0.0/0", "[2001:db8::1]:1", false},
        {"128.0.0.0/1", "127.255.255.255:1", false},
        {"192.0.2.0/24", "[::ffff:192.0.2.7]:1", true},
        {"192.0.2.0/24", "[::ffff:192.0.3.7]:1", false},
        {"::/0", "[2001:db8::1]:1", true},
        {"::/0", "192.0.2.1:1", false},
        {"::/0", "[::ffff:192.0.2.1]:1", false}, /* it is an IPv4 address */
        {"2001:db8::/33", "[2001:db8:7fff::1]:1", true},
        {"2001:db8::/33", "[2001:db8:8000::1]:1", false},
        {"::1", "[::1]:1", true},
        {"::1", "[::2]:1", false},
        {"2001:db8::/127", "[2001:db8::1]:1", true},
        {"2001:db8::/127", "[2001:db8::2]:1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s in %s", cases[i].address, cases[i].network);
        CHECK_EQ(name, contains(cases[i].network, cases[i].address), cases[i].want);
    }
}

TEST(no_address_is_in_no_network)
{
    struct endpoint none = {0};
    struct network network;
    CHECK(network_parse(SLICE("0.0.0.0/0"), &network) && !network_contains(&network, &none));
    CHECK(network_parse(SLICE("::/0"), &network) && !network_contains(&network, &none));
}
