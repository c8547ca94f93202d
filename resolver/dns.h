/* dns.h - asks the name servers, once for all who want to know the same, and remembers.
 *
 *     dns_ask() --known--> at the end of this turn: done()
 *         \--unknown--> c-ares: UDP, again, TCP --> answer_read() --> the cache --> done() of all
 *
 * c-ares sends, waits, repeats and matches ids and questions; it is given its sockets' events by
 * the loop. Aliases that an answer does not resolve are asked for, ANSWER_ALIASES_MAX in all. While
 * servers do not answer, an answer that is at most DNS_STALE_S too old does. */
#pragma once

#include "resolver/answer.h"
#include "resolver/resolver.h"
#include "ring/base/list.h"
#include "ring/op.h"

#define DNS_STALE_S 3600

struct dns;

struct dns *dns_create(const struct resolver_options *options, struct resolver_counters *counters,
                       char *why, size_t why_cap);
/* Nothing may be under way. NULL is allowed. */
void dns_destroy(struct dns *dns);
/* False when the servers cannot be set: those of before stay. The cache is emptied. */
MUST_USE bool dns_reconfigure(struct dns *dns, const struct resolver_options *options);
/* Ends every question; waiters get ANSWER_FAILED, from the loop. */
void dns_stop(struct dns *dns);
bool dns_is_idle(const struct dns *dns);

/* One who waits for an answer; embedded. */
struct dns_waiter {
    struct list node; /* in the question; empty when the answer is on its way */
    struct ring_op op;
    struct dns *dns;
    const struct dns_answer *answer; /* valid inside done() */
    void (*done)(struct dns_waiter *waiter);
    bool is_asking; /* from dns_ask() to done() */
};

/* Shared and const. */
struct dns_answer {
    uint32_t references;
    bool is_timeout;
    struct answer answer; /* its status is never ANSWER_ALIAS */
};

/* `name` in lower case, no dot at its end; copied. done() never runs inside this call. False: too
 * many questions are under way, and done() does not come. */
MUST_USE bool dns_ask(struct dns *dns, struct slice name, enum answer_type type,
                      struct dns_waiter *waiter);
/* True: done() will not come. False: it comes in this turn or the next. */
bool dns_forget(struct dns_waiter *waiter);
