/* transaction.h - one mail transaction (RFC 5321 3.3): from MAIL to the end of the data.
 *
 * Its strings live in its arena and end with it. The session owns it; nobody else refers to it. */
#pragma once

#include "ring/base/memory.h"
#include "server/smtp/address.h"
#include "server/smtp/data.h"
#include "server/smtp/header.h"
#include "server/smtp/param.h"
#include "store/queue.h"

#define TRANSACTION_CARRY_BYTES 64 /* normalized bytes that wait for a block */

struct transaction {
    struct arena arena;
    struct slice sender;
    struct mail_params params; /* params.envid lies in the arena */
    struct recipient *recipients;
    uint64_t *recipient_hashes; /* one a recipient: equal for equal mailboxes */
    uint32_t recipient_count, recipient_cap;
    uint64_t *domain_hashes; /* of the different domains of the recipients, when they are limited */
    uint32_t domain_count, domain_cap;
    uint32_t recipient_refused; /* RCPT commands that got 4yz or 5yz, or named one again */

    /* From DATA on. */
    struct put *put;       /* NULL: the message is being discarded up to its end */
    enum reply_id refusal; /* why it is discarded; REPLY_NONE: it is not */
    struct data_scanner scanner;
    struct header_scanner header;
    uint64_t body_bytes; /* handed to the put so far, the trace field included */
    uint32_t trace_bytes;
    uint64_t data_started_ns, data_ended_ns;
    char *window;          /* where the connection fills the put's block next; NULL: it does not */
    size_t window_bytes;   /* room there */
    uint64_t chunk_left;   /* octets of this BDAT still to come */
    bool is_chunked;       /* the message comes by BDAT */
    bool is_last_chunk;    /* LAST was said */
    bool is_chunk_refused; /* a chunk was refused: 503 until RSET */
    bool is_normalizing;   /* as configured when DATA came */
    bool is_end_carried;   /* the end was seen, but the carry is not stored yet */
    uint8_t carry_len;
    char carry[TRANSACTION_CARRY_BYTES];
};

/* Takes memory from `slab`, whose objects are of sizeof(struct transaction). NULL: none left. */
MUST_USE struct transaction *transaction_create(struct slab *slab);
/* Aborts its put, if any. NULL is allowed. */
void transaction_destroy(struct slab *slab, struct transaction *txn);

/* The beginning: keeps a copy of the sender (empty: the null reverse-path) and of what `params`
 * point to. False: no memory. */
MUST_USE bool transaction_open(struct transaction *txn, struct slice sender,
                               const struct mail_params *params);

enum add_status { ADD_NEW, ADD_DUPLICATE, ADD_NO_MEMORY, ADD_TOO_MANY_DOMAINS };
/* Adds a recipient and copies what is kept of it. A mailbox that is there already (local parts byte
 * for byte, domains as A-labels and without regard to case) is left once, as it came first: the
 * client gets 250 and one copy is delivered. One at a domain that none before it has is refused
 * when there are `domains_max` already (0: no limit; RFC 9422 RCPTDOMAINMAX). */
enum add_status transaction_add(struct transaction *txn, const struct mailbox_address *mailbox,
                                const struct rcpt_params *params, uint64_t domains_max);
