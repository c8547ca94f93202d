/* DSN parameters for a next hop: whatever a record holds, what leaves is printable ASCII (UTF-8
 * where that was asked for) without a line end, in parameters that follow a blank each. The first
 * bytes choose the fields' lengths. */
#include "server/delivery/dsn_params.h"
#include "server/smtp/utf8.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_BYTES = 65536 };

static void check_out(const struct buf *out, bool is_utf8)
{
    static const char *const names[] = {" RET=", " ENVID=", " NOTIFY=", " ORCPT="};
    ASSERT(!out->is_short && utf8_is_valid(buf_slice(out)));
    for (size_t at = 0; at < out->len; at++) {
        uint8_t byte = (uint8_t)out->data[at];
        ASSERT(byte >= ' ' && (byte < 0x7f || (is_utf8 && byte >= 0x80)));
        if (byte != ' ') continue;
        bool is_known = false;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            size_t len = strlen(names[i]);
            is_known =
                is_known || (out->len - at >= len && memcmp(out->data + at, names[i], len) == 0);
        }
        ASSERT(is_known);
    }
    ASSERT(out->len == 0 || out->data[0] == ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 6000) return 0;
    static char memory[OUT_BYTES];
    size_t first = MIN((size_t)data[1] * 16, size - 4);
    const struct envelope envelope = {.envid = slice_of(data + 4, first),
                                      .ret = data[0] % (DSN_RETURN_HEADERS + 1u)};
    const struct recipient recipient = {.orcpt = slice_of(data + 4 + first, size - 4 - first),
                                        .notify = data[2] & 15};
    struct buf out = {memory, 0, sizeof(memory), false};
    dsn_params_write_mail(&envelope, &out);
    check_out(&out, false);
    buf_reset(&out);
    bool is_utf8 = (data[3] & 1) != 0;
    dsn_params_write_rcpt(&recipient, is_utf8, &out);
    check_out(&out, is_utf8);
    return 0;
}
