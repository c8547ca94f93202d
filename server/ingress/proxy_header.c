/* proxy_header.c - reads the header of a proxy, byte by byte where it is short and value by value
 * where it may be long.
 *
 *   START --'P'--> LINE (v1) ------------------------------------------> done
 *     \---\r----> FIXED (v2) --> ADDRESSES --> VALUES ------------------> done
 *                     \--LOCAL, UNSPEC--> SKIP ------------------------> done
 *
 * For SMTP only a client on TCP counts: other transports are refused (the specification lets a
 * receiver do so), except UNSPEC, which says that there is no client to tell of. */
#include "server/ingress/proxy_header.h"

#include "store/crc32c.h"

enum phase { PHASE_START, PHASE_LINE, PHASE_FIXED, PHASE_ADDRESSES, PHASE_VALUES, PHASE_SKIP };

static const char line_start[] = "PROXY ";
static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";

#define FIXED_BYTES 16        /* of version 2, before the addresses */
#define ADDRESSES_V4_BYTES 12 /* two addresses and two ports */
#define ADDRESSES_V6_BYTES 36
#define TLS_FIXED_BYTES 5 /* of the TLS value, before its own values */
#define CRC_BYTES 4
#define VALUE_HEAD_BYTES 3

enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 }; /* with the version in front */
enum { FAMILY_UNSPEC = 0, FAMILY_INET = 1, FAMILY_INET6 = 2, FAMILY_UNIX = 3 };
enum { TRANSPORT_UNSPEC = 0, TRANSPORT_STREAM = 1, TRANSPORT_DGRAM = 2 };
enum value_type {
    TYPE_AUTHORITY = 0x02,
    TYPE_CRC32C = 0x03,
    TYPE_UNIQUE_ID = 0x05,
    TYPE_TLS = 0x20,
    TYPE_TLS_VERSION = 0x21,
    TYPE_TLS_NAME = 0x22,
    TYPE_TLS_CIPHER = 0x23,
};
enum { CLIENT_TLS = 0x01, CLIENT_CERTIFICATE = 0x02 | 0x04 }; /* now, or earlier in its session */

_Static_assert(PROXY_V1_BYTES_MAX >= FIXED_BYTES + ADDRESSES_V6_BYTES, "the line holds either");

static enum proxy_status bad(struct proxy_reader *r, const char *why)
{
    r->why = why;
    return PROXY_BAD;
}

void proxy_reader_init(struct proxy_reader *reader)
{
    memset(reader, 0, sizeof(*reader));
    reader->phase = PHASE_START;
}

struct slice proxy_text(const struct proxy_header *header, enum proxy_text text)
{
    ASSERT(text < PROXY_TEXT_COUNT);
    return slice_of(header->texts[text], header->text_lens[text]);
}

/* --- version 1 --- */

/* Cuts the field up to the next single space, or up to the end. */
static struct slice next_field(struct slice *rest)
{
    const char *space = memchr(rest->data, ' ', rest->len);
    size_t len = space == NULL ? rest->len : (size_t)(space - rest->data);
    struct slice field = slice_of(rest->data, len);
    *rest = slice_from(*rest, space == NULL ? len : len + 1);
    return field;
}

static bool endpoint_of_fields(struct slice address, struct slice port, bool is_v6,
                               struct endpoint *out)
{
    bool has_zero = port.len > 1 && port.data[0] == '0';
    if (has_zero) return false;
    char bytes[PROXY_V1_BYTES_MAX + 3];
    struct buf text = {bytes, 0, sizeof(bytes), false};
    if (is_v6) buf_append_char(&text, '[');
    buf_append_slice(&text, address);
    buf_append_cstr(&text, is_v6 ? "]:" : ":");
    buf_append_slice(&text, port);
    ASSERT(!text.is_short); /* both fields are parts of one line */
    return endpoint_parse(buf_slice(&text), out);
}

