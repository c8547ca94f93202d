/* network.c - reads, compares and writes networks of addresses. */
#include "ring/base/network.h"

#include <arpa/inet.h>

#define IPV4_BITS 32
#define IPV6_BITS 128

static bool parse_address(struct slice text, struct network *out)
{
    char address[INET6_ADDRSTRLEN];
    if (text.len >= sizeof(address) || memchr(text.data, '\0', text.len) != NULL) return false;
    memcpy(address, text.data, text.len);
    address[text.len] = '\0';
    out->is_ipv6 = memchr(text.data, ':', text.len) != NULL;
    return inet_pton(out->is_ipv6 ? AF_INET6 : AF_INET, address, out->address) == 1;
}

/* A host's address with a prefix, as in 192.0.2.1/24, is more often a slip than meant. */
static bool has_bits_behind(const struct network *network)
{
    size_t bytes = network->is_ipv6 ? 16 : 4, whole = network->bits / 8u;
    if (whole == bytes) return false;
    if ((network->address[whole] & (0xffu >> (network->bits % 8u))) != 0) return true;
    for (size_t i = whole + 1; i < bytes; i++) {
        if (network->address[i] != 0) return true;
    }
    return false;
}

bool network_parse(struct slice text, struct network *out)
{
    struct network network = {0};
    *out = network;
    const char *slash = text.len > 0 ? memchr(text.data, '/', text.len) : NULL;
    struct slice address = text;
    if (slash != NULL) address.len = (size_t)(slash - text.data);
    if (address.len == 0 || !parse_address(address, &network)) return false;

    uint64_t bits_max = network.is_ipv6 ? IPV6_BITS : IPV4_BITS, bits = bits_max;
    if (slash != NULL && !slice_to_u64(slice_from(text, address.len + 1), bits_max, &bits))
        return false;
    network.bits = (uint8_t)bits;
    if (has_bits_behind(&network)) return false;
    *out = network;
    return true;
}

bool network_contains(const struct network *network, const struct endpoint *endpoint)
{
    struct slice key = endpoint_key(endpoint);
    if (key.len != (network->is_ipv6 ? 16u : 4u)) return false;
    size_t whole = network->bits / 8u;
    if (memcmp(network->address, key.data, whole) != 0) return false;
    unsigned rest = network->bits % 8u;
    if (rest == 0) return true;
    unsigned differ = (unsigned)network->address[whole] ^ (unsigned char)key.data[whole];
    return (differ & (0xffu << (8u - rest)) & 0xffu) == 0;
}

void network_write(const struct network *network, struct buf *out)
{
    char text[INET6_ADDRSTRLEN];
    const char *done =
        inet_ntop(network->is_ipv6 ? AF_INET6 : AF_INET, network->address, text, sizeof(text));
    ASSERT(done != NULL);
    buf_append_cstr(out, text);
    if (network->bits == (network->is_ipv6 ? IPV6_BITS : IPV4_BITS)) return;
    buf_append_char(out, '/');
    buf_append_u64(out, network->bits);
}
