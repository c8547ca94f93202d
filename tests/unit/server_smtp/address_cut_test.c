/* Mailboxes, domains and names of clients, each cut at every byte and with every byte changed: what
 * is let through is whole, and nothing behind the end is read (each part is a block of its own). */
#include "server/smtp/address.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

static const char *const mailboxes[] = {"user@a.example", "\"a b\\\"@c\"@a.example",
                                        "u@[192.0.2.1]", "u@[IPv6:2001:db8::1]",
                                        "\xc3\xbc@b\xc3\xbc"
                                        "cher.example"};

static const char *const names[] = {"a.b-c.example", "xn--4ca.example", "[192.0.2.1]",
                                    "[IPv6:2001:db8::1]",
                                    "b\xc3\xbc"
                                    "cher.example"};

/* The first `len` bytes, with nothing behind them. */
static char *exact_of(const char *text, size_t len)
{
    char *exact = malloc(len > 0 ? len : 1);
    ASSERT(exact != NULL);
    memcpy(exact, text, len);
    return exact;
}

static bool is_inside(struct slice part, struct slice whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void check_mailbox(const char *name, struct slice in)
{
    struct mailbox_address got;
    if (mailbox_parse(in, &got) != PARSE_OK) {
        CHECK_EQ(name, got.address.len + got.local.len + got.domain.len, 0);
        return;
    }
    CHECK(is_inside(got.address, in) && is_inside(got.local, in) && is_inside(got.domain, in));
    CHECK_EQ(name, got.address.len, in.len);
    CHECK(got.local.len > 0 && got.local.len <= LOCAL_PART_BYTES_MAX);
    CHECK(got.domain.len <= DOMAIN_BYTES_MAX);
    CHECK(memchr(in.data, '\r', in.len) == NULL && memchr(in.data, '\n', in.len) == NULL);
    CHECK(memchr(in.data, '\0', in.len) == NULL);
}

/* Text, literals and names of clients differ in what they may hold; none holds these. */
static void check_name(struct slice in)
{
    bool is_name = domain_is_valid(in), is_utf8_name = domain_is_valid_utf8(in);
    bool is_helo = helo_is_valid(in);
    CHECK(is_utf8_name || !is_name || memmem(in.data, in.len, "xn--", 4) != NULL);
    if (!is_name && !is_utf8_name && !is_helo) return;
    CHECK(in.len > 0 && in.len <= DOMAIN_BYTES_MAX);
    for (size_t i = 0; i < in.len; i++)
        CHECK((unsigned char)in.data[i] > ' ' && in.data[i] != 127 && in.data[i] != '@');
}

TEST(mailbox_parse_takes_no_part_for_more_than_it_is)
{
    for (size_t i = 0; i < ARRAY_LEN(mailboxes); i++) {
        const char *text = mailboxes[i];
        const char *at = strrchr(text, '@');
        for (size_t cut = 0; cut <= strlen(text); cut++) {
            char *exact = exact_of(text, cut);
            struct mailbox_address got;
            check_mailbox(text, slice_of(exact, cut));
            bool is_taken = mailbox_parse(slice_of(exact, cut), &got) == PARSE_OK;
            if (cut <= (size_t)(at - text) + 1) CHECK_EQ(text, is_taken, false);
            if (cut == strlen(text)) CHECK_EQ(text, is_taken, true);
            free(exact);
        }
    }
}

TEST(mailbox_parse_survives_every_changed_byte)
{
    for (size_t i = 0; i < ARRAY_LEN(mailboxes); i++) {
        size_t len = strlen(mailboxes[i]);
        char *exact = exact_of(mailboxes[i], len);
        for (size_t at = 0; at < len; at++) {
            char was = exact[at];
            for (unsigned byte = 0; byte < 256; byte++) {
                exact[at] = (char)byte;
                check_mailbox(mailboxes[i], slice_of(exact, len));
            }
            exact[at] = was;
        }
        free(exact);
    }
}

TEST(names_survive_every_cut_and_changed_byte)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t len = strlen(names[i]);
        for (size_t cut = 0; cut <= len; cut++) {
            char *exact = exact_of(names[i], cut);
            check_name(slice_of(exact, cut));
            bool is_literal = names[i][0] == '[';
            if (is_literal && cut < len) CHECK_EQ(names[i], helo_is_valid(slice_of(exact, cut)), 0);
            for (size_t at = 0; cut == len && at < len; at++) {
                char was = exact[at];
                for (unsigned byte = 0; byte < 256; byte++) {
                    exact[at] = (char)byte;
                    check_name(slice_of(exact, len));
                }
                exact[at] = was;
            }
            free(exact);
        }
    }
}
