/* param.c - parameters of MAIL and RCPT: words of KEYWORD or KEYWORD=VALUE between blanks.
 *
 * What is malformed is 501 before anything is judged by its meaning, and the size limit comes last:
 * a client with two mistakes hears of the one that it cannot mend by sending less. */
#include "server/smtp/param.h"

struct param {
    struct slice keyword, value;
    bool has_value; /* there was a "=" */
};

enum param_status { PARAM_END, PARAM_OK, PARAM_BAD };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_keyword_char(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* esmtp-keyword and esmtp-value of RFC 5321 4.1.2. */
static enum param_status param_read(struct slice *rest, struct param *out)
{
    size_t at = 0;
    while (at < rest->len && is_blank(rest->data[at])) {
        at++;
    }
    size_t start = at;
    while (at < rest->len && is_keyword_char(rest->data[at])) {
        at++;
    }
    *out = (struct param){.keyword = slice_of(rest->data + start, at - start)};
    if (start == rest->len) return PARAM_END;
    if (at == start || rest->data[start] == '-') return PARAM_BAD;

    if (at < rest->len && rest->data[at] == '=') {
        size_t value = ++at;
        while (at < rest->len && rest->data[at] > ' ' && rest->data[at] <= '~' &&
               rest->data[at] != '=') {
            at++;
        }
        out->has_value = true;
        out->value = slice_of(rest->data + value, at - value);
        if (out->value.len == 0) return PARAM_BAD;
    }
    if (at < rest->len && !is_blank(rest->data[at])) return PARAM_BAD;
    *rest = slice_from(*rest, at);
    return PARAM_OK;
}

/* False when the value is not a number. One that does not fit in 64 bits is too big in any case. */
static bool size_read(struct slice value, uint64_t *size_out, bool *is_too_big_out)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') return false;
    }
    *size_out = 0;
    *is_too_big_out = value.len > 0 && !slice_to_u64(value, UINT64_MAX, size_out);
    return value.len > 0;
}

static enum reply_id body_read(const struct param *param, bool *is_8bit_out)
{
    *is_8bit_out = slice_eq_nocase(param->value, SLICE("8BITMIME"));
    if (*is_8bit_out || slice_eq_nocase(param->value, SLICE("7BIT"))) return REPLY_NONE;
    return REPLY_BAD_ARGUMENT;
}

enum reply_id mail_params_parse(struct slice rest, bool is_esmtp, uint64_t size_max,
                                struct mail_params *out)
{
    *out = (struct mail_params){.size = 0};
    bool has_body = false, is_too_big = false;
    struct param param;
    enum param_status status;
    while ((status = param_read(&rest, &param)) == PARAM_OK) {
        if (!is_esmtp) return REPLY_UNKNOWN_PARAMETER;
        if (slice_eq_nocase(param.keyword, SLICE("SIZE"))) {
            if (out->has_size) return REPLY_BAD_ARGUMENT;
            out->has_size = true;
            if (!size_read(param.value, &out->size, &is_too_big)) return REPLY_BAD_ARGUMENT;
        } else if (slice_eq_nocase(param.keyword, SLICE("BODY"))) {
            if (has_body) return REPLY_BAD_ARGUMENT;
            has_body = true;
            if (body_read(&param, &out->is_8bit) != REPLY_NONE) return REPLY_BAD_ARGUMENT;
        } else {
            return REPLY_UNKNOWN_PARAMETER;
        }
    }
    if (status == PARAM_BAD) return REPLY_BAD_ARGUMENT;
    return is_too_big || out->size > size_max ? REPLY_TOO_BIG : REPLY_NONE;
}

enum reply_id rcpt_params_parse(struct slice rest, bool is_esmtp)
{
    (void)is_esmtp;
    struct param param;
    switch (param_read(&rest, &param)) {
    case PARAM_END:
        return REPLY_NONE;
    case PARAM_OK:
        return REPLY_UNKNOWN_PARAMETER;
    case PARAM_BAD:
        break;
    }
    return REPLY_BAD_ARGUMENT;
}
