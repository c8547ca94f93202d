/* reply.h - every fixed reply of the server, as one table.
 *
 * A reply is named by its id; its code, RFC 3463 status and text stand together in reply.c, so that
 * what a client is told can be read in one place. A text says what the sender can do about it. */
#pragma once

#include "ring/base/buf.h"

enum reply_id {
    REPLY_NONE,
    REPLY_OK,                   /* 250 2.0.0 Ok */
    REPLY_SENDER_OK,            /* 250 2.1.0 */
    REPLY_RECIPIENT_OK,         /* 250 2.1.5 */
    REPLY_START_DATA,           /* 354 */
    REPLY_HELP,                 /* 214 2.0.0 */
    REPLY_VRFY,                 /* 252 2.5.0 */
    REPLY_BYE,                  /* 221 2.0.0 */
    REPLY_UNKNOWN_COMMAND,      /* 500 5.5.2 */
    REPLY_BAD_LINE,             /* 500 5.5.2: bare CR or LF in a command line */
    REPLY_LINE_TOO_LONG,        /* 500 5.5.2 */
    REPLY_BAD_SYNTAX,           /* 501 5.5.2 */
    REPLY_NO_ARGUMENT,          /* 501 5.5.4: command takes no argument */
    REPLY_BAD_ARGUMENT,         /* 501 5.5.4 */
    REPLY_BAD_HELO,             /* 501 5.5.2 */
    REPLY_BAD_SENDER,           /* 501 5.1.7 */
    REPLY_BAD_RECIPIENT,        /* 501 5.1.3 */
    REPLY_NOT_IMPLEMENTED,      /* 502 5.5.1 */
    REPLY_NEED_HELO,            /* 503 5.5.1 */
    REPLY_NESTED_MAIL,          /* 503 5.5.1 */
    REPLY_NEED_MAIL,            /* 503 5.5.1 */
    REPLY_NEED_RECIPIENT,       /* 503 5.5.1: RCPT before DATA */
    REPLY_NO_VALID_RECIPIENT,   /* 554 5.5.1: DATA after every RCPT was refused */
    REPLY_UNKNOWN_PARAMETER,    /* 555 5.5.4 */
    REPLY_NOT_ASCII,            /* 553 5.6.7: needs SMTPUTF8 */
    REPLY_RELAY_DENIED,         /* 550 5.7.1 */
    REPLY_TOO_MANY_RECIPIENTS,  /* 452 4.5.3 */
    REPLY_TOO_BIG,              /* 552 5.3.4 */
    REPLY_STORAGE_FULL,         /* 452 4.3.1 */
    REPLY_STORE_FAILED,         /* 451 4.3.0 */
    REPLY_BARE_NEWLINE,         /* 550 5.6.0: bare CR or LF in the message */
    REPLY_NUL_IN_MESSAGE,       /* 550 5.6.0 */
    REPLY_TOO_MANY_HOPS,        /* 554 5.4.6 */
    REPLY_HEADER_TOO_BIG,       /* 552 5.3.4 */
    REPLY_TOO_MANY_ERRORS,      /* 421 4.7.0 */
    REPLY_TOO_MANY_COMMANDS,    /* 421 4.7.0: junk commands */
    REPLY_LINE_ENDLESS,         /* 421 4.5.2 */
    REPLY_TIMEOUT,              /* 421 4.4.2 */
    REPLY_TOO_SLOW,             /* 421 4.4.2: minimum data rate */
    REPLY_TOO_MANY_CONNECTIONS, /* 421 4.3.2 */
    REPLY_TOO_MANY_FROM_CLIENT, /* 421 4.7.0 */
    REPLY_NO_RESOURCES,         /* 421 4.3.0 */
    REPLY_SHUTTING_DOWN,        /* 421 4.3.2 */
    REPLY_NOT_SMTP,             /* 554 5.5.0: HTTP, TLS or a header line as a command */
    REPLY_NOT_SYNCHRONIZED,     /* 554 5.5.0: bytes before the banner, unauthorized pipelining */
    REPLY_COUNT,
};

/* The whole line, with its CRLF. */
struct slice reply_line(enum reply_id id);
/* The three digits, as a number. */
unsigned reply_code(enum reply_id id);
/* A short name in lower_snake_case, for the `reason` label of metrics and for logs. */
const char *reply_name(enum reply_id id);
