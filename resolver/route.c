/* route.c - MX, then the addresses of its hosts, side by side; see route.h.
 *
 *     MX --FOUND--> hosts by preference --> A and AAAA of each --> order, guard --> done
 *      \--NO_DATA--> the domain itself is the host --^
 *
 * The op is done when every question has been answered, or forgotten after a cancel. */
#include "resolver/route.h"

#include "resolver/resolver_internal.h"

#include "ring/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* How long a route holds when the servers of some of its hosts did not answer. */
#define PARTIAL_TTL_S 60

struct route_lookup;

/* One question of a look-up. */
struct part {
    struct dns_waiter waiter;
    struct route_lookup *lookup;
    uint8_t host;
    bool is_v6;
};

/* A host whose addresses are being looked for. */
struct candidate {
    char name[ANSWER_NAME_BYTES_MAX + 1];
    uint16_t preference;
    struct endpoint addresses[2][ROUTE_ADDRESSES_MAX]; /* IPv4, IPv6 */
    uint8_t counts[2];
    bool is_us, is_refused, is_unknown;
};

struct route_lookup {
    struct resolver *resolver;
    struct route_query query;
    struct route_result *result;
    char domain[ANSWER_NAME_BYTES_MAX + 1];
    struct part mx, parts[ROUTE_HOSTS_MAX][2];
    struct candidate candidates[ROUTE_HOSTS_MAX];
    uint8_t candidate_count;
    uint32_t pending;
    struct ring_op op; /* the end that is known at the start */
    bool is_canceled;
};

bool route_address_is_allowed(const struct endpoint *address, const struct network *allowed,
                              size_t allowed_count)
{
    for (size_t i = 0; i < allowed_count; i++) {
        if (network_contains(&allowed[i], address)) return true;
    }
    return guard_is_public(address);
}

static bool is_listed(const struct route_query *query, const struct endpoint *address)
{
    for (size_t i = 0; i < query->allowed_count; i++) {
        if (network_contains(&query->allowed[i], address)) return true;
    }
    return false;
}

/* --- the end --- */

static void set_status(struct route_lookup *lookup, enum route_status status, const char *format,
                       ...) PRINTF_LIKE(3, 4);

static void set_status(struct route_lookup *lookup, enum route_status status, const char *format,
                       ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(lookup->result->why, sizeof(lookup->result->why), format, args);
    va_end(args);
    lookup->result->status = status;
}

static void end(struct route_lookup *lookup)
{
    struct ring_op *op = lookup->query.op;
    struct route_result *result = lookup->result;
    result->ttl_s =
        MIN(MAX(result->ttl_s, (uint32_t)RESOLVER_TTL_S_MIN), (uint32_t)RESOLVER_TTL_S_MAX);
    op->result = lookup->is_canceled || lookup->resolver->is_stopping ? -ERR_CANCELED : 0;
    lookup->resolver->lookup_count--;
    free(lookup);
    op->done(op);
}

static void on_end(struct ring_op *op)
{
    end(CONTAINER_OF(op, struct route_lookup, op));
}

/* --- addresses --- */

static bool is_own_name(const struct resolver *resolver, const char *name)
{
    return strcmp(resolver->hostname, name) == 0;
}

static void take_address(struct route_lookup *lookup, struct candidate *candidate, bool is_v6,
                         const struct endpoint *address)
{
    const struct route_query *query = &lookup->query;
    if (!query->is_host && !is_listed(query, address)) {
        /* Every host is 127.0.0.1: who names that says nothing about this one. */
        if (!guard_is_loopback(address) &&
            own_addresses_have(resolver_own_addresses(lookup->resolver), address)) {
            candidate->is_us = true;
            return;
        }
        if (!guard_is_public(address)) {
            candidate->is_refused = true;
            return;
        }
    }
    if (candidate->counts[is_v6] == ROUTE_ADDRESSES_MAX) return;
    struct endpoint *slot = &candidate->addresses[is_v6][candidate->counts[is_v6]++];
    *slot = *address;
    if (is_v6)
        slot->addr.v6.sin6_port = htons(query->port);
    else
        slot->addr.v4.sin_port = htons(query->port);
}

