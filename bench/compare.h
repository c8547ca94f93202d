/* compare.h - holds the sender's ledger against what arrived.
 *
 *     answered 250     must have arrived: otherwise lost
 *     answered 4yz/5yz must not have arrived: otherwise unexpected
 *     no answer        may have arrived or not: unsure */
#pragma once

#include "bench/report.h"
#include "bench/tally.h"

struct comparison {
    uint64_t accepted, refused, unanswered; /* lines of the sender's ledger */
    uint64_t lost;                          /* accepted, and no copy came */
    uint64_t recipients_missing;            /* of accepted messages of which a copy came */
    uint64_t unexpected;                    /* refused, or for a refused recipient, and came */
    uint64_t unsure_received, unsure_missing;
    uint64_t wrong_digest; /* came, with another digest than the ledger has, and seemed unaltered */
    uint64_t unknown;      /* came, and the ledger does not name them */
    uint64_t bad_lines;
};

#define COMPARE_EXAMPLES_MAX 10 /* ids of each fault that are shown on standard error */

/* Reads the sender's ledger. -ERR_* when it cannot. */
MUST_USE int compare_ledger(struct tally *tally, const char *path, struct comparison *out);
/* Fills a tally from a receiver's ledger; adds its malformed lines to *bad_lines. */
MUST_USE int compare_read_received(struct tally *tally, const char *path, uint64_t *bad_lines);

/* Nothing lost, altered or unexpected, and nothing doubled unless that is allowed. */
bool compare_is_good(const struct comparison *c, const struct tally *tally, bool may_double);
/* "received", "distinct", "doubled", "altered", "without_id", "copies". */
void compare_report_tally(json_t *report, const struct tally *tally);
void compare_report(json_t *report, const struct comparison *c);
