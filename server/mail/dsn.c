/* dsn.c - writes the pieces of a notification.
 *
 * Every field is put together by a folder, which keeps lines short; values are clean when they get
 * there. */
#include "server/mail/dsn.h"

#include "ring/base/endpoint.h"
#include "server/mail/date.h"
#include "server/mail/dsn_words.h"
#include "server/smtp/address.h"
#include "server/smtp/idna.h"
#include "server/smtp/param.h"
#include "server/smtp/utf8.h"
#include "server/smtp/xtext.h"

#define ESCAPED_BYTES_EACH 6 /* "\x{80}" */
#define ESCAPED_BYTES_MAX (ESCAPED_BYTES_EACH * MAX(DSN_ADDRESS_BYTES_MAX, DSN_REPLY_BYTES_MAX))
#define ORCPT_TEXT_BYTES_MAX 800 /* a longer one would not fit on a line, and is left out */
#define CRLF "\r\n"

_Static_assert(4 * ESCAPED_BYTES_MAX < DSN_PIECE_BYTES_MAX,
               "a recipient's address, words and host fit, with all their line ends");

/* What people and programs read of each kind. */
static const struct {
    const char *action; /* RFC 3464 2.3.3 */
    const char *status; /* when the remote gave none of this class */
    const char *text;
} kinds[DSN_KIND_COUNT] = {
    [DSN_FAILED] =
        {"failed", "5.0.0",
         "Your message could not be delivered to the recipients below, and it is not" CRLF
         "tried again. Please check the addresses and read the answers: they say what" CRLF
         "has to be changed before the message is sent again. If an answer does not" CRLF
         "help, ask those who run the server that gave it." CRLF},
    [DSN_EXPIRED] =
        {"failed", "4.4.7",
         "Your message could not be delivered to the recipients below in all the time" CRLF
         "that it was tried, and it is not tried any more. The last answers are below." CRLF
         "Please send it again later, or reach the recipients in another way." CRLF},
    [DSN_DELAYED] =
        {"delayed", "4.0.0",
         "Your message has not been delivered to the recipients below yet. This is a" CRLF
         "warning only: it is still being tried, and you need not send it again." CRLF},
    [DSN_DELIVERED] =
        {"delivered", "2.0.0",
         "Your message was delivered to the recipients below. You had asked to be" CRLF
         "told." CRLF},
    [DSN_RELAYED] =
        {"relayed", "2.0.0",
         "Your message was handed over to the next server for the recipients below." CRLF
         "You had asked to be told. That server does not report deliveries: you may hear" CRLF
         "nothing more of it." CRLF},
};

/* --- parts of fields --- */

static struct slice cut(struct slice text, size_t bytes_max)
{
    return slice_of(text.data, MIN(text.len, bytes_max));
}

static struct dsn_folder field_begin(struct buf *out, const char *name)
{
    struct dsn_folder f = {out, 0, ""};
    dsn_fold_cstr(&f, name);
    return f;
}

static void field_end(struct dsn_folder *f)
{
    buf_append_cstr(f->out, CRLF);
}

static void write_field(struct buf *out, const char *name, struct slice value)
{
    struct dsn_folder f = field_begin(out, name);
    dsn_fold_cstr(&f, " ");
    dsn_fold(&f, value);
    field_end(&f);
}

static void write_date(struct buf *out, const char *name, uint64_t wall_ms)
{
    struct date_cache cache = {.is_filled = false};
    write_field(out, name, date_text(&cache, wall_ms));
}

/* --- what a reply says --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* True for "550", "550 words" and "550-words". */
static bool has_code(struct slice reply)
{
    if (reply.len < 3 || reply.data[0] < '2' || reply.data[0] > '5') return false;
    if (!is_digit(reply.data[1]) || !is_digit(reply.data[2])) return false;
    return reply.len == 3 || reply.data[3] == ' ' || reply.data[3] == '-';
}

/* One to three digits from `at` on; *at moves behind them. */
static bool skip_number(struct slice text, size_t *at)
{
    size_t from = *at;
    while (*at < text.len && *at < from + 3 && is_digit(text.data[*at]))
        (*at)++;
    return *at > from;
}

