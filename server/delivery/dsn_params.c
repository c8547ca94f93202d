/* dsn_params.c - writes them from what the record says. */
#include "server/delivery/dsn_params.h"

#include "server/smtp/param.h"
#include "server/smtp/utf8.h"
#include "server/smtp/xtext.h"

/* --- xtext --- */

/* Appends " NAME=" or the like and xtext, or nothing: `encoded` is no xtext or too long. */
static void write_xtext(struct slice name, struct slice encoded, size_t bytes_max, struct buf *out)
{
    char decoded_bytes[DSN_ORCPT_BYTES_MAX], again_bytes[DSN_ORCPT_BYTES_MAX];
    struct buf decoded = {decoded_bytes, 0, sizeof(decoded_bytes), false};
    struct buf again = {again_bytes, 0, bytes_max, false};
    ASSERT(bytes_max <= sizeof(again_bytes));
    if (!xtext_is_printable(encoded) || !xtext_decode(encoded, &decoded)) return;
    if (!xtext_encode(buf_slice(&decoded), &again)) return;
    buf_append_slice(out, name);
    buf_append_slice(out, buf_slice(&again));
}

/* --- an address of type utf-8 --- */

static uint32_t code_point(struct slice character)
{
    static const uint8_t lead_bits[] = {0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (uint8_t)character.data[0] & lead_bits[character.len - 1];
    for (size_t i = 1; i < character.len; i++)
        code = code << 6 | ((uint8_t)character.data[i] & 0x3f);
    return code;
}

/* utf-8-addr-unitext when `is_utf8`, else utf-8-addr-xtext. False: it is neither. */
static bool rewrite_utf8(struct slice in, bool is_utf8, struct buf *out)
{
    while (in.len > 0) {
        size_t bytes = utf8_char_bytes(in);
        if (bytes == 0 || utf8_is_control(in)) return false;
        struct slice character = slice_of(in.data, bytes);
        char c = in.data[0];
        if (bytes == 1 && (c <= ' ' || c > '~' || c == '+' || c == '=')) return false;
        if (bytes == 1 || is_utf8) {
            buf_append_slice(out, character);
        } else {
            buf_append_format(out, "\\x{%02X}", code_point(character));
        }
        in = slice_from(in, bytes);
    }
    return !out->is_short;
}

static void write_utf8(struct slice address, bool is_utf8, struct buf *out)
{
    char bytes[DSN_ORCPT_BYTES_MAX];
    struct buf again = {bytes, 0, sizeof(bytes) - strlen("utf-8;"), false};
    if (!rewrite_utf8(address, is_utf8, &again)) return;
    buf_append_cstr(out, " ORCPT=utf-8;");
    buf_append_slice(out, buf_slice(&again));
}

/* --- the parameters --- */

static bool is_type(struct slice type)
{
    for (size_t i = 0; i < type.len; i++) {
        char c = ascii_lower(type.data[i]);
        bool is_letter = c >= 'a' && c <= 'z', is_digit = c >= '0' && c <= '9';
        if (!is_letter && !is_digit && c != '-') return false;
    }
    return type.len > 0;
}

static void write_orcpt(struct slice orcpt, bool is_utf8, struct buf *out)
{
    const char *semicolon = memchr(orcpt.data, ';', orcpt.len);
    if (semicolon == NULL || orcpt.len > DSN_ORCPT_BYTES_MAX) return;
    struct slice type = slice_of(orcpt.data, (size_t)(semicolon - orcpt.data));
    struct slice address = slice_from(orcpt, type.len + 1);
    if (!is_type(type) || address.len == 0) return;
    if (slice_eq_nocase(type, SLICE("utf-8"))) {
        write_utf8(address, is_utf8, out);
        return;
    }
    char bytes[sizeof(" ORCPT=") + DSN_ORCPT_BYTES_MAX];
    struct buf name = {bytes, 0, sizeof(bytes), false};
    buf_append_cstr(&name, " ORCPT=");
    buf_append_slice(&name, type);
    buf_append_char(&name, ';');
    write_xtext(buf_slice(&name), address, DSN_ORCPT_BYTES_MAX - type.len - 1, out);
}

static void write_notify(uint8_t notify, struct buf *out)
{
    static const struct {
        enum dsn_notify bit;
        const char *name;
    } names[] = {
        {DSN_NOTIFY_NEVER, "NEVER"},
        {DSN_NOTIFY_SUCCESS, "SUCCESS"},
        {DSN_NOTIFY_FAILURE, "FAILURE"},
        {DSN_NOTIFY_DELAY, "DELAY"},
    };
    if ((notify & DSN_NOTIFY_NEVER) != 0) notify = DSN_NOTIFY_NEVER; /* it stands alone */
    const char *before = " NOTIFY=";
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if ((notify & names[i].bit) == 0) continue;
        buf_append_cstr(out, before);
        buf_append_cstr(out, names[i].name);
        before = ",";
    }
}

void dsn_params_write_mail(const struct envelope *envelope, struct buf *out)
{
    if (envelope->ret == DSN_RETURN_FULL) buf_append_cstr(out, " RET=FULL");
    if (envelope->ret == DSN_RETURN_HEADERS) buf_append_cstr(out, " RET=HDRS");
    if (envelope->envid.len > 0) {
        write_xtext(SLICE(" ENVID="), envelope->envid, DSN_ENVID_BYTES_MAX, out);
    }
}

void dsn_params_write_rcpt(const struct recipient *recipient, bool is_utf8, struct buf *out)
{
    write_notify(recipient->notify, out);
    if (recipient->orcpt.len > 0) write_orcpt(recipient->orcpt, is_utf8, out);
}