/* One of each family by turns, so that a broken family costs one attempt (RFC 8305 4). */
static void order_addresses(const struct route_lookup *lookup, const struct candidate *from,
                            struct route_host *to)
{
    unsigned at[2] = {0, 0};
    bool is_v6 = lookup->resolver->prefers_v6;
    while (to->address_count < ROUTE_ADDRESSES_MAX) {
        if (at[is_v6] == from->counts[is_v6]) is_v6 = !is_v6;
        if (at[is_v6] == from->counts[is_v6]) return;
        to->addresses[to->address_count++] = from->addresses[is_v6][at[is_v6]++];
        is_v6 = !is_v6;
    }
}

/* RFC 5321 5.1: a host is not sent to by itself, nor by those that it comes before. */
static uint8_t count_before_us(const struct route_lookup *lookup)
{
    uint8_t count = lookup->candidate_count;
    for (uint8_t i = 0; i < count; i++) {
        if (!lookup->candidates[i].is_us) continue;
        uint16_t ours = lookup->candidates[i].preference;
        while (i > 0 && lookup->candidates[i - 1].preference == ours)
            i--;
        return i;
    }
    return count;
}

static void add_host(struct route_lookup *lookup, const struct candidate *from)
{
    struct route_host *to = &lookup->result->hosts[lookup->result->host_count];
    if (from->counts[0] + from->counts[1] == 0) return;
    memcpy(to->name, from->name, sizeof(from->name));
    to->preference = from->preference;
    to->tls_duty = lookup->query.tls_duty;
    to->tls_reason = TLS_BY_CONFIG;
    order_addresses(lookup, from, to);
    lookup->result->host_count++;
}

static void finish_hosts(struct route_lookup *lookup)
{
    bool is_unknown = false, is_refused = false;
    uint8_t count = count_before_us(lookup);
    for (uint8_t i = 0; i < count; i++) {
        is_unknown = is_unknown || lookup->candidates[i].is_unknown;
        is_refused = is_refused || lookup->candidates[i].is_refused;
        add_host(lookup, &lookup->candidates[i]);
    }
    if (lookup->result->host_count > 0) {
        lookup->result->status = ROUTE_FOUND;
        if (is_unknown) lookup->result->ttl_s = MIN(lookup->result->ttl_s, (uint32_t)PARTIAL_TTL_S);
    } else if (is_unknown) {
        set_status(lookup, ROUTE_TRY_LATER, "the addresses of the hosts of %s are not known now",
                   lookup->domain);
    } else if (count < lookup->candidate_count) {
        set_status(lookup, ROUTE_IS_US, "mail for %s loops back to this host", lookup->domain);
    } else if (is_refused) {
        set_status(lookup, ROUTE_NO_ADDRESS,
                   "the hosts of %s have only addresses that mail is not sent to", lookup->domain);
    } else {
        set_status(lookup, ROUTE_NO_ADDRESS, "no host of %s has an address", lookup->domain);
    }
    end(lookup);
}

static void part_ended(struct route_lookup *lookup)
{
    ASSERT(lookup->pending > 0);
    if (--lookup->pending > 0) return;
    if (lookup->is_canceled)
        end(lookup);
    else
        finish_hosts(lookup);
}

