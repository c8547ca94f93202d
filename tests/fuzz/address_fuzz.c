/* Paths, mailboxes and names: what is let through must be inside the input, within the limits, free
 * of control bytes, and must parse to the same parts again when it is read back. */
#include "server/smtp/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct slice part, struct slice whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void check_mailbox(const struct mailbox_address *m, struct slice in)
{
    ASSERT(is_inside(m->address, in));
    ASSERT(m->local.len <= LOCAL_PART_BYTES_MAX && m->domain.len <= DOMAIN_BYTES_MAX);
    for (size_t i = 0; i < m->address.len; i++) {
        ASSERT(m->address.data[i] >= ' ' && m->address.data[i] <= '~');
    }
    if (m->address.len == 0) return; /* <> */

    ASSERT(is_inside(m->local, m->address) && is_inside(m->domain, m->address));
    ASSERT(m->local.len > 0);
    if (m->domain.len > 0) ASSERT(m->is_literal || domain_is_valid(m->domain));
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct slice in = slice_of(data, size), rest;
    struct mailbox_address mailbox;
    enum parse_status reverse = reverse_path_parse(in, &mailbox, &rest);
    if (reverse == PARSE_OK) {
        check_mailbox(&mailbox, in);
        check_rest(rest, in);
    }
    enum parse_status forward = forward_path_parse(in, &mailbox, &rest);
    if (forward == PARSE_OK) {
        ASSERT(mailbox.address.len > 0);
        check_mailbox(&mailbox, in);
        check_rest(rest, in);
    }
    if (mailbox_parse(in, &mailbox) == PARSE_OK) check_mailbox(&mailbox, in);
    if (domain_is_valid(in)) ASSERT(helo_is_valid(in));
    if (helo_is_valid(in)) ASSERT(in.len <= DOMAIN_BYTES_MAX);
    return 0;
}
