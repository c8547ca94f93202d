/* ptr.c - PTR, then the addresses of the names it gives; see ptr.h. */
#include "resolver/ptr.h"

#include "resolver/resolver_internal.h"

#include "ring/base/memory.h"

#include <stdlib.h>

#define NAMES_MAX 4 /* of one PTR answer that are looked at */

struct name_part {
    struct dns_waiter waiter;
    struct ptr_lookup *lookup;
    char name[ANSWER_NAME_BYTES_MAX + 1];
};

struct ptr_lookup {
    struct resolver *resolver;
    struct endpoint address;
    struct ptr_result *result;
    struct ring_op *op;
    struct ring_op own_op;
    struct name_part ptr, names[NAMES_MAX];
    uint8_t name_count;
    uint32_t pending;
    bool is_canceled;
};

static void end(struct ptr_lookup *lookup)
{
    struct ring_op *op = lookup->op;
    op->result = lookup->is_canceled || lookup->resolver->is_stopping ? -ERR_CANCELED : 0;
    if (op->result != 0) lookup->result->len = 0;
    if (lookup->result->len > 0) lookup->result->is_temporary = false; /* one name is enough */
    lookup->resolver->lookup_count--;
    free(lookup);
    op->done(op);
}

static void on_own_op(struct ring_op *op)
{
    end(CONTAINER_OF(op, struct ptr_lookup, own_op));
}

static bool is_temporary(const struct answer *answer)
{
    return answer->status == ANSWER_FAILED || answer->status == ANSWER_BROKEN;
}

static void part_ended(struct ptr_lookup *lookup)
{
    ASSERT(lookup->pending > 0);
    if (--lookup->pending == 0) end(lookup);
}

static void on_addresses(struct dns_waiter *waiter)
{
    struct name_part *part = CONTAINER_OF(waiter, struct name_part, waiter);
    struct ptr_lookup *lookup = part->lookup;
    struct ptr_result *result = lookup->result;
    const struct answer *answer = &waiter->answer->answer;
    if (is_temporary(answer)) result->is_temporary = true;
    struct slice key = endpoint_key(&lookup->address);
    for (uint32_t i = 0; i < answer->record_count && result->len == 0; i++) {
        if (!slice_eq(endpoint_key(&answer->records[i].host), key)) continue;
        result->len = strlen(part->name);
        memcpy(result->name, part->name, result->len + 1);
    }
    part_ended(lookup);
}

static void on_names(struct dns_waiter *waiter)
{
    struct ptr_lookup *lookup = CONTAINER_OF(waiter, struct name_part, waiter)->lookup;
    const struct answer *answer = &waiter->answer->answer;
    if (is_temporary(answer)) lookup->result->is_temporary = true;
    bool is_v4 = endpoint_key(&lookup->address).len == 4;
    for (uint32_t i = 0; i < answer->record_count && lookup->name_count < NAMES_MAX; i++) {
        const char *name = answer->records[i].name;
        if (lookup->is_canceled || name == NULL || !answer_name_is_host(slice_of_cstr(name)))
            continue;
        struct name_part *part = &lookup->names[lookup->name_count];
        memcpy(part->name, name, strlen(name) + 1);
        part->lookup = lookup;
        part->waiter.done = on_addresses;
        if (!dns_ask(lookup->resolver->dns, slice_of_cstr(part->name),
                     is_v4 ? ANSWER_A : ANSWER_AAAA, &part->waiter)) {
            break;
        }
        lookup->name_count++;
        lookup->pending++;
    }
    part_ended(lookup);
}

/* 1.2.0.192.in-addr.arpa (RFC 1035 3.5), or nibbles below ip6.arpa (RFC 3596 2.5). */
static void write_reverse(const struct endpoint *address, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    struct slice key = endpoint_key(address);
    for (size_t i = key.len; i > 0; i--) {
        unsigned byte = (unsigned char)key.data[i - 1];
        if (key.len == 4) {
            buf_append_u64(out, byte);
            buf_append_char(out, '.');
        } else {
            const char nibbles[] = {digits[byte & 15], '.', digits[byte >> 4], '.'};
            buf_append(out, nibbles, sizeof(nibbles));
        }
    }
    buf_append_cstr(out, key.len == 4 ? "in-addr.arpa" : "ip6.arpa");
}

int ptr_find(struct resolver *resolver, const struct endpoint *address,
             struct ptr_result *result_out, struct ring_op *op, struct ptr_lookup **lookup_out)
{
    char text[ANSWER_NAME_BYTES_MAX];
    struct buf name = {text, 0, sizeof(text), false};
    *lookup_out = NULL;
    *result_out = (struct ptr_result){.len = 0};
    if (resolver->lookup_count >= RESOLVER_LOOKUPS_MAX) return -ERR_MEMORY;
    struct ptr_lookup *lookup = xcalloc(1, sizeof(*lookup));
    lookup->resolver = resolver;
    lookup->address = *address;
    lookup->result = result_out;
    lookup->op = op;
    lookup->own_op.done = on_own_op;
    lookup->ptr.lookup = lookup;
    lookup->ptr.waiter.done = on_names;
    write_reverse(address, &name);
    if (!dns_ask(resolver->dns, buf_slice(&name), ANSWER_PTR, &lookup->ptr.waiter)) {
        free(lookup);
        return -ERR_MEMORY;
    }
    lookup->pending = 1;
    resolver->lookup_count++;
    *lookup_out = lookup;
    return 0;
}

void ptr_cancel(struct ptr_lookup *lookup)
{
    lookup->is_canceled = true;
    struct name_part *parts[1 + NAMES_MAX] = {&lookup->ptr};
    for (uint8_t i = 0; i < lookup->name_count; i++)
        parts[1 + i] = &lookup->names[i];
    for (uint8_t i = 0; i < 1 + lookup->name_count; i++) {
        if (parts[i]->waiter.is_asking && dns_forget(&parts[i]->waiter)) lookup->pending--;
    }
    if (lookup->pending == 0) loop_defer(lookup->resolver->loop, &lookup->own_op, 0);
}
