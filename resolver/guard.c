/* guard.c - tables of networks (RFC 6890), and the interfaces of this host. */
#include "resolver/guard.h"

#include "ring/base/network.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

struct prefix {
    uint8_t bytes[16];
    uint8_t bits;
};

static const struct prefix refused_v4[] = {
    {{0}, 8},        {{10}, 8},      {{100, 64}, 10},  {{127}, 8}, {{169, 254}, 16},
    {{172, 16}, 12}, {{192, 0}, 24}, {{192, 168}, 16}, {{224}, 4}, {{240}, 4},
};
static const struct prefix refused_v6[] = {
    {{0}, 127},         /* :: and ::1 */
    {{0xfc}, 7},        /* unique local */
    {{0xfe, 0x80}, 10}, /* link-local */
    {{0xfe, 0xc0}, 10}, /* site-local, of old */
    {{0xff}, 8},        /* multicast */
};
/* Networks of which the IPv4 address inside counts, at this byte. */
static const struct {
    struct prefix prefix;
    unsigned at;
} carriers[] = {
    {{{[10] = 0xff, [11] = 0xff}, 96}, 12},
    {{{0}, 96}, 12}, /* IPv4-compatible, of old */
    {{{0x00, 0x64, 0xff, 0x9b}, 96}, 12},
    {{{0x20, 0x02}, 16}, 2},
};

static bool is_in(const uint8_t *address, const struct prefix *prefix)
{
    unsigned whole = prefix->bits / 8, rest = prefix->bits % 8;
    if (memcmp(address, prefix->bytes, whole) != 0) return false;
    if (rest == 0) return true;
    unsigned mask = 0xffu << (8 - rest) & 0xffu;
    return (address[whole] & mask) == (prefix->bytes[whole] & mask);
}

static bool is_public_v4(const uint8_t *address)
{
    for (size_t i = 0; i < ARRAY_LEN(refused_v4); i++) {
        if (is_in(address, &refused_v4[i])) return false;
    }
    return true;
}

bool guard_is_public(const struct endpoint *address)
{
    if (address->addr.any.sa_family == AF_INET)
        return is_public_v4((const uint8_t *)&address->addr.v4.sin_addr);
    if (address->addr.any.sa_family != AF_INET6) return false;
    const uint8_t *bytes = address->addr.v6.sin6_addr.s6_addr;
    for (size_t i = 0; i < ARRAY_LEN(refused_v6); i++) {
        if (is_in(bytes, &refused_v6[i])) return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(carriers); i++) {
        if (is_in(bytes, &carriers[i].prefix)) return is_public_v4(bytes + carriers[i].at);
    }
    return true;
}

bool guard_is_loopback(const struct endpoint *address)
{
    static const struct prefix v4 = {{127}, 8}, v6 = {{[15] = 1}, 128};
    struct slice key = endpoint_key(address);
    return is_in((const uint8_t *)key.data, key.len == 4 ? &v4 : &v6);
}

void own_addresses_read(struct own_addresses *own)
{
    struct ifaddrs *all = NULL;
    own->count = 0;
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *at = all; at != NULL; at = at->ifa_next) {
        if (at->ifa_addr == NULL || own->count == OWN_ADDRESSES_MAX) continue;
        struct endpoint *entry = &own->entries[own->count];
        sa_family_t family = at->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6) continue;
        entry->addr_len = family == AF_INET ? sizeof(entry->addr.v4) : sizeof(entry->addr.v6);
        memcpy(&entry->addr, at->ifa_addr, entry->addr_len);
        own->count++;
    }
    freeifaddrs(all);
}

bool own_addresses_have(const struct own_addresses *own, const struct endpoint *address)
{
    struct slice key = endpoint_key(address);
    for (uint32_t i = 0; i < own->count; i++) {
        if (slice_eq(endpoint_key(&own->entries[i]), key)) return true;
    }
    return false;
}
