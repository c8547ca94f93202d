/* client_script.c - writes MAIL, RCPT and DATA (RFC 5321 3.3, RFC 1870, RFC 2920, RFC 6152, RFC
 * 3030, RFC 6531, RFC 3461). */
#include "server/delivery/client_script.h"

#include "server/delivery/dsn_params.h"
#include "server/smtp/utf8.h"

void client_script_init(struct client_script *script, const struct message *message,
                        const uint32_t *recipients, uint32_t recipient_count,
                        const struct client_offer *offer, const struct handover *handover)
{
    ASSERT(recipient_count > 0);
    *script = (struct client_script){
        .envelope = &message->envelope,
        .body_bytes = message->body_bytes,
        .recipients = recipients,
        .recipient_count = recipient_count,
        .extensions = offer->extensions,
        .handover = *handover,
    };
}

static uint32_t command_count(const struct client_script *script)
{
    return script->recipient_count + (script->handover.form == HANDOVER_CHUNK ? 1 : 2);
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
    static const char *const body[] = {
        [HANDOVER_7BIT] = "",
        [HANDOVER_8BIT] = " BODY=8BITMIME",
        [HANDOVER_BINARY] = " BODY=BINARYMIME",
    };
    buf_append_cstr(out, "MAIL FROM:<");
    handover_write_address(&script->handover, script->envelope->sender, out);
    buf_append_char(out, '>');
    if ((script->extensions & OFFER_SIZE) != 0) {
        buf_append_cstr(out, " SIZE=");
        buf_append_u64(out, script->body_bytes);
    }
    buf_append_cstr(out, body[script->handover.body]);
    if (script->handover.is_utf8) buf_append_cstr(out, " SMTPUTF8");
    if (script->envelope->requires_tls) buf_append_cstr(out, " REQUIRETLS");
    if ((script->extensions & OFFER_DSN) != 0) dsn_params_write_mail(script->envelope, out);
    buf_append_cstr(out, "\r\n");
}

static void write_rcpt(const struct client_script *script, const struct recipient *recipient,
                       struct buf *out)
{
    buf_append_cstr(out, "RCPT TO:<");
    handover_write_address(&script->handover, recipient->address, out);
    buf_append_char(out, '>');
    if ((script->extensions & OFFER_DSN) != 0) {
        dsn_params_write_rcpt(recipient, script->handover.is_utf8, out);
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
        write_rcpt(script, &script->envelope->recipients[script->recipients[recipient]], out);
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
    return script->sent == script->recipient_count + 1 && script->answered == script->sent &&
           script->accepted_count == 0;
}

void client_script_fill(struct client_script *script, struct buf *out)
{
    bool is_pipelining = (script->extensions & OFFER_PIPELINING) != 0;
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
    return script->handover.form != HANDOVER_CHUNK && script->sent == command_count(script) &&
           script->answered == script->sent - 1;
}

bool client_script_waits_for_chunk(const struct client_script *script)
{
    return script->handover.form == HANDOVER_CHUNK && script->answered == command_count(script) &&
           script->accepted_count > 0;
}

bool client_address_is_clean(struct slice address, bool is_utf8)
{
    for (size_t i = 0; i < address.len; i++) {
        unsigned char c = (unsigned char)address.data[i];
        if (c < 0x20 || c == 0x7f || (c > 0x7f && !is_utf8)) return false;
    }
    return !is_utf8 || utf8_is_valid(address);
}
