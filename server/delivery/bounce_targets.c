/* bounce_targets.c - a token bucket for each domain. */
#include "server/delivery/bounce_targets.h"

#include "ring/base/memory.h"
#include "server/delivery/bounce.h"
#include "server/smtp/address.h"

#include <stdlib.h>

#define TOKEN 60000ull /* a notification; a bucket gets `per_minute` of these parts each ms */
#define TOKENS_MAX (BOUNCE_BURST * TOKEN)

struct target {
    struct map_node node;
    struct list used;
    uint64_t tokens, filled_ms;
    size_t domain_len;
    char domain[];
};

static bool match(const struct map_node *node, struct slice key)
{
    const struct target *target = CONTAINER_OF(node, const struct target, node);
    return slice_eq(slice_of(target->domain, target->domain_len), key);
}

/* The domain in lower case. */
static struct slice domain_of(struct slice address, char out[DOMAIN_BYTES_MAX])
{
    const char *at = address.len > 0 ? memrchr(address.data, '@', address.len) : NULL;
    if (at != NULL) address = slice_from(address, (size_t)(at + 1 - address.data));
    size_t len = MIN(address.len, DOMAIN_BYTES_MAX);
    for (size_t i = 0; i < len; i++)
        out[i] = ascii_lower(address.data[i]);
    return slice_of(out, len);
}

static void forget(struct bounce_targets *targets, struct target *target)
{
    map_remove(&targets->map, &target->node);
    list_remove(&target->used);
    free(target);
}

static struct target *find(const struct bounce_targets *targets, struct slice domain)
{
    struct map_node *node = map_find(&targets->map, domain, match);
    return node != NULL ? CONTAINER_OF(node, struct target, node) : NULL;
}

static struct target *make(struct bounce_targets *targets, struct slice domain, uint64_t now_ms)
{
    if (targets->map.count >= BOUNCE_TARGETS_MAX)
        forget(targets, LIST_ENTRY(targets->used.next, struct target, used));
    struct target *target = xmalloc(sizeof(*target) + domain.len);
    target->tokens = TOKENS_MAX;
    target->filled_ms = now_ms;
    target->domain_len = domain.len;
    if (domain.len > 0) memcpy(target->domain, domain.data, domain.len);
    map_insert(&targets->map, domain, &target->node);
    list_init(&target->used);
    return target;
}

static void fill(struct target *target, unsigned per_minute, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms > target->filled_ms ? now_ms - target->filled_ms : 0;
    passed_ms = MIN(passed_ms, TOKENS_MAX); /* by then it is full at any rate */
    target->tokens = MIN(TOKENS_MAX, target->tokens + passed_ms * per_minute);
    target->filled_ms = now_ms;
}

void bounce_targets_init(struct bounce_targets *targets)
{
    map_init(&targets->map);
    list_init(&targets->used);
}

void bounce_targets_finish(struct bounce_targets *targets)
{
    while (!list_is_empty(&targets->used))
        forget(targets, LIST_ENTRY(targets->used.next, struct target, used));
    map_finish(&targets->map);
}

bool bounce_targets_take(struct bounce_targets *targets, struct slice address, unsigned per_minute,
                         uint64_t now_ms)
{
    char bytes[DOMAIN_BYTES_MAX];
    struct slice domain = domain_of(address, bytes);
    if (per_minute == 0) return true;
    struct target *target = find(targets, domain);
    if (target == NULL) target = make(targets, domain, now_ms);
    list_remove(&target->used);
    list_push_back(&targets->used, &target->used);
    fill(target, per_minute, now_ms);
    if (target->tokens < TOKEN) return false;
    target->tokens -= TOKEN;
    return true;
}

void bounce_targets_give_back(struct bounce_targets *targets, struct slice address)
{
    char bytes[DOMAIN_BYTES_MAX];
    struct target *target = find(targets, domain_of(address, bytes));
    if (target != NULL) target->tokens = MIN(TOKENS_MAX, target->tokens + TOKEN);
}
