/* world.h - the mail system around the simulated server: senders, next hops, the DNS. */
#pragma once

#include "ring/base/endpoint.h"
#include "tests/scenario/ledger.h"

/* Where mail goes to; the name is enum + ".test" in lower case. */
enum world_domain {
    DOMAIN_GOOD,   /* one MX, which takes everything */
    DOMAIN_MOODY,  /* one MX, which now and then refuses, defers, hangs, or is cut */
    DOMAIN_TWO,    /* the better MX is down */
    DOMAIN_DEAD,   /* nobody listens: its mail expires */
    DOMAIN_NONE,   /* no such domain */
    DOMAIN_NULL,   /* takes no mail (RFC 7505) */
    DOMAIN_BROKEN, /* its name servers fail: its mail expires */
    DOMAIN_FIXED,  /* a route with hosts of its own */
    DOMAIN_BOX,    /* Maildir */
    DOMAIN_COUNT,
    DOMAIN_SENDER = DOMAIN_COUNT, /* the senders': notifications go there */
};
extern const char *const world_domain_names[DOMAIN_COUNT + 1];

/* How bad the moody hops, clients and networks are at this time. */
struct world_mood {
    uint32_t hop_refuses, hop_defers, hop_cuts, hop_takes_and_cuts, hop_hangs; /* per million */
    uint32_t client_cuts, client_stalls;
};
extern struct world_mood world_mood;

/* The configuration that fits this world, for mail below `directory`. */
void world_config(const char *directory, char *into, size_t cap);
/* Hops listen, the DNS answers. */
void world_begin(void);
void world_end(void);

/* Clients that will connect to the server at `to`, `count` of them over `span_ns`. */
void clients_begin(const struct endpoint *to, unsigned count, uint64_t span_ns);
void clients_end(void);
unsigned clients_open(void);

/* The messages in the Maildirs are counted into the ledger; for the end. */
void mailboxes_count(void);
