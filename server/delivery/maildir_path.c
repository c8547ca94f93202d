/* maildir_path.c - expands path templates with parts of addresses, made safe. */
#include "server/delivery/maildir_path.h"

#include "server/smtp/address.h"
#include "server/smtp/idna.h"
#include "server/smtp/utf8.h"
#include "store/message.h"

#define COMPONENT_BYTES_MAX 255 /* NAME_MAX of every file system that holds mail */

static bool is_plain(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) return true;
    return c != '\0' && strchr("._-+=@~,", c) != NULL;
}

/* Appends `part` in lower case and encoded. False when it is empty. */
static bool append_part(struct buf *out, struct slice part, bool is_quoted)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t start = out->len;
    for (size_t i = 0; i < part.len; i++) {
        if (is_quoted && part.data[i] == '\\' && i + 1 < part.len) i++;
        char c = ascii_lower(part.data[i]);
        if (is_plain(c) && !(c == '.' && out->len == start)) {
            buf_append_char(out, c);
        } else {
            unsigned char byte = (unsigned char)c;
            buf_append_char(out, '%');
            buf_append_char(out, hex[byte >> 4]);
            buf_append_char(out, hex[byte & 15]);
        }
    }
    return out->len > start;
}

/* The last @ divides: one before it can only stand in a quoted local part. */
static void split_address(struct slice address, const char *hostname, struct slice *local_out,
                          struct slice *domain_out)
{
    const char *at = memrchr(address.data, '@', address.len);
    if (at == NULL || address.len == 0) {
        *local_out = address;
        *domain_out = slice_of_cstr(hostname);
        return;
    }
    *local_out = slice_of(address.data, (size_t)(at - address.data));
    *domain_out = slice_from(address, local_out->len + 1);
}

static bool append_domain(struct buf *out, struct slice domain)
{
    char bytes[DOMAIN_BYTES_MAX];
    struct buf labels = {bytes, 0, sizeof(bytes), false};
    if (utf8_is_needed(domain) && idna_to_ascii(domain, &labels)) domain = buf_slice(&labels);
    return append_part(out, domain, false);
}

static bool append_local(struct buf *out, struct slice local)
{
    bool is_quoted = local.len >= 2 && local.data[0] == '"' && local.data[local.len - 1] == '"';
    if (is_quoted) local = slice_of(local.data + 1, local.len - 2);
    return append_part(out, local, is_quoted);
}

static bool components_fit(struct slice path)
{
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        len = path.data[i] == '/' ? 0 : len + 1;
        if (len > COMPONENT_BYTES_MAX) return false;
    }
    return path.len <= MAILDIR_PATH_BYTES_MAX;
}

bool maildir_path_expand(const char *template, struct slice address, const char *hostname,
                         struct buf *out)
{
    struct slice local, domain, rest = slice_of_cstr(template);
    split_address(address, hostname, &local, &domain);

    size_t start = out->len;
    while (rest.len > 0) {
        if (slice_starts_with_nocase(rest, SLICE("{domain}"))) {
            if (!append_domain(out, domain)) return false;
            rest = slice_from(rest, strlen("{domain}"));
        } else if (slice_starts_with_nocase(rest, SLICE("{local}"))) {
            if (!append_local(out, local)) return false;
            rest = slice_from(rest, strlen("{local}"));
        } else {
            buf_append_char(out, rest.data[0]);
            rest = slice_from(rest, 1);
        }
    }
    /* A trailing slash would only give empty components. */
    while (out->len > start + 1 && out->data[out->len - 1] == '/')
        out->len--;
    return !out->is_short && components_fit(slice_of(out->data + start, out->len - start));
}

bool maildir_name_write(uint64_t received_ms, uint64_t message_id, uint32_t recipient,
                        const char *hostname, struct buf *out)
{
    char id[MESSAGE_ID_TEXT];
    message_id_write(message_id, id);
    size_t start = out->len;
    buf_append_u64(out, received_ms / 1000);
    buf_append_char(out, '.');
    buf_append(out, id, sizeof(id));
    buf_append_char(out, '_');
    buf_append_u64(out, recipient);
    buf_append_char(out, '.');
    /* Maildir readers take ':' and '/' as their own: a host name has neither, but be sure. */
    for (const char *c = hostname; *c != '\0'; c++) {
        buf_append_char(out, *c == '/' || *c == ':' ? '_' : *c);
    }
    return !out->is_short && out->len - start <= MAILDIR_NAME_BYTES_MAX;
}
