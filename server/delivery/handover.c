/* handover.c - the plan for a message is a few comparisons unless it needs something special. */
#include "server/delivery/handover.h"

#include "server/smtp/address.h"
#include "server/smtp/idna.h"
#include "server/smtp/utf8.h"

/* The last @ divides: one before it can only stand in a quoted local part. */
static size_t domain_at(struct slice address)
{
    const char *at = memrchr(address.data, '@', address.len);
    return at == NULL ? address.len : (size_t)(at + 1 - address.data);
}

/* Appends the address with its domain as A-labels. False when UTF-8 would be left. */
static bool write_in_ascii(struct slice address, struct buf *out)
{
    size_t at = domain_at(address);
    struct slice local = slice_of(address.data, at);
    if (utf8_is_needed(local)) return false;
    return buf_append_slice(out, local) && idna_to_ascii(slice_from(address, at), out);
}

static bool can_be_ascii(struct slice address)
{
    char bytes[LOCAL_PART_BYTES_MAX + 1 + DOMAIN_BYTES_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    return !utf8_is_needed(address) || write_in_ascii(address, &out);
}

bool handover_takes_address(const struct handover *handover, struct slice address)
{
    return !handover->is_ascii_demanded || can_be_ascii(address);
}

void handover_write_address(const struct handover *handover, struct slice address, struct buf *out)
{
    if (!handover->is_ascii_demanded || !utf8_is_needed(address)) {
        buf_append_slice(out, address);
    } else if (!write_in_ascii(address, out)) {
        out->is_short = true; /* it was asked for, so there is no room */
    }
}

static bool plan_body(const struct envelope *envelope, uint32_t extensions, struct handover *out,
                      struct buf *why)
{
    bool has_chunking = (extensions & OFFER_CHUNKING) != 0;
    out->form = envelope->form == BODY_DATA ? HANDOVER_DATA
                : has_chunking              ? HANDOVER_CHUNK
                                            : HANDOVER_STUFF;
    out->body = HANDOVER_7BIT;
    if (envelope->is_binary) {
        out->body = HANDOVER_BINARY;
        if (out->form == HANDOVER_CHUNK && (extensions & OFFER_BINARYMIME) != 0) return true;
        buf_append_cstr(why, "5.6.3 the message is binary, and the next hop takes only text (it "
                             "offers no CHUNKING with BINARYMIME)");
        return false;
    }
    if (!envelope->is_8bit) return true;
    out->body = HANDOVER_8BIT;
    if ((extensions & OFFER_8BITMIME) != 0) return true;
    buf_append_cstr(why, "5.6.3 the message holds 8-bit bytes, and the next hop takes only 7-bit "
                         "text (it offers no 8BITMIME)");
    return false;
}

static bool plan_utf8(const struct envelope *envelope, uint32_t extensions, struct handover *out,
                      struct buf *why)
{
    out->is_utf8 = envelope->is_utf8 && (extensions & OFFER_SMTPUTF8) != 0;
    out->is_ascii_demanded = envelope->is_utf8 && !out->is_utf8;
    if (!out->is_ascii_demanded) return true;
    if (envelope->has_utf8_header) {
        buf_append_cstr(why, "5.6.9 the message has UTF-8 in its header, and the next hop takes "
                             "none (it offers no SMTPUTF8)");
        return false;
    }
    if (!can_be_ascii(envelope->sender)) {
        buf_append_cstr(why, "5.6.7 the sender's address has UTF-8 in it, and the next hop takes "
                             "none (it offers no SMTPUTF8)");
        return false;
    }
    return true;
}

bool handover_plan(const struct message *message, const struct client_offer *offer,
                   struct handover *out, struct buf *why)
{
    if (offer->size_max > 0 && message->body_bytes > offer->size_max) {
        buf_append_format(why, "5.3.4 the next hop takes no more than %llu bytes",
                          (unsigned long long)offer->size_max);
        return false;
    }
    if (message->envelope.requires_tls && (offer->extensions & OFFER_REQUIRETLS) == 0) {
        buf_append_cstr(why, "5.7.30 the sender demands TLS all the way (REQUIRETLS), and the next "
                             "hop does not promise it under a certificate that was verified");
        return false;
    }
    return plan_body(&message->envelope, offer->extensions, out, why) &&
           plan_utf8(&message->envelope, offer->extensions, out, why);
}
