/* address.c - paths, mailboxes and domains, read left to right.
 *
 *     path      = "<" [ "@" domain *( "," "@" domain ) ":" ] mailbox ">"
 *     mailbox   = local-part "@" ( domain / literal )
 *     local-part = atom *( "." atom ) / quoted-string with something in it
 *     domain    = label *( "." label ) [ "." ]
 *     literal   = "[" IPv4 "]" / "[IPv6:" IPv6 "]"
 *
 * With SMTPUTF8 an atom, a quoted string and a label may hold UTF-8 characters as well.
 *
 * A reader moves `at` as far as it understands. Where one fails, the byte it failed on decides: one
 * above 127 asks for SMTPUTF8 or is no UTF-8, anything else is a syntax error. Every list ends at
 * the first byte that it cannot hold, so comments, blanks and control bytes are errors without
 * being named. */
#include "server/smtp/address.h"

#include "server/smtp/idna.h"
#include "server/smtp/utf8.h"

#include <arpa/inet.h>

#define LABEL_BYTES_MAX 63

enum char_flag {
    ATEXT = BIT(0),      /* RFC 5322 3.2.3 */
    LETTER = BIT(1),     /* and digits */
    HYPHEN = BIT(2),     /* in a label, but not at its ends */
    UNDERSCORE = BIT(3), /* in the names of EHLO */
};

static const uint8_t char_flags[256] = {
    ['0' ... '9'] = ATEXT | LETTER,
    ['A' ... 'Z'] = ATEXT | LETTER,
    ['a' ... 'z'] = ATEXT | LETTER,
    ['-'] = ATEXT | HYPHEN,
    ['_'] = ATEXT | UNDERSCORE,
    ['!'] = ATEXT,
    ['#'] = ATEXT,
    ['$'] = ATEXT,
    ['%'] = ATEXT,
    ['&'] = ATEXT,
    ['\''] = ATEXT,
    ['*'] = ATEXT,
    ['+'] = ATEXT,
    ['/'] = ATEXT,
    ['='] = ATEXT,
    ['?'] = ATEXT,
    ['^'] = ATEXT,
    ['`'] = ATEXT,
    ['{'] = ATEXT,
    ['|'] = ATEXT,
    ['}'] = ATEXT,
    ['~'] = ATEXT,
};

struct text {
    const char *at, *end;
    bool is_utf8;     /* characters above 127 are let pass */
    bool is_bad_name; /* a reader failed at a domain that looks well but is none by IDNA */
};

static struct text text_of(struct slice in, bool is_utf8)
{
    return (struct text){.at = in.data, .end = in.data + in.len, .is_utf8 = is_utf8};
}

static struct slice text_left(const struct text *t)
{
    return slice_of(t->at, (size_t)(t->end - t->at));
}

static bool has_flag(const struct text *t, unsigned flags)
{
    return t->at < t->end && (char_flags[(uint8_t)*t->at] & flags) != 0;
}

static bool take(struct text *t, char c)
{
    if (t->at == t->end || *t->at != c) return false;
    t->at++;
    return true;
}

/* Takes one character above 127, when such are let pass. */
static bool take_utf8(struct text *t)
{
    if (!t->is_utf8 || t->at == t->end || (uint8_t)*t->at < 128) return false;
    size_t bytes = utf8_char_bytes(text_left(t));
    if (bytes == 0 || utf8_is_control(text_left(t))) return false;
    t->at += bytes;
    return true;
}

/* For a reader that could not go on at `at`. */
static enum parse_status failure(const struct text *t)
{
    if (t->is_bad_name) return PARSE_BAD_UTF8;
    if (t->at == t->end || (uint8_t)*t->at < 128) return PARSE_BAD;
    if (!t->is_utf8) return PARSE_NOT_ASCII;
    return utf8_char_bytes(text_left(t)) == 0 ? PARSE_BAD_UTF8 : PARSE_BAD;
}