static enum proxy_status line_parse(struct proxy_reader *r)
{
    struct slice rest = slice_of(r->line, (size_t)r->line_len - 2);
    rest = slice_from(rest, sizeof(line_start) - 1);
    r->header.version = 1;
    bool has_more = memchr(rest.data, ' ', rest.len) != NULL;
    struct slice protocol = next_field(&rest);
    if (slice_eq(protocol, SLICE("UNKNOWN"))) {
        r->header.is_probe = true; /* what follows is to be ignored */
        return PROXY_OK;
    }
    bool is_v4 = slice_eq(protocol, SLICE("TCP4")), is_v6 = slice_eq(protocol, SLICE("TCP6"));
    if ((!is_v4 && !is_v6) || !has_more) return bad(r, "v1: the protocol is not TCP4 or TCP6");
    struct slice source = next_field(&rest), destination = next_field(&rest);
    struct slice source_port = next_field(&rest);
    struct endpoint unused;
    if (!endpoint_of_fields(source, source_port, is_v6, &r->header.source))
        return bad(r, "v1: the source is no address and port of that family");
    if (!endpoint_of_fields(destination, rest, is_v6, &unused))
        return bad(r, "v1: the destination is no address and port of that family");
    return PROXY_OK;
}

static enum proxy_status read_line(struct proxy_reader *r, struct slice in, size_t *taken)
{
    while (*taken < in.len) {
        char c = in.data[(*taken)++];
        bool is_after_cr = r->line_len > 0 && r->line[r->line_len - 1] == '\r';
        if (r->line_len < sizeof(line_start) - 1 && c != line_start[r->line_len])
            return bad(r, "the first bytes are no header");
        if (is_after_cr != (c == '\n')) return bad(r, "v1: a CR or LF stands alone");
        r->line[r->line_len++] = c;
        if (c == '\n') return line_parse(r);
        if (r->line_len == PROXY_V1_BYTES_MAX) return bad(r, "v1: the line is too long");
    }
    return PROXY_MORE;
}

/* --- version 2 --- */

static unsigned load_u16(const char *at)
{
    return (unsigned)(uint8_t)at[0] << 8 | (uint8_t)at[1];
}

static void crc_add(struct proxy_reader *r, const char *bytes, size_t len)
{
    r->crc = crc32c(r->crc, bytes, len);
}

/* After the fixed part: what of the rest is of use. */
static enum proxy_status fixed_parse(struct proxy_reader *r)
{
    unsigned command = (uint8_t)r->line[12], family = (uint8_t)r->line[13] >> 4;
    unsigned transport = (uint8_t)r->line[13] & 0x0f, length = load_u16(&r->line[14]);
    r->header.version = 2;
    r->values[0].area_left = length;
    if (command != COMMAND_LOCAL && command != COMMAND_PROXY)
        return bad(r, "v2: the version or command is unknown");
    if (command == COMMAND_LOCAL) { /* whatever family it names is to be ignored */
        r->header.is_probe = true;
        r->phase = PHASE_SKIP;
        return PROXY_MORE;
    }
    if (family > FAMILY_UNIX || transport > TRANSPORT_DGRAM)
        return bad(r, "v2: the address family or transport is unknown");
    if (family == FAMILY_UNSPEC || transport == TRANSPORT_UNSPEC) {
        r->header.is_probe = true;
        r->phase = PHASE_SKIP;
        return PROXY_MORE;
    }
    if (family == FAMILY_UNIX || transport != TRANSPORT_STREAM)
        return bad(r, "v2: the client is not on TCP");
    unsigned addresses = family == FAMILY_INET ? ADDRESSES_V4_BYTES : ADDRESSES_V6_BYTES;
    if (length < addresses) return bad(r, "v2: the addresses are cut short");
    r->values[0].area_left = length - addresses;
    r->line_need = (uint8_t)(FIXED_BYTES + addresses);
    r->phase = PHASE_ADDRESSES;
    return PROXY_MORE;
}

static void addresses_parse(struct proxy_reader *r)
{
    struct endpoint *source = &r->header.source;
    const char *at = &r->line[FIXED_BYTES];
    if (r->line_need == FIXED_BYTES + ADDRESSES_V4_BYTES) {
        source->addr.v4.sin_family = AF_INET;
        memcpy(&source->addr.v4.sin_addr, at, 4);
        memcpy(&source->addr.v4.sin_port, at + 8, 2);
        source->addr_len = sizeof(source->addr.v4);
    } else {
        source->addr.v6.sin6_family = AF_INET6;
        memcpy(&source->addr.v6.sin6_addr, at, 16);
        memcpy(&source->addr.v6.sin6_port, at + 32, 2);
        source->addr_len = sizeof(source->addr.v6);
    }
    r->phase = PHASE_VALUES;
}

