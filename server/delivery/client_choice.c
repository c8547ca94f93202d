/* client_choice.c - for which recipients of an attempt the next transaction is.
 *
 * For nearly every message all of them, which costs a few comparisons. */
#include "server/delivery/client_internal.h"

static struct slice domain_of(struct slice address)
{
    const char *at = memrchr(address.data, '@', address.len);
    return at == NULL ? (struct slice){NULL, 0} : slice_from(address, (size_t)(at - address.data));
}

/* True when one of the first `chosen` recipients is of this domain. */
static bool has_domain(const struct attempt *attempt, uint32_t chosen, struct slice domain)
{
    for (uint32_t at = 0; at < chosen; at++) {
        struct slice other = domain_of(attempt_recipient(attempt, at)->address);
        if (slice_eq_nocase(other, domain)) return true;
    }
    return false;
}

/* True when the limits of the next hop let one more into the transaction. */
static bool fits(const struct client_offer *offer, const struct attempt *attempt, uint32_t chosen,
                 struct slice address, uint32_t *domain_count)
{
    if (offer->rcpt_max > 0 && chosen >= offer->rcpt_max) return false;
    if (offer->rcpt_domain_max == 0 || has_domain(attempt, chosen, domain_of(address))) return true;
    if (*domain_count >= offer->rcpt_domain_max) return false;
    (*domain_count)++;
    return true;
}

/* Every recipient is looked at; those that have a result, from a connection that had died, stay. */
static uint32_t choose_some(struct client *c, struct attempt *attempt,
                            const struct handover *handover)
{
    uint32_t chosen = 0, domain_count = 0;
    for (uint32_t at = 0; at < attempt->count; at++) {
        if (attempt->outcomes[at] != OUTCOME_NONE) continue;
        struct slice address = attempt_recipient(attempt, at)->address;
        if (!handover_takes_address(handover, address)) {
            attempt_result(attempt, at, OUTCOME_FAILED,
                           SLICE("5.6.7 the recipient's address has UTF-8 in it, and the next hop "
                                 "takes none (it offers no SMTPUTF8)"),
                           c->host);
        } else if (fits(&c->offer, attempt, chosen, address, &domain_count)) {
            attempt_bring_forward(attempt, at, chosen);
            chosen++;
        }
    }
    return chosen;
}

uint32_t client_choose(struct client *c, struct attempt *attempt, struct handover *handover_out)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf why = {text, 0, sizeof(text), false};
    c->put_off_count = 0;
    if (!handover_plan(attempt_message(attempt), &c->offer, handover_out, &why)) {
        attempt_result_rest(attempt, OUTCOME_FAILED, buf_slice(&why), c->host);
        return 0;
    }
    bool has_limits = c->offer.rcpt_max > 0 || c->offer.rcpt_domain_max > 0;
    if (!has_limits && !handover_out->is_ascii_demanded && attempt->undecided == attempt->count) {
        return attempt->count;
    }
    uint32_t chosen = choose_some(c, attempt, handover_out);
    ASSERT(chosen <= attempt->undecided);
    ASSERT(chosen > 0 || attempt->undecided == 0);
    c->put_off_count = attempt->undecided - chosen;
    return chosen;
}

void client_settle_chosen(struct client *c, enum outcome outcome, struct slice reply)
{
    if (c->put_off_count == 0) {
        attempt_result_rest(c->attempt, outcome, reply, c->host);
        return;
    }
    for (uint32_t at = 0; at < c->script.recipient_count; at++) {
        if (c->attempt->outcomes[at] == OUTCOME_NONE) {
            attempt_result(c->attempt, at, outcome, reply, c->host);
        }
    }
}

void client_settle_all(struct client *c, enum outcome outcome, struct slice reply)
{
    attempt_result_rest(c->attempt, outcome, reply, c->host);
    c->put_off_count = 0;
}

bool client_has_undecided(const struct client *c)
{
    ASSERT(c->attempt->undecided >= c->put_off_count);
    return c->attempt->undecided > c->put_off_count;
}

void client_end_attempt(struct client *c, struct attempt *attempt)
{
    c->put_off_count = 0;
    attempt_put_off_rest(attempt);
    attempt_end(attempt);
}
