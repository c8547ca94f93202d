/* reply.c - the table of fixed replies: code, RFC 3463 status and text in one place.
 *
 * Lines are constants with their CRLF, so that a reply costs one copy. The greeting, the answer to
 * EHLO and the 250 with the queue id hold names and numbers and are built by the session. */
#include "server/smtp/reply.h"

#define LINE_OF(code, text) #code " " text "\r\n"
#define REPLY(label, number, text)                                                                 \
    {                                                                                              \
        .line = {LINE_OF(number, text), sizeof(LINE_OF(number, text)) - 1}, .name = (label),       \
        .code = (number)                                                                           \
    }

static const struct {
    struct slice line;
    const char *name;
    unsigned code;
} replies[REPLY_COUNT] = {
    [REPLY_NONE] = {{"", 0}, "none", 0},
    [REPLY_OK] = REPLY("ok", 250, "2.0.0 Ok"),
    [REPLY_SENDER_OK] = REPLY("sender_ok", 250, "2.1.0 Sender ok"),
    [REPLY_RECIPIENT_OK] = REPLY("recipient_ok", 250, "2.1.5 Recipient ok"),
    [REPLY_START_DATA] =
        REPLY("start_data", 354, "Send the message, end it with <CR><LF>.<CR><LF>"),
    [REPLY_HELP] = REPLY(
        "help", 214,
        "2.0.0 Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH"),
    [REPLY_VRFY] =
        REPLY("vrfy", 252, "2.5.0 Addresses are not verified here, send the message to find out"),
    [REPLY_BYE] = REPLY("bye", 221, "2.0.0 Bye"),
    [REPLY_UNKNOWN_COMMAND] =
        REPLY("unknown_command", 500, "5.5.2 Command not recognized, HELP lists them"),
    [REPLY_BAD_LINE] =
        REPLY("bad_line", 500,
              "5.5.2 Malformed line ignored: end each command with <CR><LF>, no other CR or LF"),
    [REPLY_LINE_TOO_LONG] = REPLY("line_too_long", 500, "5.5.2 Command line too long, ignored"),
    [REPLY_BAD_SYNTAX] = REPLY("bad_syntax", 501, "5.5.2 Syntax error in the command"),
    [REPLY_NO_ARGUMENT] = REPLY("no_argument", 501, "5.5.4 This command takes no argument"),
    [REPLY_BAD_ARGUMENT] =
        REPLY("bad_argument", 501, "5.5.4 An argument is malformed, repeated or has a bad value"),
    [REPLY_BAD_HELO] = REPLY("bad_helo", 501,
                             "5.5.2 Give your host name or address literal, as in EHLO a.example"),
    [REPLY_BAD_SENDER] =
        REPLY("bad_sender", 501, "5.1.7 Bad sender address, use MAIL FROM:<user@domain>"),
    [REPLY_BAD_RECIPIENT] =
        REPLY("bad_recipient", 501, "5.1.3 Bad recipient address, use RCPT TO:<user@domain>"),
    [REPLY_NOT_IMPLEMENTED] =
        REPLY("not_implemented", 502, "5.5.1 Command is not implemented here"),
    [REPLY_NEED_HELO] = REPLY("need_helo", 503, "5.5.1 Send EHLO or HELO first"),
    [REPLY_NESTED_MAIL] =
        REPLY("nested_mail", 503, "5.5.1 A sender was given already, RSET starts again"),
    [REPLY_NEED_MAIL] = REPLY("need_mail", 503, "5.5.1 Send MAIL FROM first"),
    [REPLY_NEED_RECIPIENT] = REPLY("need_recipient", 503, "5.5.1 Send RCPT TO first"),
    [REPLY_NO_VALID_RECIPIENT] =
        REPLY("no_valid_recipient", 554, "5.5.1 No valid recipients, every RCPT was refused"),
    [REPLY_UNKNOWN_PARAMETER] =
        REPLY("unknown_parameter", 555, "5.5.4 Parameter was not offered in the EHLO reply"),
    [REPLY_NOT_ASCII] =
        REPLY("not_ascii", 553, "5.6.7 Address is not ASCII, send MAIL FROM with SMTPUTF8"),
    [REPLY_RELAY_DENIED] =
        REPLY("relay_denied", 550, "5.7.1 No mail is accepted for this recipient here"),
    [REPLY_TOO_MANY_RECIPIENTS] =
        REPLY("too_many_recipients", 452,
              "4.5.3 Too many recipients, send the message to the rest separately"),
    [REPLY_TOO_BIG] = REPLY("too_big", 552, "5.3.4 Message is larger than the limit for its size"),
    [REPLY_STORAGE_FULL] =
        REPLY("storage_full", 452, "4.3.1 Storage is full at the moment, try again later"),
    [REPLY_STORE_FAILED] = REPLY(
        "store_failed", 451, "4.3.0 The message was not stored for a local error, try again later"),
    [REPLY_BARE_NEWLINE] =
        REPLY("bare_newline", 550,
              "5.6.0 Message has a CR or LF that stands alone, end each line with <CR><LF>"),
    [REPLY_NUL_IN_MESSAGE] =
        REPLY("nul_in_message", 550, "5.6.0 Message has a NUL byte, encode binary content"),
    [REPLY_TOO_MANY_HOPS] =
        REPLY("too_many_hops", 554, "5.4.6 Too many Received fields, this looks like a mail loop"),
    [REPLY_HEADER_TOO_BIG] = REPLY("header_too_big", 552, "5.3.4 Message header is too large"),
    [REPLY_TOO_MANY_ERRORS] = REPLY("too_many_errors", 421, "4.7.0 Too many errors, closing"),
    [REPLY_TOO_MANY_COMMANDS] =
        REPLY("too_many_commands", 421, "4.7.0 Too many commands without a message, closing"),
    [REPLY_TOO_MANY_MESSAGES] =
        REPLY("too_many_messages", 421, "4.7.0 Enough messages in this connection, open another"),
    [REPLY_LINE_ENDLESS] = REPLY("line_endless", 421, "4.5.2 Command line does not end, closing"),
    [REPLY_TIMEOUT] = REPLY("timeout", 421, "4.4.2 Waited too long for you, closing"),
    [REPLY_TOO_SLOW] =
        REPLY("too_slow", 421, "4.4.2 Message arrives too slowly, closing, try again later"),
    [REPLY_TOO_MANY_CONNECTIONS] =
        REPLY("too_many_connections", 421, "4.3.2 Too many connections, try again later"),
    [REPLY_TOO_MANY_FROM_CLIENT] =
        REPLY("too_many_from_client", 421,
              "4.7.0 Too many connections from your address, close some and try again"),
    [REPLY_NO_RESOURCES] =
        REPLY("no_resources", 421, "4.3.0 Out of resources at the moment, try again later"),
    [REPLY_SHUTTING_DOWN] =
        REPLY("shutting_down", 421, "4.3.2 Service is shutting down, try again later"),
    [REPLY_NOT_SMTP] = REPLY("not_smtp", 554, "5.5.0 This is an SMTP server, closing"),
    [REPLY_NOT_SYNCHRONIZED] =
        REPLY("not_synchronized", 554, "5.5.0 You sent before it was your turn, closing"),
    [REPLY_TLS_READY] = REPLY("tls_ready", 220, "2.0.0 Begin TLS now"),
    [REPLY_TLS_ACTIVE] = REPLY("tls_active", 554, "5.5.1 TLS is active already"),
    [REPLY_TLS_BUSY] =
        REPLY("tls_busy", 454, "4.7.0 Too many TLS handshakes at the moment, try again later"),
    [REPLY_TLS_IN_TRANSACTION] = REPLY("tls_in_transaction", 503,
                                       "5.5.1 STARTTLS is not possible after MAIL, RSET ends that"),
    [REPLY_AUTH_OK] = REPLY("auth_ok", 235, "2.7.0 Authenticated"),
    [REPLY_AUTH_FAILED] = REPLY("auth_failed", 535, "5.7.8 User name or password is wrong"),
    [REPLY_AUTH_CANCELED] = REPLY("auth_canceled", 501, "5.7.0 Authentication canceled"),
    [REPLY_AUTH_BAD_DATA] =
        REPLY("auth_bad_data", 501, "5.5.2 Response is no base64 or not what was asked for"),
    [REPLY_AUTH_TOO_LONG] = REPLY("auth_too_long", 500, "5.5.6 Response is too long"),
    [REPLY_AUTH_TEMPORARY] =
        REPLY("auth_temporary", 454, "4.7.0 Authentication is not possible now, try again later"),
    [REPLY_AUTH_THROTTLED] =
        REPLY("auth_throttled", 421, "4.7.0 Too many failed authentications, try again later"),
    [REPLY_AUTH_DONE] = REPLY("auth_done", 503, "5.5.1 AUTH is possible once, and not after MAIL"),
    [REPLY_AUTH_NEEDS_TLS] =
        REPLY("auth_needs_tls", 530, "5.7.0 Send STARTTLS first, then authenticate"),
    [REPLY_AUTH_REQUIRED] = REPLY("auth_required", 530, "5.7.0 Authenticate first"),
    [REPLY_AUTH_UNKNOWN] =
        REPLY("auth_unknown", 504, "5.5.4 Mechanism is not offered, EHLO lists those that are"),
    [REPLY_SENDER_NOT_OWNED] =
        REPLY("sender_not_owned", 553, "5.7.1 This sender address is not yours to use"),
    [REPLY_SENDER_NO_DOMAIN] =
        REPLY("sender_no_domain", 550, "5.1.8 The sender's domain does not exist"),
    [REPLY_SENDER_NULL_MX] =
        REPLY("sender_null_mx", 550, "5.7.27 The sender's domain takes no mail (null MX)"),
    [REPLY_SENDER_UNKNOWN_YET] =
        REPLY("sender_unknown_yet", 451,
              "4.1.8 The sender's domain cannot be looked up now, try again later"),
    [REPLY_BAD_UTF8] =
        REPLY("bad_unicode", 501, "5.5.2 Address is no valid UTF-8 or its domain no valid name"),
    [REPLY_TOO_MANY_DOMAINS] =
        REPLY("too_many_domains", 452,
              "4.5.3 Too many recipient domains, send the message to the rest separately"),
    [REPLY_BAD_CHUNK_SIZE] =
        REPLY("bad_chunk_size", 501, "5.5.4 Use BDAT size or BDAT size LAST, closing"),
    [REPLY_CHUNK_OUT_OF_ORDER] =
        REPLY("chunk_out_of_order", 503,
              "5.5.1 No message to which this chunk belongs, RSET starts again"),
    [REPLY_CHUNKING_BEGUN] =
        REPLY("chunking_begun", 503, "5.5.1 The message began with BDAT, end it with BDAT or RSET"),
    [REPLY_BINARY_NEEDS_BDAT] =
        REPLY("binary_needs_bdat", 503, "5.5.1 A message with BODY=BINARYMIME is sent with BDAT"),
    [REPLY_NOT_PERMITTED] = REPLY("not_permitted", 550, "5.7.0 This command is not for you"),
    [REPLY_NO_DUTY] = REPLY("no_duty", 503, "5.5.1 A health probe sends no mail"),
};

struct slice reply_line(enum reply_id id)
{
    ASSERT(id > REPLY_NONE && id < REPLY_COUNT);
    ASSERT(replies[id].line.len != 0);
    return replies[id].line;
}

unsigned reply_code(enum reply_id id)
{
    ASSERT(id > REPLY_NONE && id < REPLY_COUNT);
    return replies[id].code;
}

const char *reply_name(enum reply_id id)
{
    ASSERT(id < REPLY_COUNT);
    ASSERT(replies[id].name != NULL);
    return replies[id].name;
}
