/* handover.h - how one next hop gets one message, or why it cannot.
 *
 * A message was taken with all that its sender asked for; what the next hop can take is seen here.
 * It is sent when nothing is lost by it: its bytes are never converted. Else it is refused for good
 * with the code that says why (RFC 3463 X.6.x), since the same hop will offer the same tomorrow.
 *
 *     the message                        goes by                     else
 *     more bytes than SIZE               -                           5.3.4
 *     came by DATA                       DATA, its bytes as stored
 *     came by BDAT                       BDAT, or DATA with the dots put in
 *     ... and is no text (is_binary)     BDAT, BINARYMIME            5.6.3
 *     8-bit bytes                        8BITMIME                    5.6.3
 *     UTF-8 in a header field            SMTPUTF8                    5.6.9
 *     REQUIRETLS                         REQUIRETLS, verified TLS    5.7.30
 *     UTF-8 in an address                SMTPUTF8, or the domain     5.6.7
 *                                        as A-labels
 *
 * UTF-8 counts only when the message came with SMTPUTF8: raw 8-bit bytes in a header are older than
 * that, and go as any 8-bit content. Pure. */
#pragma once

#include "server/delivery/client_offer.h"
#include "store/message.h"

#include "ring/base/buf.h"

enum handover_form {
    HANDOVER_DATA,  /* the stored bytes by DATA */
    HANDOVER_STUFF, /* by DATA, with dots that are put in on the way */
    HANDOVER_CHUNK, /* by BDAT, as one chunk (RFC 3030) */
};

struct handover {
    enum handover_form form;
    enum { HANDOVER_7BIT, HANDOVER_8BIT, HANDOVER_BINARY } body; /* what BODY= says */
    bool is_utf8;           /* SMTPUTF8 is said: addresses go as they are */
    bool is_ascii_demanded; /* they may hold UTF-8, and the next hop takes none */
};

/* False when the message cannot go to this next hop for any recipient: `why` gets the words. An
 * `offer` of REQUIRETLS counts as it is: who calls takes it away where TLS is not verified. */
MUST_USE bool handover_plan(const struct message *message, const struct client_offer *offer,
                            struct handover *out, struct buf *why);
/* True when an address can be told to the next hop; the planned sender always can. */
bool handover_takes_address(const struct handover *handover, struct slice address);
/* Appends an address that the next hop takes: as it is, or with A-labels for its domain. */
void handover_write_address(const struct handover *handover, struct slice address, struct buf *out);
