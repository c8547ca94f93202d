/* idna.c - see idna.h; the rules and tables are libidn2's.
 *
 * A U-label is judged in full. An "xn--" label in an ASCII domain must be Punycode, no more:
 * whether its characters are allowed is for the registry that sold it, whose Unicode may be newer
 * than ours, and as ASCII it is carried like any other name. */
#include "server/smtp/idna.h"

#include "server/smtp/address.h"
#include "server/smtp/utf8.h"

#include <idn2.h>

static bool is_a_label(struct slice label)
{
    return slice_starts_with_nocase(label, SLICE("xn--"));
}

/* Takes the first label and its dot off the front of `domain`. */
static struct slice label_take(struct slice *domain)
{
    const char *dot = memchr(domain->data, '.', domain->len);
    size_t len = dot == NULL ? domain->len : (size_t)(dot - domain->data);
    struct slice label = slice_of(domain->data, len);
    *domain = slice_from(*domain, dot == NULL ? len : len + 1);
    return label;
}

static bool has_a_label(struct slice domain)
{
    while (domain.len > 0) {
        if (is_a_label(label_take(&domain))) return true;
    }
    return false;
}

/* What libidn2 says of a name that is Punycode, but whose characters it does not like. */
static bool is_about_characters(int status)
{
    switch (status) {
    case IDN2_NOT_NFC:
    case IDN2_LEADING_COMBINING:
    case IDN2_DISALLOWED:
    case IDN2_CONTEXTJ:
    case IDN2_CONTEXTJ_NO_RULE:
    case IDN2_CONTEXTO:
    case IDN2_CONTEXTO_NO_RULE:
    case IDN2_UNASSIGNED:
    case IDN2_BIDI:
        return true;
    default:
        return false;
    }
}

static bool lower_append(struct slice domain, struct buf *out)
{
    if (domain.len > buf_room(out)) {
        out->is_short = true;
        return false;
    }
    for (size_t i = 0; i < domain.len; i++) {
        out->data[out->len++] = ascii_lower(domain.data[i]);
    }
    return true;
}

/* `name` is in lower case and has at most DOMAIN_BYTES_MAX bytes. */
static int look_up(struct slice name, uint8_t **ascii_out)
{
    char text[DOMAIN_BYTES_MAX + 1];
    ASSERT(name.len <= DOMAIN_BYTES_MAX);
    *ascii_out = NULL;
    if (memchr(name.data, '\0', name.len) != NULL) return IDN2_DISALLOWED;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    return idn2_lookup_u8((const uint8_t *)text, ascii_out, IDN2_NO_TR46 | IDN2_NFC_INPUT);
}

static bool a_labels_are_punycode(struct slice domain)
{
    while (domain.len > 0) {
        struct slice label = label_take(&domain);
        if (!is_a_label(label)) continue;
        uint8_t *ascii;
        int status = look_up(label, &ascii);
        idn2_free(ascii);
        if (status != IDN2_OK && !is_about_characters(status)) return false;
    }
    return true;
}

static bool u_labels_append(struct slice domain, struct buf *out)
{
    uint8_t *ascii;
    int status = look_up(domain, &ascii);
    bool is_good = status == IDN2_OK && domain_is_valid(slice_of_cstr((const char *)ascii)) &&
                   buf_append_cstr(out, (const char *)ascii);
    idn2_free(ascii);
    return is_good;
}

bool idna_to_ascii(struct slice domain, struct buf *out)
{
    bool is_utf8 = utf8_is_needed(domain);
    if (!is_utf8 && !has_a_label(domain)) return lower_append(domain, out);

    char text[DOMAIN_BYTES_MAX];
    struct buf lower = {text, 0, sizeof(text), false};
    if (!lower_append(domain, &lower)) return false;
    if (is_utf8) return u_labels_append(buf_slice(&lower), out);
    return a_labels_are_punycode(buf_slice(&lower)) && buf_append_slice(out, buf_slice(&lower));
}

bool idna_is_valid(struct slice domain)
{
    if (!utf8_is_needed(domain) && !has_a_label(domain)) return true;
    char text[DOMAIN_BYTES_MAX];
    struct buf out = {text, 0, sizeof(text), false};
    return idna_to_ascii(domain, &out);
}