/* The fixed part and the addresses. */
static enum proxy_status read_front(struct proxy_reader *r, struct slice in, size_t *taken)
{
    size_t count = MIN(in.len - *taken, (size_t)(r->line_need - r->line_len));
    memcpy(r->line + r->line_len, in.data + *taken, count);
    r->line_len = (uint8_t)(r->line_len + count);
    *taken += count;
    size_t checked = MIN((size_t)r->line_len, sizeof(signature));
    if (memcmp(r->line, signature, checked) != 0) return bad(r, "the first bytes are no header");
    if (r->line_len < r->line_need) return PROXY_MORE;
    if (r->phase == PHASE_FIXED) return fixed_parse(r);
    crc_add(r, r->line, r->line_len);
    addresses_parse(r);
    return PROXY_MORE;
}

/* --- the values of version 2 --- */

/* Which text the present value is; PROXY_TEXT_COUNT: none that is kept. */
static enum proxy_text text_of(const struct proxy_reader *r)
{
    uint8_t type = r->values[r->level].type;
    if (r->level == 0) {
        if (type == TYPE_AUTHORITY) return PROXY_AUTHORITY;
        if (type == TYPE_UNIQUE_ID) return PROXY_UNIQUE_ID;
        return PROXY_TEXT_COUNT;
    }
    if (type == TYPE_TLS_VERSION) return PROXY_TLS_VERSION;
    if (type == TYPE_TLS_CIPHER) return PROXY_TLS_CIPHER;
    if (type == TYPE_TLS_NAME) return PROXY_CLIENT_NAME;
    return PROXY_TEXT_COUNT;
}

/* The head of a value is there. */
static enum proxy_status value_begin(struct proxy_reader *r)
{
    struct proxy_values *v = &r->values[r->level];
    uint32_t length = (uint32_t)v->head[1] << 8 | v->head[2];
    v->type = v->head[0];
    v->head_len = 0;
    if (length > v->area_left) return bad(r, "v2: a value is longer than the header");
    v->value_left = length;
    if (r->level == 0 && v->type == TYPE_CRC32C) {
        if (length != CRC_BYTES || r->has_crc) return bad(r, "v2: the checksum is malformed");
        r->has_crc = true;
    }
    if (r->level == 0 && v->type == TYPE_TLS) {
        if (length < TLS_FIXED_BYTES) return bad(r, "v2: the TLS value is cut short");
        v->area_left -= length; /* the level below has them */
        v->value_left = 0;
        r->tls_len = 0;
        r->level = 1;
        r->values[1] = (struct proxy_values){.area_left = length};
        return PROXY_MORE;
    }
    enum proxy_text text = text_of(r);
    if (text < PROXY_TEXT_COUNT) r->header.text_lens[text] = 0;
    return PROXY_MORE;
}

static void value_keep(struct proxy_reader *r, const char *bytes, size_t count)
{
    enum proxy_text text = text_of(r);
    if (text == PROXY_TEXT_COUNT) return;
    uint8_t len = r->header.text_lens[text];
    size_t kept = MIN(count, (size_t)(PROXY_TEXT_BYTES_MAX - len));
    memcpy(r->header.texts[text] + len, bytes, kept);
    r->header.text_lens[text] = (uint8_t)(len + kept);
}

/* Takes some of the present value. */
static size_t read_value(struct proxy_reader *r, const char *at, size_t len)
{
    struct proxy_values *v = &r->values[r->level];
    size_t count = MIN(len, (size_t)v->value_left);
    v->value_left -= (uint32_t)count;
    v->area_left -= (uint32_t)count;
    if (r->level == 0 && v->type == TYPE_CRC32C) {
        static const char zeros[CRC_BYTES];
        for (size_t i = 0; i < count; i++)
            r->crc_given = r->crc_given << 8 | (uint8_t)at[i];
        crc_add(r, zeros, count);
        return count;
    }
    value_keep(r, at, count);
    crc_add(r, at, count);
    return count;
}

