/* proxy_header.c - see proxy_header.h, and the specification that HAProxy keeps:
 *
 *     v1: "PROXY TCP4 " source " " destination " " source-port " " destination-port CRLF
 *     v2: 12 bytes of signature, 0x21 (version 2, PROXY), 0x11 (TCP over IPv4), the length 12 in
 *         two bytes, source and destination of four bytes each, their ports of two */
#include "bench/proxy_header.h"

#include <arpa/inet.h>

#define CLIENT_FIRST 0xc6120001u /* 198.18.0.1 */
#define TARGET_OTHER 0xc613fffeu /* 198.19.255.254 */
#define V2_ADDRESS_BYTES 12

static struct endpoint endpoint_of(uint32_t address, uint16_t port)
{
    struct endpoint e = {.addr_len = sizeof(struct sockaddr_in)};
    e.addr.v4.sin_family = AF_INET;
    e.addr.v4.sin_addr.s_addr = htonl(address);
    e.addr.v4.sin_port = htons(port);
    return e;
}

struct endpoint proxy_client(uint32_t index, uint16_t port)
{
    ASSERT(index < PROXY_CLIENTS_MAX);
    return endpoint_of(CLIENT_FIRST + index, port);
}

struct endpoint proxy_target(const struct endpoint *to)
{
    if (to->addr.any.sa_family == AF_INET) return *to;
    return endpoint_of(TARGET_OTHER, endpoint_port(to));
}

void proxy_write_v1(const struct endpoint *client, const struct endpoint *target, struct buf *out)
{
    buf_append_cstr(out, "PROXY TCP4 ");
    endpoint_write_address(client, out);
    buf_append_char(out, ' ');
    endpoint_write_address(target, out);
    buf_append_char(out, ' ');
    buf_append_u64(out, endpoint_port(client));
    buf_append_char(out, ' ');
    buf_append_u64(out, endpoint_port(target));
    buf_append_cstr(out, "\r\n");
}

void proxy_write_v2(const struct endpoint *client, const struct endpoint *target, struct buf *out)
{
    static const char start[] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q',
                                 'U',  'I',  'T',  '\n', 0x21, 0x11, 0,    V2_ADDRESS_BYTES};
    buf_append(out, start, sizeof(start));
    buf_append(out, &client->addr.v4.sin_addr, 4);
    buf_append(out, &target->addr.v4.sin_addr, 4);
    buf_append(out, &client->addr.v4.sin_port, 2);
    buf_append(out, &target->addr.v4.sin_port, 2);
}
