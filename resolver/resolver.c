/* resolver.c - the life of a core's resolver. */
#include "resolver/resolver_internal.h"

#include "ring/base/clock.h"
#include "ring/base/log.h"
#include "ring/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* True when the kernel knows a way to an address of the IPv6 internet. Nothing is sent. */
static bool has_v6_route(void)
{
    struct endpoint far;
    if (!endpoint_parse(SLICE("[2001:500:2::c]:53"), &far)) return false;
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool has_route = connect(fd, &far.addr.any, far.addr_len) == 0;
    close(fd);
    return has_route;
}

static void set_hostname(struct resolver *resolver, const char *hostname)
{
    free(resolver->hostname);
    resolver->hostname = xstrdup(hostname);
    for (char *at = resolver->hostname; *at != '\0'; at++)
        *at = ascii_lower(*at);
}

int resolver_create(const struct resolver_options *options, struct resolver **resolver_out,
                    char *why, size_t why_cap)
{
    struct resolver *resolver = xcalloc(1, sizeof(*resolver));
    *resolver_out = NULL;
    resolver->loop = options->loop;
    resolver->dns = dns_create(options, &resolver->counters, why, why_cap);
    if (resolver->dns == NULL) {
        free(resolver);
        return -ERR_INVALID;
    }
    set_hostname(resolver, options->hostname);
    resolver->prefers_v6 = has_v6_route();
    if (getrandom(&resolver->random, sizeof(resolver->random), GRND_NONBLOCK) !=
        (ssize_t)sizeof(resolver->random))
        resolver->random = clock_monotonic_ns();
    *resolver_out = resolver;
    return 0;
}

void resolver_reconfigure(struct resolver *resolver, const struct resolver_options *options)
{
    if (!dns_reconfigure(resolver->dns, options))
        log_text(LOG_ERROR, "resolver_failed", "the new name servers cannot be set: no memory");
    set_hostname(resolver, options->hostname);
    resolver->prefers_v6 = has_v6_route();
    resolver->own_until_ns = 0;
}

void resolver_stop(struct resolver *resolver)
{
    resolver->is_stopping = true;
    dns_stop(resolver->dns);
}

bool resolver_is_idle(const struct resolver *resolver)
{
    return resolver->lookup_count == 0 && dns_is_idle(resolver->dns);
}

void resolver_destroy(struct resolver *resolver)
{
    if (resolver == NULL) return;
    ASSERT(resolver->lookup_count == 0);
    dns_destroy(resolver->dns);
    free(resolver->hostname);
    free(resolver);
}

const struct resolver_counters *resolver_counters(const struct resolver *resolver)
{
    return &resolver->counters;
}

const struct own_addresses *resolver_own_addresses(struct resolver *resolver)
{
    uint64_t now_ns = loop_now_ns(resolver->loop);
    if (now_ns >= resolver->own_until_ns) {
        own_addresses_read(&resolver->own);
        resolver->own_until_ns = now_ns + OWN_ADDRESSES_MS * NS_PER_MS;
    }
    return &resolver->own;
}

/* splitmix64: for fairness, not for secrets. */
uint64_t resolver_random(struct resolver *resolver)
{
    resolver->random += 0x9e3779b97f4a7c15ull;
    uint64_t z = resolver->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
