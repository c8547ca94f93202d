/* Paths, mailboxes and names: what is let through must be inside the input, within the limits, free
 * of control bytes, and must parse to the same parts again when it is read back. */
#include "server/smtp/address.h"
#include "server/smtp/idna.h"
#include "server/smtp/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct slice part, struct slice whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

/* A domain that was let through has an A-label form, and that is its own. */
static void check_ascii(struct slice domain)
{
    char text[2][DOMAIN_BYTES_MAX];
    struct buf first = {text[0], 0, DOMAIN_BYTES_MAX, false};
    struct buf second = {text[1], 0, DOMAIN_BYTES_MAX, false};
    ASSERT(idna_to_ascii(domain, &first) && domain_is_valid(buf_slice(&first)));
    ASSERT(idna_to_ascii(buf_slice(&first), &second));
    ASSERT(slice_eq(buf_slice(&first), buf_slice(&second)));
}

static void check_mailbox(const struct mailbox_address *m, struct slice in)
{
    ASSERT(is_inside(m->address, in));
    ASSERT(m->local.len <= LOCAL_PART_BYTES_MAX && m->domain.len <= DOMAIN_BYTES_MAX);
    for (size_t i = 0; i < m->address.len; i++) {
        uint8_t c = (uint8_t)m->address.data[i];
        ASSERT(c >= ' ' && c != 0x7f && (c < 0x80 || m->is_utf8));
    }
    ASSERT(utf8_is_valid(m->address) && m->is_utf8 == utf8_is_needed(m->address));
    if (m->address.len == 0) return; /* <> */

    ASSERT(is_inside(m->local, m->address) && is_inside(m->domain, m->address));
    ASSERT(m->local.len > 0);
    if (m->domain.len > 0) ASSERT(m->is_literal || domain_is_valid_utf8(m->domain));
    if (m->domain.len > 0 && !m->is_literal) check_ascii(m->domain);
    if (m->is_literal) ASSERT(m->domain.data[0] == '[' && helo_is_valid(m->domain));
    ASSERT(m->domain.len == 0 || memchr(m->domain.data, '@', m->domain.len) == NULL);

    struct mailbox_address again;
    ASSERT(mailbox_parse(m->address, &again) == PARSE_OK);
    ASSERT(slice_eq(again.local, m->local) && slice_eq(again.domain, m->domain));
    ASSERT(slice_eq(again.address, m->address) && again.is_literal == m->is_literal);
}

static void check_rest(struct slice rest, struct slice in)
{
    ASSERT(rest.data + rest.len == in.data + in.len);
    ASSERT(rest.len == 0 || rest.data[0] == ' ' || rest.data[0] == '\t');
}

static void check_paths(struct slice in, bool is_utf8)
{
    struct slice rest;
    struct mailbox_address mailbox;
    enum parse_status reverse = reverse_path_parse(in, is_utf8, &mailbox, &rest);
    ASSERT(is_utf8 ? reverse != PARSE_NOT_ASCII : true);
    if (reverse == PARSE_OK) {
        ASSERT(is_utf8 || !mailbox.is_utf8);
        check_mailbox(&mailbox, in);
        check_rest(rest, in);
    }
    enum parse_status forward = forward_path_parse(in, is_utf8, &mailbox, &rest);
    if (forward == PARSE_OK) {
        ASSERT(mailbox.address.len > 0);
        check_mailbox(&mailbox, in);
        check_rest(rest, in);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct slice in = slice_of(data, size);
    struct mailbox_address mailbox;
    check_paths(in, false);
    check_paths(in, true);
    if (mailbox_parse(in, &mailbox) == PARSE_OK) check_mailbox(&mailbox, in);
    if (domain_is_valid(in)) ASSERT(helo_is_valid(in));
    if (domain_is_valid_utf8(in)) check_ascii(in);
    if (helo_is_valid(in)) ASSERT(in.len <= DOMAIN_BYTES_MAX);
    return 0;
}