static void on_address(struct dns_waiter *waiter)
{
    struct part *part = CONTAINER_OF(waiter, struct part, waiter);
    struct route_lookup *lookup = part->lookup;
    struct candidate *candidate = &lookup->candidates[part->host];
    const struct answer *answer = &waiter->answer->answer;
    lookup->result->is_authentic = lookup->result->is_authentic && answer->is_authentic;
    if (answer->status == ANSWER_FOUND) {
        lookup->result->ttl_s = MIN(lookup->result->ttl_s, answer->ttl_s);
        uint64_t start = resolver_random(lookup->resolver);
        for (uint32_t i = 0; i < answer->record_count; i++) {
            uint32_t at = (uint32_t)((start + i) % answer->record_count);
            take_address(lookup, candidate, part->is_v6, &answer->records[at].host);
        }
    } else if (answer->status != ANSWER_NO_NAME && answer->status != ANSWER_NO_DATA) {
        candidate->is_unknown = true;
    }
    part_ended(lookup);
}

static void ask_addresses(struct route_lookup *lookup)
{
    lookup->pending = 1; /* so that nothing ends in between */
    for (uint8_t i = 0; i < lookup->candidate_count; i++) {
        struct candidate *candidate = &lookup->candidates[i];
        if (!lookup->query.is_host && is_own_name(lookup->resolver, candidate->name)) {
            candidate->is_us = true;
            continue;
        }
        for (unsigned family = 0; family < 2; family++) {
            struct part *part = &lookup->parts[i][family];
            part->lookup = lookup;
            part->host = i;
            part->is_v6 = family == 1;
            part->waiter.done = on_address;
            if (dns_ask(lookup->resolver->dns, slice_of_cstr(candidate->name),
                        family == 1 ? ANSWER_AAAA : ANSWER_A, &part->waiter)) {
                lookup->pending++;
            } else {
                candidate->is_unknown = true;
            }
        }
    }
    part_ended(lookup);
}

/* --- MX --- */

static void add_candidate(struct route_lookup *lookup, const char *name, uint16_t preference)
{
    if (lookup->candidate_count == ROUTE_HOSTS_MAX) return;
    struct candidate *candidate = &lookup->candidates[lookup->candidate_count++];
    snprintf(candidate->name, sizeof(candidate->name), "%s", name);
    candidate->preference = preference;
}

/* By preference; equal ones in an order that chance makes (RFC 5321 5.1). */
static void add_by_preference(struct route_lookup *lookup, const struct answer *answer)
{
    bool is_taken[ANSWER_RECORDS_MAX] = {false};
    for (uint32_t n = 0; n < answer->record_count; n++) {
        uint32_t best = UINT32_MAX, equals = 0;
        for (uint32_t i = 0; i < answer->record_count; i++) {
            if (is_taken[i]) continue;
            const struct answer_record *record = &answer->records[i];
            uint16_t preference = best != UINT32_MAX ? answer->records[best].preference : 0;
            if (best == UINT32_MAX || record->preference < preference) {
                best = i;
                equals = 1;
            } else if (record->preference == preference) {
                equals++;
                if (resolver_random(lookup->resolver) % equals == 0) best = i;
            }
        }
        is_taken[best] = true;
        const struct answer_record *record = &answer->records[best];
        if (record->name != NULL && record->name[0] != '\0')
            add_candidate(lookup, record->name, record->preference);
    }
}

static bool is_null_mx(const struct answer *answer)
{
    const char *name = answer->records[0].name;
    return answer->record_count == 1 && name != NULL && name[0] == '\0';
}

static void on_mx(struct dns_waiter *waiter)
{
    struct route_lookup *lookup = CONTAINER_OF(waiter, struct part, waiter)->lookup;
    const struct answer *answer = &waiter->answer->answer;
    lookup->pending--;
    lookup->result->is_authentic = answer->is_authentic;
    lookup->result->ttl_s = answer->ttl_s;
    if (lookup->is_canceled) {
        end(lookup);
        return;
    }
    switch (answer->status) {
    case ANSWER_FOUND:
        if (is_null_mx(answer)) {
            set_status(lookup, ROUTE_NULL_MX, "%s takes no mail (null MX)", lookup->domain);
            break;
        }
        add_by_preference(lookup, answer);
        ask_addresses(lookup);
        return;
    case ANSWER_NO_DATA:
        lookup->result->is_implicit = true;
        add_candidate(lookup, lookup->domain, 0);
        ask_addresses(lookup);
        return;
    case ANSWER_NO_NAME:
        set_status(lookup, ROUTE_NO_DOMAIN, "the domain %s does not exist", lookup->domain);
        break;
    default:
        set_status(lookup, ROUTE_TRY_LATER, "the DNS has no good answer for %s%s", lookup->domain,
                   waiter->answer->is_timeout ? " (no name server answered in time)" : "");
        break;
    }
    end(lookup);
}