/* The bytes of an RFC 3463 status that `text` begins with; 0: there is none. */
static size_t status_bytes(struct slice text)
{
    size_t at = 2;
    if (text.len < 5 || text.data[1] != '.') return 0;
    if (!skip_number(text, &at) || at == text.len || text.data[at] != '.') return 0;
    at++;
    if (!skip_number(text, &at)) return 0;
    return at == text.len || text.data[at] == ' ' ? at : 0;
}

void dsn_write_status(const struct dsn_recipient *recipient, struct buf *out)
{
    ASSERT(recipient->kind < DSN_KIND_COUNT);
    const char *otherwise = kinds[recipient->kind].status;
    struct slice reply = recipient->reply;
    if (has_code(reply)) reply = slice_from(reply, MIN(reply.len, (size_t)4));
    size_t bytes = status_bytes(reply);
    bool fits = bytes > 0 && reply.data[0] == otherwise[0] && recipient->kind != DSN_EXPIRED;
    if (fits) {
        buf_append(out, reply.data, bytes);
    } else {
        buf_append_cstr(out, otherwise);
    }
}

/* --- addresses --- */

/* Appends the address with A-labels for its domain. False when UTF-8 would be left. */
static bool write_in_ascii(struct slice address, struct buf *out)
{
    const char *at = memrchr(address.data, '@', address.len);
    if (at == NULL) return false;
    size_t local_bytes = (size_t)(at + 1 - address.data);
    buf_append(out, address.data, local_bytes);
    return idna_to_ascii(slice_from(address, local_bytes), out) && dsn_is_ascii(buf_slice(out));
}

/* An address with its type (RFC 3464 2.1.2, RFC 6533 3): "rfc822; " where it can be ASCII, else
 * "utf-8; " and UTF-8 or, in a notification that is to be ASCII, escapes. */
static void write_typed(const struct dsn *dsn, struct slice address, struct buf *out)
{
    char bytes[ESCAPED_BYTES_MAX];
    struct buf text = {bytes, 0, sizeof(bytes), false};
    address = cut(address, DSN_ADDRESS_BYTES_MAX);
    if (dsn_is_ascii(address)) {
        buf_append_cstr(out, "rfc822; ");
        buf_append_slice(out, address);
    } else if (dsn->is_utf8 && dsn_is_utf8(address)) {
        buf_append_cstr(out, "utf-8; ");
        buf_append_slice(out, address);
    } else if (dsn_is_utf8(address) && write_in_ascii(address, &text)) {
        buf_append_cstr(out, "rfc822; ");
        buf_append_slice(out, buf_slice(&text));
    } else {
        buf_reset(&text);
        dsn_escape_address(address, &text);
        buf_append_cstr(out, "utf-8; ");
        buf_append_slice(out, buf_slice(&text));
    }
}

/* The same for people. */
static void write_plain(const struct dsn *dsn, struct slice address, struct dsn_folder *f)
{
    char bytes[ESCAPED_BYTES_MAX];
    struct buf text = {bytes, 0, sizeof(bytes), false};
    address = cut(address, DSN_ADDRESS_BYTES_MAX);
    bool is_clean = dsn_is_ascii(address) || (dsn->is_utf8 && dsn_is_utf8(address));
    if (!is_clean && !(dsn_is_utf8(address) && write_in_ascii(address, &text))) {
        buf_reset(&text);
        dsn_escape_words(address, &text);
    }
    dsn_fold_cstr(f, "<");
    dsn_fold(f, is_clean ? address : buf_slice(&text));
    dsn_fold_cstr(f, ">");
}

static bool is_type(struct slice type)
{
    for (size_t i = 0; i < type.len; i++) {
        char c = ascii_lower(type.data[i]);
        if ((c < 'a' || c > 'z') && !is_digit(c) && c != '-') return false;
    }
    return type.len > 0;
}

/* The address of an ORCPT as the notification has it. False: it is none, or too long. */
static bool decode_orcpt(const struct dsn *dsn, struct slice type, struct slice in, struct buf *out)
{
    if (!slice_eq_nocase(type, SLICE("utf-8")))
        return xtext_is_printable(in) && xtext_decode(in, out);
    if (dsn->is_utf8) return dsn_unescape_address(in, out);
    char bytes[DSN_ORCPT_BYTES_MAX];
    struct buf plain = {bytes, 0, sizeof(bytes), false};
    if (!dsn_unescape_address(in, &plain)) return false;
    dsn_escape_address(buf_slice(&plain), out);
    return !out->is_short;
}

