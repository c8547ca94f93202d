/* client_offer.h - what a next hop offers in its answer to EHLO (RFC 5321 4.1.1.1).
 *
 * Only what changes how a message is handed over is kept. Pure. */
#pragma once

#include "server/config/config.h"

enum client_extension {
    OFFER_PIPELINING = BIT(0), /* RFC 2920 */
    OFFER_8BITMIME = BIT(1),   /* RFC 6152 */
    OFFER_SIZE = BIT(2),       /* RFC 1870 */
    OFFER_CHUNKING = BIT(3),   /* RFC 3030 */
    OFFER_BINARYMIME = BIT(4), /* RFC 3030 */
    OFFER_SMTPUTF8 = BIT(5),   /* RFC 6531 */
    OFFER_DSN = BIT(6),        /* RFC 3461 */
    OFFER_STARTTLS = BIT(7),   /* RFC 3207 */
    OFFER_REQUIRETLS = BIT(8), /* RFC 8689 */
};

struct client_offer {
    uint32_t extensions; /* BITs of enum client_extension */
    uint64_t size_max;   /* 0: none was named */
    uint32_t mechanisms; /* of AUTH: BITs of enum auth_mechanism (RFC 4954) */
    /* LIMITS (RFC 9422), each 0 when it was not named. */
    uint32_t mail_max;        /* transactions in one connection */
    uint32_t rcpt_max;        /* recipients in one transaction */
    uint32_t rcpt_domain_max; /* different domains among them */
};

/* Notes one line of the answer to EHLO, without its code; unknown keywords are passed over. */
void client_offer_read(struct client_offer *offer, struct slice line);
