/* received.c - the Received field, folded as it is written.
 *
 * Lines are kept to 78 characters where the words allow it. A word is never cut, and the longest is
 * a recipient of some 320 bytes, so that no line comes near the 998 that RFC 5322 2.1.1 allows. */
#include "server/mail/received.h"

#include "server/smtp/address.h"

#define LINE_BYTES_WANTED 78
#define RECIPIENT_BYTES_MAX (LOCAL_PART_BYTES_MAX + DOMAIN_BYTES_MAX + 2) /* "@", trailing dot */

_Static_assert(DOMAIN_BYTES_MAX + RECEIVED_HOSTNAME_BYTES_MAX + RECIPIENT_BYTES_MAX +
                       6 * RECEIVED_WORD_BYTES_MAX <=
                   RECEIVED_BYTES_MAX,
               "the longest parts fit, with room for the words between them");
_Static_assert(RECIPIENT_BYTES_MAX + LINE_BYTES_WANTED < 998, "no line is too long");

struct folder {
    struct buf *out;
    size_t column;
};

/* Begins a word of `len` bytes: behind a blank, or on a new line where it would not fit. */
static void word_begin(struct folder *f, size_t len)
{
    if (f->column + 1 + len > LINE_BYTES_WANTED) {
        buf_append(f->out, "\r\n\t", 3);
        f->column = 1;
    } else {
        buf_append_char(f->out, ' ');
        f->column++;
    }
    f->column += len;
}

/* A word with what stands right before and behind it. */
static void word_write(struct folder *f, struct slice before, struct slice word,
                       struct slice behind)
{
    word_begin(f, before.len + word.len + behind.len);
    buf_append_slice(f->out, before);
    buf_append_slice(f->out, word);
    buf_append_slice(f->out, behind);
}

/* A keyword and its value, kept on one line where they fit. */
static void clause_write(struct folder *f, struct slice keyword, struct slice value)
{
    word_begin(f, keyword.len + 1 + value.len);
    buf_append_slice(f->out, keyword);
    buf_append_char(f->out, ' ');
    buf_append_slice(f->out, value);
}

/* The bytes of domain names and address literals; all others could mean something to the reader of
 * the field: a comment, a quote, the ";" before the date. */
static bool is_name_char(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_' || c == ':' || c == '[' || c == ']';
}

static struct slice name_clean(struct slice name, char cleaned[DOMAIN_BYTES_MAX])
{
    size_t len = MIN(name.len, DOMAIN_BYTES_MAX);
    for (size_t i = 0; i < len; i++) {
        char c = name.data[i];
        cleaned[i] = (char)(is_name_char(c) ? c : '?');
    }
    return len == 0 ? SLICE("unknown") : slice_of(cleaned, len);
}

/* A recipient is named only when it is as the parser of paths lets it through. */
static bool may_name_recipient(struct slice recipient)
{
    struct mailbox_address parsed;
    if (recipient.len == 0 || recipient.len > RECIPIENT_BYTES_MAX) return false;
    return mailbox_parse(recipient, &parsed) == PARSE_OK && !parsed.is_utf8;
}

bool received_write(const struct received *received, struct buf *out)
{
    ASSERT(received->client.len <= RECEIVED_WORD_BYTES_MAX);
    ASSERT(received->hostname.len <= RECEIVED_HOSTNAME_BYTES_MAX);
    ASSERT(received->protocol.len <= RECEIVED_WORD_BYTES_MAX);
    ASSERT(received->tls.len <= RECEIVED_WORD_BYTES_MAX);
    ASSERT(received->id.len <= RECEIVED_WORD_BYTES_MAX);
    ASSERT(received->date.len <= RECEIVED_WORD_BYTES_MAX);

    const struct slice none = SLICE(""), name = SLICE("Received:");
    char cleaned[DOMAIN_BYTES_MAX];
    struct folder f = {out, name.len};

    buf_append_slice(out, name);
    clause_write(&f, SLICE("from"), name_clean(received->helo, cleaned));
    word_write(&f, SLICE("("), received->client, SLICE(")"));
    clause_write(&f, SLICE("by"), received->hostname);
    word_write(&f, none, SLICE("(Postern)"), none);
    clause_write(&f, SLICE("with"), received->protocol);
    if (received->tls.len > 0) word_write(&f, SLICE("("), received->tls, SLICE(")"));
    bool is_named = may_name_recipient(received->recipient);
    if (is_named) {
        clause_write(&f, SLICE("id"), received->id);
        word_write(&f, SLICE("for <"), received->recipient, SLICE(">;"));
    } else {
        word_write(&f, SLICE("id "), received->id, SLICE(";"));
    }
    word_write(&f, none, received->date, none);
    buf_append(out, "\r\n", 2);
    return !out->is_short;
}
