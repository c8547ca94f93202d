/* bounce_text.c - walks over the recipients: for people by kind, then for programs in order. */
#include "server/delivery/bounce_text.h"

#include "ring/base/map.h"
#include "server/smtp/utf8.h"

enum stage {
    STAGE_HEAD,
    STAGE_SECTION,
    STAGE_TEXT_RECIPIENT,
    STAGE_MORE,
    STAGE_STATUS_HEAD,
    STAGE_STATUS_RECIPIENT,
    STAGE_ORIGINAL_HEAD,
    STAGE_ORIGINAL,
    STAGE_END,
    STAGE_OVER,
};

_Static_assert(REPORT_FAILED - 1 == (int)DSN_FAILED && REPORT_EXPIRED - 1 == (int)DSN_EXPIRED &&
                   REPORT_DELAYED - 1 == (int)DSN_DELAYED &&
                   REPORT_DELIVERED - 1 == (int)DSN_DELIVERED &&
                   REPORT_RELAYED - 1 == (int)DSN_RELAYED,
               "kinds are reports without the first");

static const struct envelope *envelope_of(const struct bounce_text *text)
{
    return &text->message->envelope;
}

static unsigned kinds_of(const struct envelope *envelope)
{
    unsigned kinds = 0;
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        enum recipient_report report = envelope->recipients[i].report;
        if (report != REPORT_NONE) kinds |= BIT(report - 1);
    }
    return kinds;
}

/* The whole message only with a failure (RFC 3461 4.3), as text, while it is short; never one that
 * was to be kept from other eyes (RFC 8689 5). */
static enum dsn_original original_of(const struct message *message, const struct config *config,
                                     unsigned kinds)
{
    const struct envelope *envelope = &message->envelope;
    bool has_failed = (kinds & (BIT(DSN_FAILED) | BIT(DSN_EXPIRED))) != 0;
    bool is_whole = has_failed && envelope->ret != DSN_RETURN_HEADERS && !envelope->is_binary &&
                    !envelope->requires_tls &&
                    message->body_bytes <= config->delivery.bounces.message_bytes_max;
    return is_whole ? DSN_ORIGINAL_MESSAGE : DSN_ORIGINAL_HEADER;
}

/* The hash has a secret key, so that nobody outside knows it before it is seen. */
static void write_boundary(const char id[MESSAGE_ID_TEXT], struct buf *out)
{
    buf_append_cstr(out, "=_");
    buf_append(out, id, MESSAGE_ID_TEXT);
    buf_append_format(out, "_%016llx",
                      (unsigned long long)hash_bytes(slice_of(id, MESSAGE_ID_TEXT)));
    ASSERT(!out->is_short);
}

void bounce_text_init(struct bounce_text *text, const struct message *message,
                      const struct config *config, uint64_t id, uint64_t now_ms)
{
    const struct envelope *envelope = &message->envelope;
    unsigned kinds = kinds_of(envelope);
    ASSERT(kinds != 0);
    *text = (struct bounce_text){.message = message, .stage = STAGE_HEAD};
    message_id_write(id, text->id);
    message_id_write(message->id, text->original_id);
    struct buf boundary = {text->boundary, 0, sizeof(text->boundary), false};
    write_boundary(text->id, &boundary);
    struct buf hostname = {text->hostname, 0, sizeof(text->hostname), false};
    buf_append_cstr(&hostname, config->node.hostname);
    text->retried_until_ms = envelope->received_ms + config->delivery.retry.expire_ms;
    enum dsn_original original = original_of(message, config, kinds);
    bool is_whole = original == DSN_ORIGINAL_MESSAGE;
    text->dsn = (struct dsn){
        .hostname = buf_slice(&hostname),
        .id = slice_of(text->id, sizeof(text->id)),
        .boundary = buf_slice(&boundary),
        .sender = envelope->sender,
        .original_id = slice_of(text->original_id, sizeof(text->original_id)),
        .envid = envelope->envid,
        .now_ms = now_ms,
        .arrival_ms = envelope->received_ms,
        .kinds = kinds,
        .original = original,
        .is_original_8bit = is_whole ? envelope->is_8bit : envelope->has_utf8_header,
        /* A sender that is ASCII may be where only ASCII is read: it gets UTF-8 when its own
         * header, which is returned, has it. */
        .is_utf8 =
            envelope->is_utf8 && (utf8_is_needed(envelope->sender) || envelope->has_utf8_header),
    };
}

bool bounce_text_is_over(const struct bounce_text *text)
{
    return text->stage == STAGE_OVER;
}

bool bounce_text_is_original(const struct bounce_text *text)
{
    return text->stage == STAGE_ORIGINAL;
}

/* --- a piece --- */

/* What the remote said last, without our words before it. */
static struct slice reply_of(const struct recipient *recipient)
{
    static const struct slice ours = SLICE("4.4.7 expired; last: ");
    struct slice reply = recipient->reply;
    bool has_ours = recipient->report == REPORT_EXPIRED && slice_starts_with_nocase(reply, ours);
    return has_ours ? slice_from(reply, ours.len) : reply;
}

