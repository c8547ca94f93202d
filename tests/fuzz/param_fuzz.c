/* Parameters: the answer is one of those that the header names and is consistent, and what is kept
 * can be written out again without ending a parameter or a line. */
#include "server/smtp/param.h"
#include "server/smtp/utf8.h"
#include "server/smtp/xtext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_blank(struct slice in)
{
    return slice_trim(in).len == 0;
}

static void check_kept(struct slice kept, size_t bytes_max, bool may_be_utf8)
{
    ASSERT(kept.len <= bytes_max && utf8_is_valid(kept));
    for (size_t i = 0; i < kept.len; i++) {
        uint8_t c = (uint8_t)kept.data[i];
        ASSERT(c > ' ' && c != '=' && c != 0x7f && (c < 0x7f || may_be_utf8));
    }
}

static void check_mail(struct slice rest, const struct param_offer *offer)
{
    struct mail_params params;
    enum reply_id id = mail_params_parse(rest, offer, &params);
    ASSERT(id == REPLY_NONE || id == REPLY_UNKNOWN_PARAMETER || id == REPLY_BAD_ARGUMENT ||
           id == REPLY_TOO_BIG);
    if (!offer->is_esmtp) ASSERT((id == REPLY_NONE) == is_blank(rest));
    if (id == REPLY_TOO_BIG) {
        struct param_offer tight = *offer;
        tight.size_max = 0;
        ASSERT(params.has_size && mail_params_parse(rest, &tight, &params) == REPLY_TOO_BIG);
    }
    if (id != REPLY_NONE) return;
    ASSERT(params.size <= offer->size_max && (params.has_size || params.size == 0));
    ASSERT(!params.requires_tls || offer->has_require_tls);
    ASSERT(params.body <= BODY_TYPE_BINARYMIME && (params.has_body || params.body == 0));
    bool begins_blank = rest.len > 0 && (rest.data[0] == ' ' || rest.data[0] == '\t');
    if (params.is_utf8 && begins_blank) ASSERT(mail_params_ask_utf8(rest));
    check_kept(params.envid, DSN_ENVID_BYTES_MAX, false);
    ASSERT(xtext_is_printable(params.envid));
}

static void check_rcpt(struct slice rest, const struct param_offer *offer, bool is_utf8)
{
    struct rcpt_params params;
    enum reply_id id = rcpt_params_parse(rest, offer, is_utf8, &params);
    ASSERT(id == REPLY_NONE || id == REPLY_UNKNOWN_PARAMETER || id == REPLY_BAD_ARGUMENT);
    if (!offer->is_esmtp) ASSERT((id == REPLY_NONE) == is_blank(rest));
    if (id != REPLY_NONE) return;
    ASSERT(params.notify <= 14 && (params.notify & 1) == (params.notify == 1));
    check_kept(params.orcpt, DSN_ORCPT_BYTES_MAX, is_utf8);
    if (params.orcpt.len > 0) ASSERT(memchr(params.orcpt.data, ';', params.orcpt.len) != NULL);
}

/* Any bytes come back, and what is xtext decodes to at most as much. */
static void check_xtext(struct slice in)
{
    char encoded[3 * 512], decoded[512];
    in.len = MIN(in.len, sizeof(decoded));
    struct buf out = {encoded, 0, sizeof(encoded), false};
    struct buf back = {decoded, 0, sizeof(decoded), false};
    ASSERT(xtext_encode(in, &out) && xtext_decode(buf_slice(&out), &back));
    ASSERT(slice_eq(buf_slice(&back), in));
    buf_reset(&back);
    bool is_xtext = xtext_decode(in, &back);
    ASSERT(is_xtext || !xtext_is_printable(in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct slice rest = slice_of(data + 2, size - 2);
    const struct param_offer offer = {
        .is_esmtp = (data[1] & 1) != 0,
        .has_require_tls = (data[1] & 2) != 0,
        .has_auth = (data[1] & 4) != 0,
        .size_max = (uint64_t)1 << data[0] % 64u,
    };
    check_mail(rest, &offer);
    check_rcpt(rest, &offer, (data[1] & 8) != 0);
    check_xtext(rest);
    return 0;
}