/* The first bytes of the TLS value: a byte of flags, and 0 for a certificate that was verified. */
static void read_tls_byte(struct proxy_reader *r, char c)
{
    struct proxy_header *header = &r->header;
    if (r->tls_len == 0) {
        header->has_tls = ((uint8_t)c & CLIENT_TLS) != 0;
        header->has_certificate = ((uint8_t)c & CLIENT_CERTIFICATE) != 0;
        header->is_verified = header->has_certificate;
    } else if (c != 0) {
        header->is_verified = false;
    }
    r->tls_len++;
}

static enum proxy_status read_head_byte(struct proxy_reader *r, char c)
{
    struct proxy_values *v = &r->values[r->level];
    if (v->head_len == 0 && v->area_left < VALUE_HEAD_BYTES)
        return bad(r, "v2: bytes are left over behind the last value");
    v->head[v->head_len++] = (uint8_t)c;
    v->area_left--;
    return v->head_len == VALUE_HEAD_BYTES ? value_begin(r) : PROXY_MORE;
}

/* True at a place where a value may begin or the header may end. */
static bool is_between_values(const struct proxy_reader *r)
{
    const struct proxy_values *v = &r->values[r->level];
    return v->value_left == 0 && v->head_len == 0;
}

static enum proxy_status values_end(struct proxy_reader *r)
{
    if (r->has_crc && r->crc != r->crc_given) return bad(r, "v2: the checksum is wrong");
    return PROXY_OK;
}

static enum proxy_status read_values(struct proxy_reader *r, struct slice in, size_t *taken)
{
    for (;;) {
        struct proxy_values *v = &r->values[r->level];
        if (is_between_values(r) && v->area_left == 0) {
            if (r->level == 0) return values_end(r);
            r->level = 0;
            continue;
        }
        if (*taken == in.len) return PROXY_MORE;
        const char *at = in.data + *taken;
        if (v->value_left > 0) {
            *taken += read_value(r, at, in.len - *taken);
            continue;
        }
        crc_add(r, at, 1);
        (*taken)++;
        if (r->level == 1 && r->tls_len < TLS_FIXED_BYTES) {
            v->area_left--;
            read_tls_byte(r, *at);
        } else if (read_head_byte(r, *at) == PROXY_BAD) {
            return PROXY_BAD;
        }
    }
}

static enum proxy_status read_skipped(struct proxy_reader *r, struct slice in, size_t *taken)
{
    uint32_t *left = &r->values[0].area_left;
    size_t count = MIN(in.len - *taken, (size_t)*left);
    *left -= (uint32_t)count;
    *taken += count;
    return *left == 0 ? PROXY_OK : PROXY_MORE;
}

/* --- both --- */

static enum proxy_status read_start(struct proxy_reader *r, char first)
{
    if (first == line_start[0]) {
        r->phase = PHASE_LINE;
    } else if (first == signature[0]) {
        r->phase = PHASE_FIXED;
        r->line_need = FIXED_BYTES;
    } else {
        return bad(r, "the first bytes are no header");
    }
    return PROXY_MORE;
}

static enum proxy_status read_phase(struct proxy_reader *r, struct slice in, size_t *taken)
{
    switch ((enum phase)r->phase) {
    case PHASE_START:
        return read_start(r, in.data[0]);
    case PHASE_LINE:
        return read_line(r, in, taken);
    case PHASE_FIXED:
    case PHASE_ADDRESSES:
        return read_front(r, in, taken);
    case PHASE_VALUES:
        return read_values(r, in, taken);
    case PHASE_SKIP:
        return read_skipped(r, in, taken);
    }
    return bad(r, "the first bytes are no header");
}

enum proxy_status proxy_read(struct proxy_reader *reader, struct slice in, size_t *taken_out)
{
    *taken_out = 0;
    enum proxy_status status = PROXY_MORE;
    if (in.len == 0) return status; /* a header that can end has ended with its last byte */
    uint8_t phase;
    do {
        phase = reader->phase;
        status = read_phase(reader, in, taken_out);
    } while (status == PROXY_MORE && (*taken_out < in.len || reader->phase != phase));
    return status;
}
