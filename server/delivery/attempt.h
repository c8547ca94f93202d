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
struct delivery_route_counters;

enum outcome {
    OUTCOME_NONE, /* no result yet */
    OUTCOME_DELIVERED,
    OUTCOME_DEFERRED,
    OUTCOME_FAILED,
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
const void *attempt_target(const struct route *route);
void attempt_init(struct attempt *attempt, struct parcel *parcel, const struct route *route);
void attempt_add(struct attempt *attempt, uint32_t recipient);
struct message *attempt_message(const struct attempt *attempt);
struct recipient *attempt_recipient(const struct attempt *attempt, uint32_t at);

/* The result of the recipient at `at`, once: writes it into the message, counts and logs it.
 * `reply` is borrowed; `host` may be NULL. */
void attempt_result(struct attempt *attempt, uint32_t at, enum outcome outcome, struct slice reply,
                    const struct endpoint *host);
/* The same for all that have none yet. */
void attempt_result_rest(struct attempt *attempt, enum outcome outcome, struct slice reply,
                         const struct endpoint *host);
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
