/* client_script.c - writes MAIL, RCPT and DATA (RFC 5321 3.3, RFC 1870, RFC 2920, RFC 6152). */
#include "server/delivery/client_script.h"

void client_offer_read(struct client_offer *offer, struct slice line)
{
    size_t word = 0;
    while (word < line.len && line.data[word] != ' ')
        word++;
    struct slice keyword = slice_of(line.data, word);
    struct slice args = slice_trim(slice_from(line, word));

    if (slice_eq_nocase(keyword, SLICE("PIPELINING"))) {
        offer->extensions |= OFFER_PIPELINING;
    } else if (slice_eq_nocase(keyword, SLICE("8BITMIME"))) {
        offer->extensions |= OFFER_8BITMIME;
    } else if (slice_eq_nocase(keyword, SLICE("SIZE"))) {
        offer->extensions |= OFFER_SIZE;
        uint64_t size_max = 0;
        /* A number that does not parse says nothing: then only the declaration is sent. */
        offer->size_max = slice_to_u64(args, UINT64_MAX, &size_max) ? size_max : 0;
    }
}

void client_script_init(struct client_script *script, const struct message *message,
                        const uint32_t *recipients, uint32_t recipient_count,
                        const struct client_offer *offer)
{
    ASSERT(recipient_count > 0);
    *script = (struct client_script){
        .envelope = &message->envelope,
        .body_bytes = message->body_bytes,
        .recipients = recipients,
        .recipient_count = recipient_count,
        .offer = *offer,
    };
}

static uint32_t command_count(const struct client_script *script)
{
    return script->recipient_count + 2;
}

enum script_command client_script_command(const struct client_script *script, uint32_t at,
                                          uint32_t *recipient_out)
{
    ASSERT(at < command_count(script));
    *recipient_out = 0;
    if (at == 0) return SCRIPT_MAIL;
    if (at > script->recipient_count) return SCRIPT_DATA;
    *recipient_out = at - 1;
    return SCRIPT_RCPT;
}

static void write_mail(const struct client_script *script, struct buf *out)
{
    buf_append_cstr(out, "MAIL FROM:<");
    buf_append_slice(out, script->envelope->sender);
    buf_append_char(out, '>');
    if ((script->offer.extensions & OFFER_SIZE) != 0) {
        buf_append_cstr(out, " SIZE=");
        buf_append_u64(out, script->body_bytes);
    }
    if (script->envelope->is_8bit && (script->offer.extensions & OFFER_8BITMIME) != 0) {
        buf_append_cstr(out, " BODY=8BITMIME");
    }
    buf_append_cstr(out, "\r\n");
}

/* Appends the command at `at` whole, or nothing. */
static bool write_command(const struct client_script *script, uint32_t at, struct buf *out)
{
    uint32_t recipient = 0;
    size_t len = out->len;
    switch (client_script_command(script, at, &recipient)) {
    case SCRIPT_MAIL:
        write_mail(script, out);
        break;
    case SCRIPT_RCPT:
        buf_append_cstr(out, "RCPT TO:<");
        buf_append_slice(out, script->envelope->recipients[script->recipients[recipient]].address);
        buf_append_cstr(out, ">\r\n");
        break;
    case SCRIPT_DATA:
        buf_append_cstr(out, "DATA\r\n");
        break;
    }
    if (!out->is_short) return true;
    out->len = len;
    out->is_short = false;
    return false;
}

/* DATA would be refused, or worse be accepted, once every recipient is known to be refused. */
static bool data_is_pointless(const struct client_script *script)
{
    return script->sent == command_count(script) - 1 && script->answered == script->sent &&
           script->accepted_count == 0;
}

void client_script_fill(struct client_script *script, struct buf *out)
{
    bool is_pipelining = (script->offer.extensions & OFFER_PIPELINING) != 0;
    while (script->sent < command_count(script)) {
        bool is_idle = script->sent == script->answered;
        if (!is_idle && !is_pipelining) break;
        if (data_is_pointless(script) || !write_command(script, script->sent, out)) break;
        script->sent++;
    }
    ASSERT(script->answered <= script->sent);
}

bool client_script_is_answered(const struct client_script *script)
{
    if (script->answered != script->sent) return false;
    return script->sent == command_count(script) || data_is_pointless(script);
}

bool client_script_waits_for_data(const struct client_script *script)
{
    return script->sent == command_count(script) && script->answered == script->sent - 1;
}

bool client_address_is_clean(struct slice address)
{
    for (size_t i = 0; i < address.len; i++) {
        unsigned char c = (unsigned char)address.data[i];
        if (c < 0x20 || c > 0x7e) return false;
    }
    return true;
}
