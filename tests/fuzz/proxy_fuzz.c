/* A proxy's header: however the network cuts it, the reader comes to the same end, takes no byte
 * that is not of the header, and gives a client only when it has an address. */
#include "server/ingress/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum proxy_status feed(struct slice in, size_t piece, struct proxy_reader *reader,
                              size_t *taken_out)
{
    proxy_reader_init(reader);
    *taken_out = 0;
    for (;;) {
        size_t len = MIN(piece, in.len - *taken_out), taken;
        enum proxy_status status = proxy_read(reader, slice_of(in.data + *taken_out, len), &taken);
        ASSERT(taken <= len);
        ASSERT(status != PROXY_MORE || taken == len);
        *taken_out += taken;
        if (status != PROXY_MORE || *taken_out == in.len) return status;
    }
}

static void check_header(const struct proxy_header *header, size_t taken)
{
    ASSERT(header->version == 1 || header->version == 2);
    ASSERT(header->version == 2 || taken <= PROXY_V1_BYTES_MAX);
    ASSERT(header->version == 1 || (taken >= 16 && taken <= 16 + UINT16_MAX));
    ASSERT(header->is_probe == (header->source.addr_len == 0));
    ASSERT(!header->is_verified || header->has_certificate);
    for (unsigned i = 0; i < PROXY_TEXT_COUNT; i++)
        ASSERT(proxy_text(header, (enum proxy_text)i).len <= PROXY_TEXT_BYTES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    size_t piece = 1 + data[0] % 64u;
    struct slice in = slice_of(data + 1, size - 1);
    struct proxy_reader whole, cut;
    size_t whole_taken, cut_taken;
    enum proxy_status status = feed(in, in.len, &whole, &whole_taken);
    ASSERT(feed(in, piece, &cut, &cut_taken) == status);
    if (status == PROXY_BAD) ASSERT(whole.why == cut.why);
    if (status != PROXY_OK) return 0;
    ASSERT(whole_taken == cut_taken);
    ASSERT(memcmp(&whole.header, &cut.header, sizeof(whole.header)) == 0);
    check_header(&whole.header, whole_taken);
    /* Nothing shorter is a header. */
    struct proxy_reader part;
    size_t part_taken;
    ASSERT(feed(slice_of(in.data, whole_taken - 1), piece, &part, &part_taken) == PROXY_MORE);
    return 0;
}