static void write_original_recipient(const struct dsn *dsn, struct slice orcpt, struct buf *out)
{
    char bytes[ORCPT_TEXT_BYTES_MAX];
    struct buf address = {bytes, 0, sizeof(bytes), false};
    const char *semicolon = orcpt.len > 0 ? memchr(orcpt.data, ';', orcpt.len) : NULL;
    if (semicolon == NULL || orcpt.len > DSN_ORCPT_BYTES_MAX) return;
    struct slice type = slice_of(orcpt.data, (size_t)(semicolon - orcpt.data));
    if (!is_type(type)) return;
    if (!decode_orcpt(dsn, type, slice_from(orcpt, type.len + 1), &address)) return;
    struct dsn_folder f = field_begin(out, "Original-Recipient: ");
    dsn_fold(&f, type);
    dsn_fold_cstr(&f, "; ");
    dsn_fold(&f, buf_slice(&address));
    field_end(&f);
}

/* --- hosts --- */

/* The name in "name[ADDRESS]:PORT", or the address as a literal; empty: neither. */
static struct slice host_name(struct slice host, struct buf *literal)
{
    struct endpoint endpoint;
    if (endpoint_parse(host, &endpoint)) {
        endpoint_write_literal(&endpoint, literal);
        return buf_slice(literal);
    }
    const char *bracket = memchr(host.data, '[', host.len);
    if (bracket == NULL) return SLICE("");
    struct slice name = slice_of(host.data, (size_t)(bracket - host.data));
    return domain_is_valid(name) ? name : SLICE("");
}

static void write_remote_mta(struct slice host, struct buf *out)
{
    char bytes[ENDPOINT_TEXT_MAX + sizeof("[IPv6:]")], words[ESCAPED_BYTES_MAX];
    struct buf literal = {bytes, 0, sizeof(bytes), false};
    struct buf text = {words, 0, sizeof(words), false};
    if (host.len == 0) return;
    struct slice name = host_name(host, &literal);
    struct dsn_folder f = field_begin(out, "Remote-MTA:");
    if (name.len > 0) {
        dsn_fold_cstr(&f, " dns; ");
        dsn_fold(&f, name);
    } else {
        dsn_escape_words(cut(host, DSN_ADDRESS_BYTES_MAX), &text);
        dsn_fold_cstr(&f, " x-local; ");
        dsn_fold(&f, buf_slice(&text));
    }
    field_end(&f);
}

/* --- the header --- */

bool dsn_is_8bit(const struct dsn *dsn)
{
    return dsn->is_utf8 || dsn->is_original_8bit;
}

static const char *subject(const struct dsn *dsn)
{
    if ((dsn->kinds & (BIT(DSN_FAILED) | BIT(DSN_EXPIRED))) != 0)
        return "Undelivered mail: your message could not be delivered";
    if ((dsn->kinds & BIT(DSN_DELAYED)) != 0)
        return "Delayed mail: your message is still being tried";
    return "Delivery report: your message was delivered or passed on";
}

static void write_boundary(const struct dsn *dsn, const char *behind, struct buf *out)
{
    buf_append_cstr(out, "--");
    buf_append_slice(out, dsn->boundary);
    buf_append_cstr(out, behind);
    buf_append_cstr(out, CRLF);
}

static const char *encoding(bool is_8bit)
{
    return is_8bit ? "Content-Transfer-Encoding: 8bit" CRLF
                   : "Content-Transfer-Encoding: 7bit" CRLF;
}