static struct dsn_recipient describe(const struct bounce_text *text)
{
    const struct recipient *recipient = &envelope_of(text)->recipients[text->recipient];
    ASSERT(recipient->report != REPORT_NONE);
    return (struct dsn_recipient){
        .kind = (enum dsn_kind)(recipient->report - 1),
        .address = recipient->address,
        .orcpt = recipient->orcpt,
        .reply = reply_of(recipient),
        .host = recipient->host,
        /* A host is known only of an attempt that has just ended. */
        .attempted_ms = recipient->host.len > 0 ? text->dsn.now_ms : 0,
        .retried_until_ms = text->retried_until_ms,
    };
}

/* Recipients of this kind from `from` on. */
static uint32_t count_kind(const struct bounce_text *text, uint32_t from)
{
    const struct envelope *envelope = envelope_of(text);
    uint32_t count = 0;
    for (uint32_t i = from; i < envelope->recipient_count; i++)
        count += (unsigned)envelope->recipients[i].report == text->kind + 1u;
    return count;
}

void bounce_text_write(const struct bounce_text *text, struct buf *out)
{
    struct dsn_recipient recipient;
    switch ((enum stage)text->stage) {
    case STAGE_HEAD:
        dsn_write_head(&text->dsn, out);
        break;
    case STAGE_SECTION:
        dsn_write_text_section(&text->dsn, (enum dsn_kind)text->kind, out);
        break;
    case STAGE_TEXT_RECIPIENT:
        recipient = describe(text);
        dsn_write_text_recipient(&text->dsn, &recipient, out);
        break;
    case STAGE_MORE:
        dsn_write_text_more(count_kind(text, text->recipient), out);
        break;
    case STAGE_STATUS_HEAD:
        dsn_write_status_head(&text->dsn, out);
        break;
    case STAGE_STATUS_RECIPIENT:
        recipient = describe(text);
        dsn_write_status_recipient(&text->dsn, &recipient, out);
        break;
    case STAGE_ORIGINAL_HEAD:
        dsn_write_original_head(&text->dsn, out);
        break;
    case STAGE_END:
        dsn_write_end(&text->dsn, out);
        break;
    case STAGE_ORIGINAL:
    case STAGE_OVER:
        ASSERT(false);
    }
}

/* --- the next piece --- */

/* Moves to the first recipient from `from` on of the kind, or of any. False: there is none. */
static bool find_recipient(struct bounce_text *text, uint32_t from, bool is_any)
{
    const struct envelope *envelope = envelope_of(text);
    for (uint32_t i = from; i < envelope->recipient_count; i++) {
        enum recipient_report report = envelope->recipients[i].report;
        if (report == REPORT_NONE || (!is_any && (unsigned)report != text->kind + 1u)) continue;
        text->recipient = i;
        return true;
    }
    return false;
}

/* The section of the first kind from `kind` on. */
static void enter_section(struct bounce_text *text, unsigned kind)
{
    while (kind < DSN_KIND_COUNT && (text->dsn.kinds & BIT(kind)) == 0)
        kind++;
    text->kind = (uint8_t)kind;
    text->told = 0;
    text->stage = kind < DSN_KIND_COUNT ? STAGE_SECTION : STAGE_STATUS_HEAD;
}

static void next_text_recipient(struct bounce_text *text)
{
    uint32_t from = text->stage == STAGE_SECTION ? 0 : text->recipient + 1;
    if (!find_recipient(text, from, false)) {
        enter_section(text, text->kind + 1u);
    } else if (text->told == DSN_TEXT_RECIPIENTS_MAX) {
        text->stage = STAGE_MORE;
    } else {
        text->stage = STAGE_TEXT_RECIPIENT;
        text->told++;
    }
}

static void next_status_recipient(struct bounce_text *text)
{
    uint32_t from = text->stage == STAGE_STATUS_HEAD ? 0 : text->recipient + 1;
    bool is_there = find_recipient(text, from, true);
    text->stage = is_there ? STAGE_STATUS_RECIPIENT : STAGE_ORIGINAL_HEAD;
}

void bounce_text_next(struct bounce_text *text)
{
    switch ((enum stage)text->stage) {
    case STAGE_HEAD:
        enter_section(text, 0);
        break;
    case STAGE_SECTION:
    case STAGE_TEXT_RECIPIENT:
        next_text_recipient(text);
        break;
    case STAGE_MORE:
        enter_section(text, text->kind + 1u);
        break;
    case STAGE_STATUS_HEAD:
    case STAGE_STATUS_RECIPIENT:
        next_status_recipient(text);
        break;
    case STAGE_ORIGINAL_HEAD:
    case STAGE_ORIGINAL:
    case STAGE_END:
        text->stage++;
        break;
    case STAGE_OVER:
        ASSERT(false);
    }
}
