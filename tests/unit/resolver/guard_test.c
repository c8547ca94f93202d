/* guard_test.c - which addresses a name of a stranger may lead to. */
#include "resolver/guard.h"
#include "resolver/route.h"

#include "tests/support/test.h"

static struct endpoint at(const char *address)
{
    char text[ENDPOINT_TEXT_MAX + 8];
    struct endpoint endpoint;
    snprintf(text, sizeof(text), strchr(address, ':') != NULL ? "[%s]:25" : "%s:25", address);
    CHECK(endpoint_parse(slice_of_cstr(text), &endpoint));
    return endpoint;
}

TEST(private_own_and_reserved_addresses_are_refused)
{
    static const struct {
        const char *address;
        bool is_public;
    } cases[] = {
        {"192.0.2.1", true},
        {"8.8.8.8", true},
        {"172.15.0.1", true},
        {"172.32.0.1", true},
        {"100.63.0.1", true},
        {"223.255.255.255", true},
        {"0.0.0.0", false},
        {"10.1.2.3", false},
        {"100.64.0.1", false},
        {"127.0.0.1", false},
        {"127.255.255.255", false},
        {"169.254.169.254", false},
        {"172.16.0.1", false},
        {"172.31.255.255", false},
        {"192.168.0.1", false},
        {"192.0.0.8", false},
        {"224.0.0.1", false},
        {"255.255.255.255", false},
        {"2001:db8::1", true},
        {"2a00::1", true},
        {"::", false},
        {"::1", false},
        {"fc00::1", false},
        {"fdff::1", false},
        {"fe80::1", false},
        {"ff02::1", false},
        {"::ffff:127.0.0.1", false},
        {"::ffff:192.0.2.1", true},
        {"::ffff:10.0.0.1", false},
        {"::10.0.0.1", false},
        {"64:ff9b::a00:1", false},
        {"64:ff9b::808:808", true},
        {"2002:a00:1::1", false},
        {"2002:808:808::1", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoint endpoint = at(cases[i].address);
        CHECK_EQ(cases[i].address, guard_is_public(&endpoint), cases[i].is_public);
    }
}

TEST(what_is_allowed_is_allowed)
{
    struct network allowed;
    struct endpoint inside = at("10.1.2.3"), outside = at("10.2.2.3");
    CHECK(network_parse(SLICE("10.1.0.0/16"), &allowed));
    CHECK(route_address_is_allowed(&inside, &allowed, 1));
    CHECK(!route_address_is_allowed(&outside, &allowed, 1));
    CHECK(!route_address_is_allowed(&inside, NULL, 0));
}

TEST(own_addresses_are_known)
{
    static struct own_addresses own;
    struct endpoint loopback = at("127.0.0.1"), other = at("198.51.100.77");
    own_addresses_read(&own);
    CHECK(own.count > 0);
    CHECK(own_addresses_have(&own, &loopback));
    CHECK(!own_addresses_have(&own, &other));
}