static bool take_printable(struct text *t)
{
    if (t->at == t->end || *t->at < ' ' || *t->at > '~') return false;
    t->at++;
    return true;
}

/* Stops behind the closing quote. `""` is no local part: it names nobody. */
static bool quoted_read(struct text *t)
{
    const char *start = t->at;
    if (!take(t, '"')) return false;
    for (;;) {
        if (take(t, '"')) return t->at - start > 2;
        if (take_utf8(t)) continue;
        take(t, '\\'); /* what follows stands for itself: ASCII only, in RFC 6531 too */
        if (!take_printable(t)) return false;
    }
}

static bool take_atext(struct text *t)
{
    if (!has_flag(t, ATEXT)) return take_utf8(t);
    t->at++;
    return true;
}

static bool dot_string_read(struct text *t)
{
    do {
        const char *start = t->at;
        while (take_atext(t)) {
        }
        if (t->at == start) return false;
    } while (take(t, '.'));
    return true;
}

static bool take_label_char(struct text *t, unsigned more)
{
    if (!has_flag(t, LETTER | HYPHEN | more)) return take_utf8(t);
    t->at++;
    return true;
}

/* The length of a label in UTF-8 is judged as an A-label, by IDNA. */
static bool label_read(struct text *t, unsigned more)
{
    const char *start = t->at;
    while (take_label_char(t, more)) {
    }
    struct slice label = slice_of(start, (size_t)(t->at - start));
    if (label.len == 0 || *start == '-' || t->at[-1] == '-') return false;
    return label.len <= LABEL_BYTES_MAX || (t->is_utf8 && utf8_is_needed(label));
}

/* Reads labels of LETTER, HYPHEN and `more`, and one dot behind the last. `*name_out` is without
 * that dot. */
static bool name_read(struct text *t, unsigned more, struct slice *name_out)
{
    const char *start = t->at, *name_end;
    for (;;) {
        if (!label_read(t, more)) return false;
        name_end = t->at;
        if (!take(t, '.')) break;
        struct text ahead = *t;
        if (!take_label_char(&ahead, more)) break;
    }
    *name_out = slice_of(start, (size_t)(name_end - start));
    return name_out->len <= DOMAIN_BYTES_MAX;
}

