/* cmd_other.c - the commands that touch no message: RSET, NOOP, VRFY, EXPN, HELP, QUIT (RFC 5321
 * 4.1.1.5 to 4.1.1.10), those not offered, and what is no SMTP at all. */
#include "server/ingress/session.h"

static void cmd_rset(struct session *s, const struct command *command)
{
    if (command->args.len > 0) {
        session_reply(s, REPLY_NO_ARGUMENT);
        return;
    }
    session_drop_transaction(s);
    session_reply(s, REPLY_OK);
}

static void cmd_quit(struct session *s, const struct command *command)
{
    if (command->args.len > 0) {
        session_reply(s, REPLY_NO_ARGUMENT);
        return;
    }
    session_reply(s, REPLY_BYE);
    session_drop_transaction(s);
    session_go(s, SESSION_CLOSING);
    session_arm(s, SESSION_CLOSING_MS);
    conn_finish(&s->conn);
}

void cmd_other(struct session *s, const struct command *command)
{
    switch (command->verb) {
    case VERB_RSET:
        cmd_rset(s, command);
        return;
    case VERB_QUIT:
        cmd_quit(s, command);
        return;
    case VERB_NOOP:
        session_reply(s, REPLY_OK);
        return;
    case VERB_VRFY:
        session_reply(s, command->args.len > 0 ? REPLY_VRFY : REPLY_BAD_ARGUMENT);
        return;
    case VERB_HELP:
        session_reply(s, REPLY_HELP);
        return;
    case VERB_EXPN:
        session_reply(s, REPLY_NOT_IMPLEMENTED);
        return;
    case VERB_HTTP:
    case VERB_HEADER:
        session_end(s, REPLY_NOT_SMTP);
        return;
    default:
        session_reply(s, REPLY_UNKNOWN_COMMAND);
        return;
    }
}
