/* attempt.h - some recipients of one message on their way to one destination.
 *
 * Whoever carries it out (a client, a maildir writer) reports the result of each recipient and then
 * ends it. Recipients without a result stay as they were: that is how a stop gives back. */
#pragma once

#include "ring/base/endpoint.h"
#include "ring/base/list.h"
#include "store/message.h"

/* In one transaction: what every server must take (RFC 5321 4.5.3.1.8). */
#define ATTEMPT_RECIPIENTS_MAX 100

struct parcel;
struct route;
struct delivery;
struct destination;
struct host;
struct delivery_route_counters;

enum outcome {
    OUTCOME_NONE,      /* no result yet */
    OUTCOME_DELIVERED, /* into a mailbox, or by LMTP to who keeps it */
    OUTCOME_RELAYED,   /* to a hop that reports nothing itself (it offers no DSN) */
    OUTCOME_PASSED_ON, /* to a hop that also took over what is to be reported (RFC 3461 5.2.1) */
    OUTCOME_DEFERRED,
    OUTCOME_FAILED,
    OUTCOME_POSTPONED, /* was not tried: no attempt is counted */
};

struct attempt {
    struct list node; /* in parcel->attempts */
    struct list wait; /* in the destination's or the writers' line */
    struct parcel *parcel;
    struct delivery_route_counters *route;
    struct destination *destination; /* NULL: a maildir */
    char *maildir_template;          /* owned; NULL: not a maildir */
    const void *target;              /* what it is for: only compared, never followed */
    uint64_t started_ns;
    uint64_t random; /* one for all recipients, so that they stay together */
    uint32_t count, undecided;
    bool is_retried; /* once already, since a reused connection had died */
    uint32_t recipients[ATTEMPT_RECIPIENTS_MAX]; /* indices into the envelope's */
    uint8_t outcomes[ATTEMPT_RECIPIENTS_MAX];    /* enum outcome */
};

/* The thing that recipients must have in common to go in one attempt. */
const void *attempt_target(const struct route *route, const struct destination *destination);
/* `destination`: NULL for a maildir. */
void attempt_init(struct attempt *attempt, struct parcel *parcel, const struct route *route,
                  struct destination *destination);
void attempt_add(struct attempt *attempt, uint32_t recipient);
struct message *attempt_message(const struct attempt *attempt);
struct recipient *attempt_recipient(const struct attempt *attempt, uint32_t at);

/* The result of the recipient at `at`, once: writes it into the message, counts and logs it.
 * `reply` is borrowed; `host` may be NULL. */
void attempt_result(struct attempt *attempt, uint32_t at, enum outcome outcome, struct slice reply,
                    const struct host *host);
/* The same for all that have none yet. */
void attempt_result_rest(struct attempt *attempt, enum outcome outcome, struct slice reply,
                         const struct host *host);
/* Those without a result were not tried, and are due again at `next_ms` of the wall clock. */
void attempt_postpone_rest(struct attempt *attempt, uint64_t next_ms, struct slice reason);
/* Moves the recipient at `from` forward to `to`; those between move back by one. */
void attempt_bring_forward(struct attempt *attempt, uint32_t from, uint32_t to);
/* The recipients without a result are to be tried again at once, when this attempt and the others
 * of the message have ended. */
void attempt_put_off_rest(struct attempt *attempt);
/* Ends it; the memory is gone for the caller. Nothing may use the message's bytes any more. */
void attempt_end(struct attempt *attempt);

/* The same for a recipient that needs no attempt (discarded, rejected, without a route). `route`
 * may be NULL. */
void attempt_result_at_once(struct parcel *parcel, uint32_t recipient, const struct route *route,
                            enum outcome outcome, struct slice reply);