/* The inside of an address literal. */
static bool is_ip_address(struct slice text)
{
    const struct slice v6_tag = SLICE("IPv6:");
    int family = AF_INET;
    if (slice_starts_with_nocase(text, v6_tag)) {
        family = AF_INET6;
        text = slice_from(text, v6_tag.len);
    }
    char terminated[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (text.len >= sizeof(terminated) || memchr(text.data, '\0', text.len) != NULL) return false;
    memcpy(terminated, text.data, text.len);
    terminated[text.len] = '\0';
    return inet_pton(family, terminated, &address) == 1;
}

static bool literal_read(struct text *t, struct slice *literal_out)
{
    const char *start = t->at;
    if (!take(t, '[')) return false;
    const char *close = memchr(t->at, ']', (size_t)(t->end - t->at));
    if (close == NULL) return false;
    if (!is_ip_address(slice_of(t->at, (size_t)(close - t->at)))) return false;
    t->at = close + 1;
    *literal_out = slice_of(start, (size_t)(t->at - start));
    return true;
}

static bool domain_read(struct text *t, struct slice *domain_out, bool *is_literal_out)
{
    *is_literal_out = t->at < t->end && *t->at == '[';
    if (*is_literal_out) return literal_read(t, domain_out);
    if (!name_read(t, 0, domain_out)) return false;
    t->is_bad_name = !idna_is_valid(*domain_out);
    return !t->is_bad_name;
}

/* Source routes must be accepted and may be ignored (RFC 5321 4.1.1.3, appendix C). */
static bool route_read(struct text *t)
{
    do {
        struct slice domain;
        bool is_literal;
        if (!take(t, '@') || !domain_read(t, &domain, &is_literal)) return false;
    } while (take(t, ','));
    return take(t, ':');
}

static enum parse_status mailbox_read(struct text *t, bool may_be_postmaster,
                                      struct mailbox_address *out)
{
    const char *start = t->at;
    bool is_quoted = t->at < t->end && *t->at == '"';
    if (!(is_quoted ? quoted_read(t) : dot_string_read(t))) return failure(t);
    out->local = slice_of(start, (size_t)(t->at - start));
    if (out->local.len > LOCAL_PART_BYTES_MAX) return PARSE_BAD;

    if (take(t, '@')) {
        if (!domain_read(t, &out->domain, &out->is_literal)) return failure(t);
    } else {
        out->domain = slice_of(t->at, 0);
        bool is_postmaster = slice_eq_nocase(out->local, SLICE("postmaster"));
        if (!may_be_postmaster || !is_postmaster) return failure(t);
    }
    out->address = slice_of(start, (size_t)(t->at - start));
    out->is_utf8 = t->is_utf8 && utf8_is_needed(out->address);
    return PARSE_OK;
}

static enum parse_status path_read(struct text *t, bool is_forward, struct mailbox_address *out)
{
    while (take(t, ' ') || take(t, '\t')) {
    }
    const char *start = t->at;
    if (!take(t, '<')) return PARSE_BAD;
    if (!is_forward && take(t, '>')) {
        out->address = out->local = out->domain = slice_of(start + 1, 0);
    } else {
        if (t->at < t->end && *t->at == '@' && !route_read(t)) return failure(t);
        enum parse_status status = mailbox_read(t, is_forward, out);
        if (status != PARSE_OK) return status;
        if (!take(t, '>')) return failure(t);
    }
    if (t->at - start > PATH_BYTES_MAX) return PARSE_BAD;
    bool is_followed = t->at < t->end && *t->at != ' ' && *t->at != '\t';
    return is_followed ? PARSE_BAD : PARSE_OK;
}

static enum parse_status path_parse(struct slice in, bool is_utf8, bool is_forward,
                                    struct mailbox_address *out, struct slice *rest_out)
{
    struct text t = text_of(in, is_utf8);
    *out = (struct mailbox_address){.is_literal = false};
    enum parse_status status = path_read(&t, is_forward, out);
    if (status != PARSE_OK) *out = (struct mailbox_address){.is_literal = false};
    *rest_out = text_left(&t);
    return status;
}

enum parse_status reverse_path_parse(struct slice in, bool is_utf8, struct mailbox_address *out,
                                     struct slice *rest_out)
{
    return path_parse(in, is_utf8, false, out, rest_out);
}

enum parse_status forward_path_parse(struct slice in, bool is_utf8, struct mailbox_address *out,
                                     struct slice *rest_out)
{
    return path_parse(in, is_utf8, true, out, rest_out);
}

enum parse_status mailbox_parse(struct slice in, struct mailbox_address *out)
{
    struct text t = text_of(in, true);
    *out = (struct mailbox_address){.is_literal = false};
    enum parse_status status = mailbox_read(&t, true, out);
    if (status == PARSE_OK && t.at != t.end) status = failure(&t);
    if (status != PARSE_OK) *out = (struct mailbox_address){.is_literal = false};
    return status;
}

bool domain_is_valid(struct slice domain)
{
    struct text t = text_of(domain, false);
    struct slice name;
    return name_read(&t, 0, &name) && name.len == domain.len;
}

bool domain_is_valid_utf8(struct slice domain)
{
    struct text t = text_of(domain, true);
    struct slice name;
    return name_read(&t, 0, &name) && name.len == domain.len && idna_is_valid(name);
}

bool helo_is_valid(struct slice name)
{
    struct text t = text_of(name, false);
    struct slice read;
    bool is_literal = name.len > 0 && name.data[0] == '[';
    bool is_read = is_literal ? literal_read(&t, &read) : name_read(&t, UNDERSCORE, &read);
    return is_read && t.at == t.end && name.len <= DOMAIN_BYTES_MAX;
}
