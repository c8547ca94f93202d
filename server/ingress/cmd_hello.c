/* cmd_hello.c - EHLO and HELO (RFC 5321 4.1.1.1). Either resets a transaction; one that is refused
 * leaves everything as it was (hostile.md C11, C12). */
#include "server/ingress/session.h"

#include <stdlib.h>

static void write_capabilities(struct session *s, struct buf *out)
{
    buf_append_cstr(out, "250-");
    buf_append_cstr(out, s->ingress->options.config->node.hostname);
    buf_append_cstr(out,
                    "\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE ");
    buf_append_u64(out, session_config(s)->limits.message_size);
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
