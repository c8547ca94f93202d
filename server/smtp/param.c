/* param.c - parameters of MAIL and RCPT: words of KEYWORD or KEYWORD=VALUE between blanks, and one
 * function a keyword.
 *
 * What is malformed is 501 before anything is judged by its meaning, and the size limit comes last:
 * a client with two mistakes hears of the one that it cannot mend by sending less. */
#include "server/smtp/param.h"

#include "server/smtp/utf8.h"
#include "server/smtp/xtext.h"

struct param {
    struct slice keyword, value;
    bool has_value; /* there was a "=" */
};

enum param_status { PARAM_END, PARAM_OK, PARAM_BAD };

/* enum dsn_return and enum dsn_notify of store/message.h, which this layer does not see. */
enum { RET_FULL = 1, RET_HEADERS = 2 };
enum {
    NOTIFY_NEVER = BIT(0),
    NOTIFY_SUCCESS = BIT(1),
    NOTIFY_FAILURE = BIT(2),
    NOTIFY_DELAY = BIT(3),
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_keyword_char(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* esmtp-value of RFC 5321 4.1.2, and UTF-8 besides (RFC 6531 3.3) when `may_be_utf8`. */
static size_t value_bytes(struct slice in, bool may_be_utf8)
{
    size_t at = 0;
    while (at < in.len) {
        uint8_t c = (uint8_t)in.data[at];
        if (c > ' ' && c <= '~' && c != '=') {
            at++;
            continue;
        }
        size_t bytes = may_be_utf8 && c > 127 ? utf8_char_bytes(slice_from(in, at)) : 0;
        if (bytes == 0 || utf8_is_control(slice_from(in, at))) break;
        at += bytes;
    }
    return at;
}

/* esmtp-keyword and its value. */
static enum param_status param_read(struct slice *rest, bool may_be_utf8, struct param *out)
{
    size_t at = 0;
    while (at < rest->len && is_blank(rest->data[at])) {
        at++;
    }
    size_t start = at;
    while (at < rest->len && is_keyword_char(rest->data[at])) {
        at++;
    }
    *out = (struct param){.keyword = slice_of(rest->data + start, at - start),
                          .value = slice_of(rest->data + start, 0)};
    if (start == rest->len) return PARAM_END;
    if (at == start || rest->data[start] == '-') return PARAM_BAD;

    if (at < rest->len && rest->data[at] == '=') {
        struct slice value = slice_from(*rest, ++at);
        value.len = value_bytes(value, may_be_utf8);
        at += value.len;
        out->has_value = true;
        out->value = value;
        if (out->value.len == 0) return PARAM_BAD;
    }
    if (at < rest->len && !is_blank(rest->data[at])) return PARAM_BAD;
    *rest = slice_from(*rest, at);
    return PARAM_OK;
}

/* --- MAIL --- */

struct mail_reading {
    const struct param_offer *offer;
    struct mail_params *out;
    bool is_too_big;
};

/* One that does not fit in 64 bits is too big in any case. */
static enum reply_id size_read(struct mail_reading *r, const struct param *param)
{
    for (size_t i = 0; i < param->value.len; i++) {
        if (param->value.data[i] < '0' || param->value.data[i] > '9') return REPLY_BAD_ARGUMENT;
    }
    if (param->value.len == 0) return REPLY_BAD_ARGUMENT;
    r->out->has_size = true;
    r->is_too_big =
        !slice_to_u64(param->value, UINT64_MAX, &r->out->size) || r->out->size > r->offer->size_max;
    return REPLY_NONE;
}

static enum reply_id body_read(struct mail_reading *r, const struct param *param)
{
    static const struct slice types[] = {
        [BODY_TYPE_7BIT] = {"7BIT", 4},
        [BODY_TYPE_8BITMIME] = {"8BITMIME", 8},
        [BODY_TYPE_BINARYMIME] = {"BINARYMIME", 10},
    };
    for (uint8_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!slice_eq_nocase(param->value, types[i])) continue;
        r->out->body = i;
        r->out->has_body = true;
        return REPLY_NONE;
    }
    return REPLY_BAD_ARGUMENT;
}

static enum reply_id utf8_read(struct mail_reading *r, const struct param *param)
{
    r->out->is_utf8 = true;
    return param->has_value ? REPLY_BAD_ARGUMENT : REPLY_NONE;
}

static enum reply_id ret_read(struct mail_reading *r, const struct param *param)
{
    bool is_full = slice_eq_nocase(param->value, SLICE("FULL"));
    bool is_headers = slice_eq_nocase(param->value, SLICE("HDRS"));
    r->out->ret = is_full ? RET_FULL : RET_HEADERS;
    return is_full || is_headers ? REPLY_NONE : REPLY_BAD_ARGUMENT;
}

static enum reply_id envid_read(struct mail_reading *r, const struct param *param)
{
    bool is_good = param->value.len > 0 && param->value.len <= DSN_ENVID_BYTES_MAX &&
                   xtext_is_printable(param->value);
    r->out->envid = param->value;
    return is_good ? REPLY_NONE : REPLY_BAD_ARGUMENT;
}

static enum reply_id require_tls_read(struct mail_reading *r, const struct param *param)
{
    if (!r->offer->has_require_tls) return REPLY_UNKNOWN_PARAMETER;
    r->out->requires_tls = true;
    return param->has_value ? REPLY_BAD_ARGUMENT : REPLY_NONE;
}

static enum reply_id auth_read(struct mail_reading *r, const struct param *param)
{
    if (!r->offer->has_auth) return REPLY_UNKNOWN_PARAMETER;
    bool is_good = param->value.len > 0 && xtext_is_printable(param->value);
    return is_good ? REPLY_NONE : REPLY_BAD_ARGUMENT; /* "<>" is xtext */
}

static const struct mail_keyword {
    struct slice name;
    enum reply_id (*read)(struct mail_reading *r, const struct param *param);
} mail_keywords[] = {
    {{"SIZE", 4}, size_read},
    {{"BODY", 4}, body_read},
    {{"SMTPUTF8", 8}, utf8_read},
    {{"RET", 3}, ret_read},
    {{"ENVID", 5}, envid_read},
    {{"AUTH", 4}, auth_read},
    {{"REQUIRETLS", 10}, require_tls_read},
};

/* `seen` has a bit for each keyword that was there. */
static enum reply_id mail_param_read(struct mail_reading *r, const struct param *param,
                                     unsigned *seen)
{
    if (!r->offer->is_esmtp) return REPLY_UNKNOWN_PARAMETER;
    for (unsigned i = 0; i < ARRAY_LEN(mail_keywords); i++) {
        if (!slice_eq_nocase(param->keyword, mail_keywords[i].name)) continue;
        enum reply_id bad = mail_keywords[i].read(r, param);
        if (bad == REPLY_NONE && (*seen & BIT(i)) != 0) return REPLY_BAD_ARGUMENT;
        *seen |= BIT(i);
        return bad;
    }
    return REPLY_UNKNOWN_PARAMETER;
}

bool mail_params_ask_utf8(struct slice args)
{
    const struct slice word = SLICE("SMTPUTF8");
    for (size_t at = 1; at + word.len <= args.len; at++) {
        size_t end = at + word.len;
        if (is_blank(args.data[at - 1]) && (end == args.len || is_blank(args.data[end])) &&
            slice_eq_nocase(slice_of(args.data + at, word.len), word))
            return true;
    }
    return false;
}

enum reply_id mail_params_parse(struct slice rest, const struct param_offer *offer,
                                struct mail_params *out)
{
    *out = (struct mail_params){.size = 0};
    struct mail_reading reading = {.offer = offer, .out = out};
    unsigned seen = 0;
    struct param param;
    enum param_status status;
    while ((status = param_read(&rest, false, &param)) == PARAM_OK) {
        enum reply_id bad = mail_param_read(&reading, &param, &seen);
        if (bad != REPLY_NONE) return bad;
    }
    if (status == PARAM_BAD) return REPLY_BAD_ARGUMENT;
    return reading.is_too_big ? REPLY_TOO_BIG : REPLY_NONE;
}

/* --- RCPT --- */

/* NEVER stands alone; the others may be listed, each once (RFC 3461 4.1). */
static enum reply_id notify_read(struct slice value, uint8_t *notify_out)
{
    static const struct {
        struct slice name;
        uint8_t bit;
    } words[] = {
        {{"NEVER", 5}, NOTIFY_NEVER},
        {{"SUCCESS", 7}, NOTIFY_SUCCESS},
        {{"FAILURE", 7}, NOTIFY_FAILURE},
        {{"DELAY", 5}, NOTIFY_DELAY},
    };
    *notify_out = 0;
    for (bool has_more = true; has_more;) {
        const char *comma = memchr(value.data, ',', value.len);
        size_t len = comma == NULL ? value.len : (size_t)(comma - value.data);
        uint8_t bit = 0;
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            if (slice_eq_nocase(slice_of(value.data, len), words[i].name)) bit = words[i].bit;
        }
        if (bit == 0 || (*notify_out & bit) != 0) return REPLY_BAD_ARGUMENT;
        *notify_out |= bit;
        has_more = comma != NULL;
        if (has_more) value = slice_from(value, len + 1);
    }
    bool is_never = (*notify_out & NOTIFY_NEVER) != 0;
    return is_never && *notify_out != NOTIFY_NEVER ? REPLY_BAD_ARGUMENT : REPLY_NONE;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* "\x{HEX}" at the front of `in`; 0: it is none, or names what no address may hold: a control, a
 * surrogate, nothing in Unicode. */
static size_t embedded_char_bytes(struct slice in)
{
    if (in.len < 6 || memcmp(in.data, "\\x{", 3) != 0) return 0;
    uint32_t code = 0;
    size_t at = 3;
    for (; at < in.len && at < 9 && hex_value(in.data[at]) >= 0; at++) {
        code = code << 4 | (uint32_t)hex_value(in.data[at]);
    }
    if (at < 5 || at == in.len || in.data[at] != '}') return 0;
    bool is_control = code < ' ' || (code >= 0x7f && code < 0xa0);
    bool is_surrogate = code >= 0xd800 && code < 0xe000;
    return is_control || is_surrogate || code > 0x10ffff ? 0 : at + 1;
}

/* An address of type utf-8 (RFC 6533 3): what is above 127 was let through by param_read(), or is
 * written as "\x{HEX}". */
static bool utf8_address_is_valid(struct slice in)
{
    while (in.len > 0) {
        size_t bytes = in.data[0] == '\\' ? embedded_char_bytes(in) : in.data[0] == '+' ? 0 : 1;
        if (bytes == 0) return false;
        in = slice_from(in, bytes);
    }
    return true;
}

/* "rfc822;xtext": the type is a word of letters, digits and hyphens; what it names is not judged.
 */
static enum reply_id orcpt_read(struct slice value)
{
    size_t type_len = 0;
    while (type_len < value.len && is_keyword_char(value.data[type_len])) {
        type_len++;
    }
    bool has_both = type_len > 0 && type_len + 1 < value.len && value.data[type_len] == ';';
    if (!has_both || value.len > DSN_ORCPT_BYTES_MAX) return REPLY_BAD_ARGUMENT;
    struct slice address = slice_from(value, type_len + 1);
    bool is_utf8 = slice_eq_nocase(slice_of(value.data, type_len), SLICE("utf-8"));
    bool is_good = is_utf8 ? utf8_address_is_valid(address) : xtext_is_printable(address);
    return is_good ? REPLY_NONE : REPLY_BAD_ARGUMENT;
}

static enum reply_id rcpt_param_read(const struct param *param, const struct param_offer *offer,
                                     struct rcpt_params *out)
{
    if (!offer->is_esmtp) return REPLY_UNKNOWN_PARAMETER;
    if (slice_eq_nocase(param->keyword, SLICE("NOTIFY"))) {
        return out->notify != 0 ? REPLY_BAD_ARGUMENT : notify_read(param->value, &out->notify);
    }
    if (slice_eq_nocase(param->keyword, SLICE("ORCPT"))) {
        if (out->orcpt.len > 0) return REPLY_BAD_ARGUMENT;
        out->orcpt = param->value;
        return orcpt_read(param->value);
    }
    return REPLY_UNKNOWN_PARAMETER;
}

enum reply_id rcpt_params_parse(struct slice rest, const struct param_offer *offer, bool is_utf8,
                                struct rcpt_params *out)
{
    *out = (struct rcpt_params){.notify = 0};
    struct param param;
    enum param_status status;
    while ((status = param_read(&rest, is_utf8, &param)) == PARAM_OK) {
        enum reply_id bad = rcpt_param_read(&param, offer, out);
        if (bad != REPLY_NONE) return bad;
    }
    return status == PARAM_BAD ? REPLY_BAD_ARGUMENT : REPLY_NONE;
}