/* --- the outside --- */

static bool is_domain(struct slice name)
{
    if (!answer_name_is_host(name)) return false;
    const char *last = memrchr(name.data, '.', name.len);
    size_t at = last != NULL ? (size_t)(last + 1 - name.data) : 0;
    for (; at < name.len; at++) {
        if (name.data[at] < '0' || name.data[at] > '9') return true;
    }
    return false; /* an address */
}

static void begin(struct route_lookup *lookup)
{
    if (lookup->query.is_host) {
        lookup->result->is_implicit = true;
        lookup->result->ttl_s = UINT32_MAX;
        add_candidate(lookup, lookup->domain, 0);
        ask_addresses(lookup);
        return;
    }
    lookup->mx.lookup = lookup;
    lookup->mx.waiter.done = on_mx;
    lookup->pending = 1;
    if (dns_ask(lookup->resolver->dns, slice_of_cstr(lookup->domain), ANSWER_MX,
                &lookup->mx.waiter)) {
        return;
    }
    set_status(lookup, ROUTE_TRY_LATER, "too many names are being looked up");
    loop_defer(lookup->resolver->loop, &lookup->op, 0);
}

static void on_begin(struct ring_op *op)
{
    struct route_lookup *lookup = CONTAINER_OF(op, struct route_lookup, op);
    lookup->op.done = on_end;
    if (lookup->is_canceled)
        end(lookup);
    else
        begin(lookup);
}

int route_find(struct resolver *resolver, const struct route_query *query,
               struct route_result *result_out, struct route_lookup **lookup_out)
{
    *lookup_out = NULL;
    if (resolver->lookup_count >= RESOLVER_LOOKUPS_MAX) return -ERR_MEMORY;
    struct route_lookup *lookup = xcalloc(1, sizeof(*lookup));
    *result_out = (struct route_result){.status = ROUTE_TRY_LATER, .is_authentic = true};
    lookup->resolver = resolver;
    lookup->query = *query;
    lookup->result = result_out;
    resolver->lookup_count++;
    struct buf domain = {lookup->domain, 0, ANSWER_NAME_BYTES_MAX, false};
    for (size_t i = 0; i < query->domain.len; i++)
        buf_append_char(&domain, ascii_lower(query->domain.data[i]));
    bool is_good = !domain.is_short && is_domain(buf_slice(&domain));
    if (!is_good) set_status(lookup, ROUTE_NO_DOMAIN, "mail is not sent to such a domain");
    lookup->op.done = is_good ? on_begin : on_end;
    loop_defer(resolver->loop, &lookup->op, 0);
    *lookup_out = lookup;
    return 0;
}

static void forget(struct route_lookup *lookup, struct part *part)
{
    if (part->waiter.is_asking && dns_forget(&part->waiter)) lookup->pending--;
}

void route_cancel(struct route_lookup *lookup)
{
    bool was_waiting = lookup->pending > 0;
    lookup->is_canceled = true;
    forget(lookup, &lookup->mx);
    for (uint8_t i = 0; i < lookup->candidate_count; i++) {
        for (unsigned family = 0; family < 2; family++)
            forget(lookup, &lookup->parts[i][family]);
    }
    /* Nothing comes any more by itself; the first op, if it has not run, does. */
    if (was_waiting && lookup->pending == 0) {
        lookup->op.done = on_end;
        loop_defer(lookup->resolver->loop, &lookup->op, 0);
    }
}
