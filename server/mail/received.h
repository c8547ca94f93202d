/* received.h - the Received field that this server puts on top of a message (RFC 5321 4.4):
 *
 *     Received: from HELO ([192.0.2.1]) by HOSTNAME (Postern) with ESMTPS
 *         (TLSv1.3 TLS_AES_256_GCM_SHA384) id ID for <RCPT>; Mon, 23 Nov 2026 16:00:00 +0000
 *
 * folded between its words. Pure. What the client chose (its name, the recipient) cannot end a
 * line, open a comment or begin another clause. */
#pragma once

#include "ring/base/buf.h"

/* Room that is always enough. */
#define RECEIVED_BYTES_MAX 1536
/* Of the hostname, and of the other words of ours. */
#define RECEIVED_HOSTNAME_BYTES_MAX 255
#define RECEIVED_WORD_BYTES_MAX 64

struct received {
    struct slice helo;      /* as the client gave it, any bytes; empty: it gave none */
    struct slice client;    /* its address literal, with the brackets (endpoint_write_literal()) */
    struct slice hostname;  /* of this server */
    struct slice protocol;  /* "SMTP", "ESMTP", "ESMTPS", ... (RFC 3848) */
    struct slice tls;       /* "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty: without TLS */
    struct slice id;        /* of the message */
    struct slice recipient; /* without angle brackets; empty unless it is the only one */
    struct slice date;      /* date_text() */
};

/* Appends the field with its CRLF. False, with out->is_short, when it does not fit. */
bool received_write(const struct received *received, struct buf *out);
