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
    REPLY_TOO_MANY_MESSAGES,    /* 421 4.7.0: limits.messages */
    REPLY_LINE_ENDLESS,         /* 421 4.5.2 */
    REPLY_TIMEOUT,              /* 421 4.4.2 */
    REPLY_TOO_SLOW,             /* 421 4.4.2: minimum data rate */
    REPLY_TOO_MANY_CONNECTIONS, /* 421 4.3.2 */
    REPLY_TOO_MANY_FROM_CLIENT, /* 421 4.7.0 */
    REPLY_NO_RESOURCES,         /* 421 4.3.0 */
    REPLY_SHUTTING_DOWN,        /* 421 4.3.2 */
    REPLY_NOT_SMTP,             /* 554 5.5.0: HTTP, TLS or a header line as a command */
    REPLY_NOT_SYNCHRONIZED,     /* 554 5.5.0: bytes before the banner, unauthorized pipelining */
    REPLY_TLS_READY,            /* 220 2.0.0 */
    REPLY_TLS_ACTIVE,           /* 554 5.5.1: STARTTLS under TLS */
    REPLY_TLS_BUSY,             /* 454 4.7.0: too many handshakes at once */
    REPLY_TLS_IN_TRANSACTION,   /* 503 5.5.1: STARTTLS after MAIL */
    REPLY_AUTH_OK,              /* 235 2.7.0 */
    REPLY_AUTH_FAILED,          /* 535 5.7.8 */
    REPLY_AUTH_CANCELED,        /* 501 5.7.0: the client sent "*" */
    REPLY_AUTH_BAD_DATA,        /* 501 5.5.2: no base64, or not what the mechanism asks for */
    REPLY_AUTH_TOO_LONG,        /* 500 5.5.6 */
    REPLY_AUTH_TEMPORARY,       /* 454 4.7.0 */
    REPLY_AUTH_THROTTLED,       /* 421 4.7.0: too many failures of this client or user */
    REPLY_AUTH_DONE,            /* 503 5.5.1: authenticated already, or inside a transaction */
    REPLY_AUTH_NEEDS_TLS,     /* 530 5.7.0: AUTH, and MAIL where it is required, before STARTTLS */
    REPLY_AUTH_REQUIRED,      /* 530 5.7.0 */
    REPLY_AUTH_UNKNOWN,       /* 504 5.5.4: no such mechanism */
    REPLY_SENDER_NOT_OWNED,   /* 553 5.7.1 */
    REPLY_SENDER_NO_DOMAIN,   /* 550 5.1.8: not in the DNS, or without an address */
    REPLY_SENDER_NULL_MX,     /* 550 5.7.27: takes no mail (RFC 7505 4.2) */
    REPLY_SENDER_UNKNOWN_YET, /* 451 4.1.8: the DNS did not answer */
    REPLY_BAD_UTF8,           /* 501 5.5.2: an address that is no UTF-8, or no domain by IDNA */
    REPLY_TOO_MANY_DOMAINS,   /* 452 4.5.3 */
    REPLY_BAD_CHUNK_SIZE,     /* 501 5.5.4 */
    REPLY_CHUNK_OUT_OF_ORDER, /* 503 5.5.1: BDAT without a recipient, or after it was refused */
    REPLY_CHUNKING_BEGUN,     /* 503 5.5.1: DATA or MAIL inside BDAT */
    REPLY_BINARY_NEEDS_BDAT,  /* 503 5.5.1: DATA after BODY=BINARYMIME */
    REPLY_NOT_PERMITTED,      /* 550 5.7.0: XCLIENT or XFORWARD of a peer that is not listed */
    REPLY_NO_DUTY,            /* 503 5.5.1: a health probe may not send mail */
    REPLY_COUNT,
};

/* The whole line, with its CRLF. */
struct slice reply_line(enum reply_id id);
/* The three digits, as a number. */
unsigned reply_code(enum reply_id id);
/* A short name in lower_snake_case, for the `reason` label of metrics and for logs. */
const char *reply_name(enum reply_id id);
