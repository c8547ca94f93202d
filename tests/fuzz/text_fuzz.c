/* Small texts: what is read as an endpoint, a network, xtext or a domain, and written again, is
 * read as the same. */
#include "ring/base/endpoint.h"
#include "ring/base/network.h"
#include "server/smtp/idna.h"
#include "server/smtp/utf8.h"
#include "server/smtp/xtext.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 1024 };

static void check_endpoint(struct slice text)
{
    char bytes[ENDPOINT_TEXT_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    struct endpoint endpoint, again;
    if (!endpoint_parse(text, &endpoint)) return;
    endpoint_write(&endpoint, &out);
    ASSERT(!out.is_short && endpoint_parse(buf_slice(&out), &again));
    ASSERT(endpoint_eq(&endpoint, &again));
}

static void check_network(struct slice text)
{
    char bytes[ENDPOINT_TEXT_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    struct network network, again;
    if (!network_parse(text, &network)) return;
    network_write(&network, &out);
    ASSERT(!out.is_short && network_parse(buf_slice(&out), &again));
    ASSERT(network.bits == again.bits && network.is_ipv6 == again.is_ipv6);
    ASSERT(memcmp(network.address, again.address, network.is_ipv6 ? 16 : 4) == 0);
}

static void check_xtext(struct slice text)
{
    char decoded[TEXT_MAX], encoded[3 * TEXT_MAX], again[TEXT_MAX];
    struct buf plain = {decoded, 0, sizeof(decoded), false};
    struct buf xtext = {encoded, 0, sizeof(encoded), false};
    struct buf back = {again, 0, sizeof(again), false};
    ASSERT(xtext_encode(text, &xtext) && xtext_decode(buf_slice(&xtext), &back));
    ASSERT(slice_eq(buf_slice(&back), text));
    if (xtext_is_printable(text)) ASSERT(xtext_decode(text, &plain));
}

static void check_domain(struct slice text)
{
    char bytes[TEXT_MAX], more[TEXT_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false}, again = {more, 0, sizeof(more), false};
    if (!idna_to_ascii(text, &out)) return;
    for (size_t i = 0; i < out.len; i++)
        ASSERT((uint8_t)out.data[i] < 0x80 && (out.data[i] < 'A' || out.data[i] > 'Z'));
    ASSERT(idna_to_ascii(buf_slice(&out), &again) && slice_eq(buf_slice(&out), buf_slice(&again)));
}

static void check_utf8(struct slice text)
{
    size_t at = 0;
    while (at < text.len) {
        size_t bytes = utf8_char_bytes(slice_of(text.data + at, text.len - at));
        ASSERT(bytes <= 4 && bytes <= text.len - at);
        if (bytes == 0) break;
        at += bytes;
    }
    ASSERT(utf8_is_valid(text) == (at == text.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > TEXT_MAX) return 0;
    struct slice text = slice_of(data, size);
    check_endpoint(text);
    check_network(text);
    check_xtext(text);
    check_utf8(text);
    check_domain(text);
    return 0;
}