static void write_header(const struct dsn *dsn, struct buf *out)
{
    buf_append_cstr(out, "From: \"Mail Delivery System\" <MAILER-DAEMON@");
    buf_append_slice(out, dsn->hostname);
    buf_append_cstr(out, ">" CRLF "To: <");
    buf_append_slice(out, dsn->sender);
    buf_append_cstr(out, ">" CRLF);
    write_field(out, "Subject:", slice_of_cstr(subject(dsn)));
    write_date(out, "Date:", dsn->now_ms);
    buf_append_cstr(out, "Message-ID: <");
    buf_append_slice(out, dsn->id);
    buf_append_char(out, '@');
    buf_append_slice(out, dsn->hostname);
    buf_append_cstr(out, ">" CRLF "Auto-Submitted: auto-replied" CRLF "MIME-Version: 1.0" CRLF
                         "Content-Type: multipart/report; report-type=delivery-status;" CRLF
                         "\tboundary=\"");
    buf_append_slice(out, dsn->boundary);
    buf_append_cstr(out, "\"" CRLF);
    buf_append_cstr(out, encoding(dsn_is_8bit(dsn)));
    buf_append_cstr(out, CRLF "This is a delivery status notification in MIME format." CRLF CRLF);
}

void dsn_write_head(const struct dsn *dsn, struct buf *out)
{
    struct date_cache cache = {.is_filled = false};
    ASSERT(dsn->boundary.len <= DSN_BOUNDARY_BYTES_MAX);
    ASSERT(dsn->sender.len > 0 && dsn->sender.len <= DSN_ADDRESS_BYTES_MAX);
    write_header(dsn, out);
    write_boundary(dsn, "", out);
    buf_append_cstr(out, "Content-Type: text/plain; charset=");
    buf_append_cstr(out, dsn->is_utf8 ? "utf-8" CRLF : "us-ascii" CRLF);
    buf_append_cstr(out, encoding(dsn->is_utf8));
    buf_append_cstr(out, CRLF "The mail server ");
    buf_append_slice(out, dsn->hostname);
    buf_append_cstr(out, " writes to you about the message" CRLF "that it took from you on ");
    buf_append_slice(out, date_text(&cache, dsn->arrival_ms));
    buf_append_cstr(out, " (id ");
    buf_append_slice(out, dsn->original_id);
    buf_append_cstr(out, ")." CRLF);
}

/* --- the part for people --- */

void dsn_write_text_section(const struct dsn *dsn, enum dsn_kind kind, struct buf *out)
{
    (void)dsn;
    ASSERT(kind < DSN_KIND_COUNT);
    buf_append_cstr(out, CRLF);
    buf_append_cstr(out, kinds[kind].text);
}

/* Who answered, or that it is our own reason. */
static void write_speaker(const struct dsn_recipient *recipient, struct dsn_folder *f)
{
    char bytes[ESCAPED_BYTES_MAX];
    struct buf host = {bytes, 0, sizeof(bytes), false};
    if (!has_code(recipient->reply)) {
        dsn_fold_cstr(f, "Reason:");
        return;
    }
    dsn_escape_words(cut(recipient->host, DSN_ADDRESS_BYTES_MAX), &host);
    dsn_fold_cstr(f, host.len > 0 ? "The server " : "The server");
    dsn_fold(f, buf_slice(&host));
    dsn_fold_cstr(f, " said:");
}

void dsn_write_text_recipient(const struct dsn *dsn, const struct dsn_recipient *recipient,
                              struct buf *out)
{
    char bytes[ESCAPED_BYTES_MAX];
    struct buf words = {bytes, 0, sizeof(bytes), false};
    struct date_cache cache = {.is_filled = false};
    struct dsn_folder f = {out, 0, "     "};
    buf_append_cstr(out, CRLF);
    dsn_fold_cstr(&f, "  ");
    write_plain(dsn, recipient->address, &f);
    dsn_escape_words(cut(recipient->reply, DSN_REPLY_BYTES_MAX), &words);
    if (words.len > 0) {
        dsn_fold_line(&f);
        write_speaker(recipient, &f);
        dsn_fold_line(&f);
        dsn_fold(&f, buf_slice(&words));
    }
    if (recipient->kind == DSN_DELAYED && recipient->retried_until_ms > 0) {
        dsn_fold_line(&f);
        dsn_fold_cstr(&f, "It is tried until ");
        dsn_fold(&f, date_text(&cache, recipient->retried_until_ms));
        dsn_fold_cstr(&f, ".");
    }
    buf_append_cstr(out, CRLF);
}

