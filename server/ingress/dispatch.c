/* dispatch.c - from a line to the command that answers it, and the rules that hold for all of them.
 *
 * A command is run only when its reply surely fits into the output; what was pipelined behind one
 * that may not have anything behind it ends the session (RFC 2920 3.1). */
#include "server/ingress/session.h"

#define TLS_HANDSHAKE 0x16 /* the first byte of a ClientHello; no line begins with it */

/* The one place that maps commands to what runs them. */
static void run_command(struct session *s, const struct command *command)
{
    switch (command->verb) {
    case VERB_EHLO:
    case VERB_HELO:
        cmd_hello(s, command);
        return;
    case VERB_MAIL:
        cmd_mail(s, command);
        return;
    case VERB_RCPT:
        cmd_rcpt(s, command);
        return;
    case VERB_DATA:
        cmd_data(s, command);
        return;
    case VERB_BDAT:
        cmd_bdat(s, command);
        return;
    case VERB_STARTTLS:
        cmd_starttls(s, command);
        return;
    case VERB_AUTH:
        cmd_auth(s, command);
        return;
    case VERB_XCLIENT:
        cmd_xclient(s, command);
        return;
    case VERB_XFORWARD:
        cmd_xforward(s, command);
        return;
    default:
        cmd_other(s, command);
        return;
    }
}

static bool is_junk(enum verb verb)
{
    return verb != VERB_MAIL && verb != VERB_RCPT && verb != VERB_DATA && verb != VERB_BDAT &&
           verb != VERB_QUIT;
}

/* Commands that end a pipelined group (RFC 2920 3.1), and clients that may not group at all: more
 * input behind them was sent without waiting for our answer. */
static bool is_synchronized(const struct session *s, enum verb verb)
{
    static const uint32_t last_of_group = BIT(VERB_EHLO) | BIT(VERB_HELO) | BIT(VERB_DATA) |
                                          BIT(VERB_STARTTLS) | BIT(VERB_AUTH) | BIT(VERB_XCLIENT);
    if ((last_of_group & BIT(verb)) != 0) return false;
    /* What follows BDAT in its line's segment are the octets of the chunk. */
    return s->is_esmtp || s->helo == NULL || verb == VERB_QUIT || verb == VERB_BDAT;
}

/* A balancer's own check has no client behind it: it may look whether we live (RFC 5321 4.1.1). */
static bool is_for_probes(enum verb verb)
{
    static const uint32_t allowed = BIT(VERB_EHLO) | BIT(VERB_HELO) | BIT(VERB_NOOP) |
                                    BIT(VERB_RSET) | BIT(VERB_HELP) | BIT(VERB_QUIT);
    return (allowed & BIT(verb)) != 0;
}

static void command_run(struct session *s, struct slice line, bool has_more)
{
    struct command command = command_parse(line);
    s->reply_to = (uint8_t)command.verb;
    if (has_more && !is_synchronized(s, command.verb)) {
        session_end(s, REPLY_NOT_SYNCHRONIZED);
        return;
    }
    bool goes_on = command.verb == VERB_BDAT && session_has_open_chunks(s);
    if (s->ingress->is_draining && command.verb != VERB_QUIT && !goes_on) {
        session_end(s, REPLY_SHUTTING_DOWN);
        return;
    }
    if (is_junk(command.verb)) s->junk++;
    if (s->junk > session_config(s)->limits.junk_commands && command.verb != VERB_QUIT) {
        session_end(s, REPLY_TOO_MANY_COMMANDS);
        return;
    }
    if (s->is_probe && command.verb == VERB_BDAT) { /* its octets would be read as commands */
        session_end(s, REPLY_NO_DUTY);
        return;
    }
    if (s->is_probe && !is_for_probes(command.verb)) {
        session_reply(s, REPLY_NO_DUTY);
        return;
    }
    run_command(s, &command);
}

size_t command_input(struct session *s, struct slice in)
{
    if (conn_output_room(&s->conn) < SESSION_OUTPUT_ROOM_MIN) return 0; /* on_sent() goes on */
    if (in.data[0] == TLS_HANDSHAKE) {
        s->reply_to = VERB_UNKNOWN;
        session_end(s, REPLY_NOT_SMTP);
        return in.len;
    }
    struct slice line;
    size_t taken = 0;
    enum line_status status = line_read(&s->line, in, &line, &taken);
    s->reply_to = VERB_UNKNOWN;
    if (status != LINE_MORE && status != LINE_SKIPPED)
        s->started_ns = s->input_ns; /* the next command has its whole time */
    switch (status) {
    case LINE_MORE:
        break;
    case LINE_OK:
        command_run(s, line, taken < in.len);
        break;
    case LINE_BAD:
        session_reply(s, REPLY_BAD_LINE);
        break;
    case LINE_NUL:
        session_reply(s, REPLY_BAD_SYNTAX);
        break;
    case LINE_TOO_LONG:
        session_reply(s, REPLY_LINE_TOO_LONG);
        break;
    case LINE_SKIPPED:
        if (s->line.skipped >= COMMAND_ENDLESS_BYTES_MAX) session_end(s, REPLY_LINE_ENDLESS);
        break;
    }
    return taken;
}
