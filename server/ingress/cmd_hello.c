/* cmd_hello.c - EHLO and HELO (RFC 5321 4.1.1.1). Either resets a transaction; one that is refused
 * leaves everything as it was (hostile.md C11, C12). */
#include "server/ingress/session.h"

#include <stdlib.h>

#define LIMIT_VALUE_MAX 999999 /* six digits at most: RFC 9422 section 3 */

bool session_has_starttls(const struct session *s)
{
    return session_config(s)->tls.mode == LISTENER_TLS_STARTTLS && !conn_is_secured(&s->conn) &&
           s->ingress->options.security[s->listener_index].tls != NULL;
}

static void write_limit(struct buf *out, const char *name, uint64_t value)
{
    if (value == 0 || value > LIMIT_VALUE_MAX) return;
    buf_append_char(out, ' ');
    buf_append_cstr(out, name);
    buf_append_u64(out, value);
}

/* RFC 9422: what the limits of the listener say, those that are none left out. */
static void write_limits(const struct config_listener *config, struct buf *out)
{
    buf_append_cstr(out, "250-LIMITS");
    write_limit(out, "MAILMAX=", config->limits.messages);
    write_limit(out, "RCPTMAX=", config->limits.recipients);
    write_limit(out, "RCPTDOMAINMAX=", config->limits.recipient_domains);
    buf_append_cstr(out, "\r\n");
}

/* Nothing is offered that would be answered with 500 or 502. */
static void write_capabilities(struct session *s, struct buf *out)
{
    const struct config_listener *config = session_config(s);
    buf_append_cstr(out, "250-");
    buf_append_cstr(out, s->ingress->options.config->node.hostname);
    buf_append_cstr(out, "\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
                         "250-CHUNKING\r\n250-BINARYMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n");
    if (session_has_starttls(s)) buf_append_cstr(out, "250-STARTTLS\r\n");
    if (conn_is_secured(&s->conn)) buf_append_cstr(out, "250-REQUIRETLS\r\n");
    auth_write_offer(s, out);
    xclient_write_offer(s, out);
    write_limits(config, out);
    buf_append_cstr(out, "250 SIZE ");
    buf_append_u64(out, config->limits.message_size);
    buf_append_cstr(out, "\r\n");
}

void cmd_hello(struct session *s, const struct command *command)
{
    if (!helo_is_valid(command->args)) {
        session_reply(s, REPLY_BAD_HELO);
        return;
    }
    session_drop_transaction(s);
    free(s->helo);
    s->helo = slice_to_cstr(command->args);
    s->is_esmtp = command->verb == VERB_EHLO;

    char text[SESSION_OUTPUT_ROOM_MIN];
    struct buf out = {text, 0, sizeof(text), false};
    if (s->is_esmtp) {
        write_capabilities(s, &out);
    } else {
        buf_append_cstr(&out, "250 ");
        buf_append_cstr(&out, s->ingress->options.config->node.hostname);
        buf_append_cstr(&out, "\r\n");
    }
    ASSERT(!out.is_short); /* the host name is at most DOMAIN_BYTES_MAX */
    session_reply_text(s, 250, buf_slice(&out));
}
