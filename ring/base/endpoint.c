/* endpoint.c - addresses with ports, and their text.
 *
 * A v4 address that came mapped into v6 (::ffff:192.0.2.1) is written, compared and keyed as the
 * v4 address it is: it is the same peer, whatever socket it came through. */
#include "ring/base/endpoint.h"

#include <arpa/inet.h>

static bool parse_v4(struct slice text, struct endpoint *out)
{
    char address[INET_ADDRSTRLEN];
    if (text.len >= sizeof(address) || memchr(text.data, '\0', text.len) != NULL) return false;
    memcpy(address, text.data, text.len);
    address[text.len] = '\0';
    out->addr.v4.sin_family = AF_INET;
    out->addr_len = sizeof(out->addr.v4);
    return inet_pton(AF_INET, address, &out->addr.v4.sin_addr) == 1;
}

static bool parse_v6(struct slice text, struct endpoint *out)
{
    char address[INET6_ADDRSTRLEN];
    if (text.len >= sizeof(address) || memchr(text.data, '\0', text.len) != NULL) return false;
    memcpy(address, text.data, text.len);
    address[text.len] = '\0';
    out->addr.v6.sin6_family = AF_INET6;
    out->addr_len = sizeof(out->addr.v6);
    return inet_pton(AF_INET6, address, &out->addr.v6.sin6_addr) == 1;
}

bool endpoint_parse(struct slice text, struct endpoint *out)
{
    struct endpoint e = {0};
    *out = e;

    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon < 2) return false;
    struct slice address = slice_of(text.data, colon - 1);
    uint64_t port;
    if (!slice_to_u64(slice_from(text, colon), UINT16_MAX, &port)) return false;

    if (address.data[0] == '[') {
        if (address.len < 2 || address.data[address.len - 1] != ']') return false;
        if (!parse_v6(slice_of(address.data + 1, address.len - 2), &e)) return false;
        e.addr.v6.sin6_port = htons((uint16_t)port);
    } else {
        if (!parse_v4(address, &e)) return false;
        e.addr.v4.sin_port = htons((uint16_t)port);
    }
    *out = e;
    return true;
}

static bool is_none(const struct endpoint *e)
{
    return e->addr_len == 0;
}

static bool is_v6(const struct endpoint *e)
{
    return endpoint_key(e).len == sizeof(struct in6_addr);
}

void endpoint_write(const struct endpoint *e, struct buf *out)
{
    if (is_none(e)) {
        buf_append_char(out, '-');
        return;
    }
    if (is_v6(e)) buf_append_char(out, '[');
    endpoint_write_address(e, out);
    if (is_v6(e)) buf_append_char(out, ']');
    buf_append_char(out, ':');
    buf_append_u64(out, endpoint_port(e));
}

/* Without inet_ntop(), which goes through printf: each message has its client's address in a header
 * and in two log lines. */
static void write_v4(const unsigned char bytes[4], struct buf *out)
{
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0) buf_append_char(out, '.');
        buf_append_u64(out, bytes[i]);
    }
}

void endpoint_write_address(const struct endpoint *e, struct buf *out)
{
    if (is_none(e)) {
        buf_append_char(out, '-');
        return;
    }
    const char *key = endpoint_key(e).data;
    if (!is_v6(e)) {
        write_v4((const unsigned char *)key, out);
        return;
    }
    char text[INET6_ADDRSTRLEN];
    const char *done = inet_ntop(AF_INET6, key, text, sizeof(text));
    ASSERT(done != NULL);
    buf_append_cstr(out, text);
}

void endpoint_write_literal(const struct endpoint *e, struct buf *out)
{
    buf_append_cstr(out, is_v6(e) ? "[IPv6:" : "[");
    endpoint_write_address(e, out);
    buf_append_char(out, ']');
}

uint16_t endpoint_port(const struct endpoint *e)
{
    if (is_none(e)) return 0;
    return ntohs(e->addr.any.sa_family == AF_INET6 ? e->addr.v6.sin6_port : e->addr.v4.sin_port);
}

struct slice endpoint_key(const struct endpoint *e)
{
    if (is_none(e)) return SLICE("");
    if (e->addr.any.sa_family == AF_INET) {
        return slice_of(&e->addr.v4.sin_addr, sizeof(e->addr.v4.sin_addr));
    }
    ASSERT(e->addr.any.sa_family == AF_INET6);
    const struct in6_addr *v6 = &e->addr.v6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(v6)) return slice_of(&v6->s6_addr[12], 4);
    return slice_of(v6, sizeof(*v6));
}

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
    return slice_eq(endpoint_key(a), endpoint_key(b)) && endpoint_port(a) == endpoint_port(b);
}
