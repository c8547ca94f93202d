/* xclient.c - reads what XCLIENT and XFORWARD say of a client.
 *
 * XCLIENT changes who the client is, so its values must be what they claim to be. XFORWARD is for
 * the log alone: any text of visible characters will do. */
#include "server/smtp/xclient.h"

#include "server/smtp/address.h"
#include "server/smtp/xtext.h"

#define FORWARDED_PROTO_BYTES_MAX 64 /* XFORWARD_README */

static const char *const names[XCLIENT_ATTRIBUTE_COUNT] = {
    [XCLIENT_NAME] = "NAME",         [XCLIENT_ADDR] = "ADDR",         [XCLIENT_PORT] = "PORT",
    [XCLIENT_PROTO] = "PROTO",       [XCLIENT_HELO] = "HELO",         [XCLIENT_LOGIN] = "LOGIN",
    [XCLIENT_DESTADDR] = "DESTADDR", [XCLIENT_DESTPORT] = "DESTPORT", [XCLIENT_IDENT] = "IDENT",
    [XCLIENT_SOURCE] = "SOURCE",
};

static const unsigned of_both = BIT(XCLIENT_NAME) | BIT(XCLIENT_ADDR) | BIT(XCLIENT_PORT) |
                                BIT(XCLIENT_PROTO) | BIT(XCLIENT_HELO);
static const unsigned of_xclient =
    of_both | BIT(XCLIENT_LOGIN) | BIT(XCLIENT_DESTADDR) | BIT(XCLIENT_DESTPORT);
static const unsigned of_xforward = of_both | BIT(XCLIENT_IDENT) | BIT(XCLIENT_SOURCE);

const char *xclient_attribute_name(enum xclient_attribute attribute)
{
    ASSERT(attribute < XCLIENT_ATTRIBUTE_COUNT);
    return names[attribute];
}

static void write_names(unsigned attributes, struct buf *out)
{
    bool is_first = true;
    for (unsigned i = 0; i < XCLIENT_ATTRIBUTE_COUNT; i++) {
        if ((attributes & BIT(i)) == 0) continue;
        if (!is_first) buf_append_char(out, ' ');
        buf_append_cstr(out, names[i]);
        is_first = false;
    }
}

void xclient_write_names(struct buf *out)
{
    write_names(of_xclient, out);
}

void xforward_write_names(struct buf *out)
{
    write_names(of_xforward, out);
}

/* --- values --- */

static bool is_visible(struct slice text, bool is_utf8_ok)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.data[i];
        if (c <= ' ' || c == 0x7f || (c > 0x7f && !is_utf8_ok)) return false;
    }
    return true;
}

static bool port_parse(struct slice text, uint16_t *out)
{
    uint64_t port;
    if (text.len > 1 && text.data[0] == '0') return false;
    if (!slice_to_u64(text, UINT16_MAX, &port)) return false;
    *out = (uint16_t)port;
    return true;
}

/* "192.0.2.1" or "IPV6:2001:db8::1". */
static bool address_parse(struct slice text, struct endpoint *out)
{
    static const struct slice prefix = {"IPV6:", 5};
    bool is_v6 = slice_starts_with_nocase(text, prefix);
    char bytes[XCLIENT_VALUE_BYTES_MAX + 4];
    struct buf full = {bytes, 0, sizeof(bytes), false};
    if (is_v6) buf_append_char(&full, '[');
    buf_append_slice(&full, is_v6 ? slice_from(text, prefix.len) : text);
    buf_append_cstr(&full, is_v6 ? "]:0" : ":0");
    bool is_bare_v6 = !is_v6 && text.data[0] == '['; /* brackets are not part of the value */
    return !full.is_short && !is_bare_v6 && endpoint_parse(buf_slice(&full), out);
}

