/* XCLIENT and XFORWARD: what is let through is within the limits and has no byte that could end a
 * line, and the decoded values lie one behind the other in the memory that was given. */
#include "server/smtp/xclient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct xclient *said, const struct buf *memory, bool is_client)
{
    ASSERT(said->given != 0 && (said->unknown & ~said->given) == 0);
    for (unsigned i = 0; i < XCLIENT_ATTRIBUTE_COUNT; i++) {
        struct slice value = said->values[i];
        bool is_known = (said->given & ~said->unknown & BIT(i)) != 0;
        ASSERT(is_known == (value.len > 0) && value.len <= XCLIENT_VALUE_BYTES_MAX);
        if (!is_known) continue;
        ASSERT(value.data >= memory->data);
        ASSERT(value.data + value.len <= memory->data + memory->len);
        for (size_t at = 0; at < value.len; at++)
            ASSERT((uint8_t)value.data[at] > ' ' && value.data[at] != 0x7f);
    }
    bool has_address = said->values[XCLIENT_ADDR].len > 0;
    ASSERT(!is_client || has_address == (said->address.addr_len != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096) return 0;
    char bytes[4096];
    struct buf memory = {bytes, 0, size, false};
    struct xclient said;
    struct slice args = slice_of(data, size);
    if (xclient_parse(args, &memory, &said)) check(&said, &memory, true);
    ASSERT(!memory.is_short);
    buf_reset(&memory);
    if (xforward_parse(args, &memory, &said)) check(&said, &memory, false);
    ASSERT(!memory.is_short);
    return 0;
}
