/* Parameters: the answer is one of those that the header names, and is consistent. */
#include "server/smtp/param.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_blank(struct slice in)
{
    return slice_trim(in).len == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    uint64_t size_max = (uint64_t)1 << data[0] % 64u;
    struct slice rest = slice_of(data + 1, size - 1);

    struct mail_params params;
    enum reply_id id = mail_params_parse(rest, true, size_max, &params);
    ASSERT(id == REPLY_NONE || id == REPLY_UNKNOWN_PARAMETER || id == REPLY_BAD_ARGUMENT ||
           id == REPLY_TOO_BIG);
    if (id == REPLY_NONE) ASSERT(params.size <= size_max);
    if (id == REPLY_NONE) ASSERT(params.has_size || params.size == 0);
    if (id == REPLY_TOO_BIG) {
        ASSERT(params.has_size);
        ASSERT(mail_params_parse(rest, true, 0, &params) == REPLY_TOO_BIG);
    }

    id = mail_params_parse(rest, false, size_max, &params);
    ASSERT((id == REPLY_NONE) == is_blank(rest));
    id = rcpt_params_parse(rest, true);
    ASSERT((id == REPLY_NONE) == is_blank(rest));
    ASSERT(id == REPLY_NONE || id == REPLY_UNKNOWN_PARAMETER || id == REPLY_BAD_ARGUMENT);
    return 0;
}