static bool client_value_is_good(enum xclient_attribute attribute, struct slice value,
                                 struct xclient *out)
{
    switch (attribute) {
    case XCLIENT_NAME:
        return value.data[0] != '[' && helo_is_valid(value);
    case XCLIENT_ADDR:
        return address_parse(value, &out->address);
    case XCLIENT_DESTADDR:
        return address_parse(value, &out->destination);
    case XCLIENT_PORT:
        return port_parse(value, &out->port);
    case XCLIENT_DESTPORT:
        return port_parse(value, &out->destination_port);
    case XCLIENT_PROTO:
        return slice_eq_nocase(value, SLICE("SMTP")) || slice_eq_nocase(value, SLICE("ESMTP"));
    case XCLIENT_LOGIN:
        return is_visible(value, true);
    default:
        return is_visible(value, false);
    }
}

static bool forward_value_is_good(enum xclient_attribute attribute, struct slice value,
                                  struct xclient *out)
{
    switch (attribute) {
    case XCLIENT_PORT:
        return port_parse(value, &out->port);
    case XCLIENT_PROTO:
        return value.len <= FORWARDED_PROTO_BYTES_MAX && is_visible(value, false);
    case XCLIENT_SOURCE:
        return slice_eq_nocase(value, SLICE("LOCAL")) || slice_eq_nocase(value, SLICE("REMOTE"));
    default:
        return is_visible(value, false);
    }
}

/* --- the list --- */

static enum xclient_attribute attribute_of(struct slice name)
{
    for (unsigned i = 0; i < XCLIENT_ATTRIBUTE_COUNT; i++) {
        if (slice_eq_nocase(name, slice_of_cstr(names[i]))) return (enum xclient_attribute)i;
    }
    return XCLIENT_ATTRIBUTE_COUNT;
}

/* A host name alone may be unknown for now; the difference is of no use to us. */
static bool is_unknown(enum xclient_attribute attribute, struct slice raw)
{
    if (slice_eq_nocase(raw, SLICE("[UNAVAILABLE]"))) return true;
    return attribute == XCLIENT_NAME && slice_eq_nocase(raw, SLICE("[TEMPUNAVAIL]"));
}

static bool decode(struct slice raw, struct buf *memory, struct slice *out)
{
    size_t start = memory->len;
    if (!xtext_decode(raw, memory)) return false;
    *out = slice_of(memory->data + start, memory->len - start);
    return out->len > 0 && out->len <= XCLIENT_VALUE_BYTES_MAX;
}

static bool pair_parse(struct slice pair, unsigned allowed, struct buf *memory, struct xclient *out)
{
    const char *equals = memchr(pair.data, '=', pair.len);
    if (equals == NULL) return false;
    size_t name_len = (size_t)(equals - pair.data);
    enum xclient_attribute attribute = attribute_of(slice_of(pair.data, name_len));
    if (attribute == XCLIENT_ATTRIBUTE_COUNT) return false;
    if ((allowed & BIT(attribute)) == 0 || (out->given & BIT(attribute)) != 0) return false;
    out->given |= BIT(attribute);

    struct slice raw = slice_from(pair, name_len + 1), value;
    if (is_unknown(attribute, raw)) {
        out->unknown |= BIT(attribute);
        return true;
    }
    if (!decode(raw, memory, &value)) return false;
    bool is_good = allowed == of_xclient ? client_value_is_good(attribute, value, out)
                                         : forward_value_is_good(attribute, value, out);
    if (is_good) out->values[attribute] = value;
    return is_good;
}

static bool list_parse(struct slice args, unsigned allowed, struct buf *memory, struct xclient *out)
{
    memset(out, 0, sizeof(*out));
    args = slice_trim(args);
    if (args.len == 0) return false;
    while (args.len > 0) {
        const char *space = memchr(args.data, ' ', args.len);
        size_t len = space == NULL ? args.len : (size_t)(space - args.data);
        if (!pair_parse(slice_of(args.data, len), allowed, memory, out)) return false;
        args = slice_trim(slice_from(args, len));
    }
    return true;
}

bool xclient_parse(struct slice args, struct buf *memory, struct xclient *out)
{
    return list_parse(args, of_xclient, memory, out);
}

bool xforward_parse(struct slice args, struct buf *memory, struct xclient *out)
{
    return list_parse(args, of_xforward, memory, out);
}