void dsn_write_text_more(uint32_t count, struct buf *out)
{
    buf_append_format(out, CRLF "  ... and %u more; the attached report names them all." CRLF,
                      (unsigned)count);
}

/* --- the part for programs --- */

void dsn_write_status_head(const struct dsn *dsn, struct buf *out)
{
    char bytes[DSN_ENVID_BYTES_MAX];
    struct buf envid = {bytes, 0, sizeof(bytes), false};
    buf_append_cstr(out, CRLF);
    write_boundary(dsn, "", out);
    buf_append_cstr(out, "Content-Type: ");
    buf_append_cstr(out, dsn->is_utf8 ? "message/global-delivery-status" CRLF
                                      : "message/delivery-status" CRLF);
    buf_append_cstr(out, encoding(dsn->is_utf8));
    buf_append_cstr(out, CRLF);
    bool is_envid = dsn->envid.len > 0 && xtext_is_printable(dsn->envid);
    if (is_envid && xtext_decode(dsn->envid, &envid))
        write_field(out, "Original-Envelope-Id:", buf_slice(&envid));
    buf_append_cstr(out, "Reporting-MTA: dns; ");
    buf_append_slice(out, dsn->hostname);
    buf_append_cstr(out, CRLF "X-Postern-Queue-Id: ");
    buf_append_slice(out, dsn->original_id);
    buf_append_cstr(out, CRLF);
    write_date(out, "Arrival-Date:", dsn->arrival_ms);
}

static void write_diagnostic(struct slice reply, struct buf *out)
{
    char bytes[ESCAPED_BYTES_MAX];
    struct buf words = {bytes, 0, sizeof(bytes), false};
    dsn_escape_words(cut(reply, DSN_REPLY_BYTES_MAX), &words);
    if (words.len == 0) return;
    struct dsn_folder f = field_begin(out, "Diagnostic-Code:");
    dsn_fold_cstr(&f, has_code(reply) ? " smtp; " : " x-postern; ");
    dsn_fold(&f, buf_slice(&words));
    field_end(&f);
}

void dsn_write_status_recipient(const struct dsn *dsn, const struct dsn_recipient *recipient,
                                struct buf *out)
{
    ASSERT(recipient->kind < DSN_KIND_COUNT);
    char bytes[ESCAPED_BYTES_MAX + sizeof("rfc822; ")];
    struct buf value = {bytes, 0, sizeof(bytes), false};
    buf_append_cstr(out, CRLF);
    write_original_recipient(dsn, recipient->orcpt, out);
    write_typed(dsn, recipient->address, &value);
    write_field(out, "Final-Recipient:", buf_slice(&value));
    write_field(out, "Action:", slice_of_cstr(kinds[recipient->kind].action));
    buf_reset(&value);
    dsn_write_status(recipient, &value);
    write_field(out, "Status:", buf_slice(&value));
    write_remote_mta(recipient->host, out);
    write_diagnostic(recipient->reply, out);
    if (recipient->attempted_ms > 0) write_date(out, "Last-Attempt-Date:", recipient->attempted_ms);
    if (recipient->kind == DSN_DELAYED && recipient->retried_until_ms > 0)
        write_date(out, "Will-Retry-Until:", recipient->retried_until_ms);
}

/* --- the original --- */

void dsn_write_original_head(const struct dsn *dsn, struct buf *out)
{
    static const char *const types[2][2] = {
        [DSN_ORIGINAL_HEADER] = {"text/rfc822-headers", "message/global-headers"},
        [DSN_ORIGINAL_MESSAGE] = {"message/rfc822", "message/global"},
    };
    buf_append_cstr(out, CRLF);
    write_boundary(dsn, "", out);
    buf_append_cstr(out, "Content-Type: ");
    buf_append_cstr(out, types[dsn->original][dsn->is_utf8]);
    buf_append_cstr(out, CRLF);
    buf_append_cstr(out, encoding(dsn->is_original_8bit));
    buf_append_cstr(out, CRLF);
}

void dsn_write_end(const struct dsn *dsn, struct buf *out)
{
    buf_append_cstr(out, CRLF);
    write_boundary(dsn, "--", out);
}
