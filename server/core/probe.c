/* probe.c - see probe.h. Control thread, before a core is started. */
#include "server/core/probe.h"

#include "ring/base/clock.h"
#include "ring/base/err.h"
#include "ring/loop.h"
#include "server/core/core.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PROBE_TRIES_MAX 100
#define PROBE_PAUSE_MS 50

/* SO_REUSEPORT would let a second gateway of the same user share the port without a word, so one
 * plain bind asks first whether somebody has it. */
static int probe_address(const struct endpoint *at)
{
    if (endpoint_port(at) == 0) return 0;
    int fd = socket(at->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1, err = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at->addr.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, &at->addr.any, at->addr_len) != 0) err = -errno;
    close(fd);
    return err;
}

/* The kernel lets the sockets of a process that was killed go a moment after it: a restart waits.
 */
static int probe_patiently(const struct endpoint *at)
{
    int err = probe_address(at);
    for (unsigned tries = 0; err == -EADDRINUSE && tries < PROBE_TRIES_MAX; tries++) {
        struct timespec pause = {0, PROBE_PAUSE_MS * NS_PER_MS};
        nanosleep(&pause, NULL);
        err = probe_address(at);
    }
    return err;
}

int probe_addresses(const struct config *config, char *why, size_t why_cap)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        for (size_t j = 0; j < listener->address_count; j++) {
            int err = probe_patiently(&listener->addresses[j]);
            if (err == 0) continue;
            char text[ENDPOINT_TEXT_MAX] = "";
            struct buf name = {text, 0, sizeof(text) - 1, false};
            endpoint_write(&listener->addresses[j], &name);
            snprintf(why, why_cap, "listener %s: %s: %s", listener->name, text,
                     err == -EADDRINUSE
                         ? "in use by another process; stop it or choose another port"
                         : err_str(err));
            return err;
        }
    }
    return 0;
}

/* Raises the soft limit of descriptors and returns how many sessions a core may have: any core may
 * get all of them. Their sockets are in the ring's table, whose size that limit bounds. */
uint32_t probe_session_limit(const struct config *config)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NOFILE, &files);
    uint64_t wanted = 0;
    for (size_t i = 0; i < config->listener_count; i++)
        wanted += config->listeners[i].limits.connections;
    uint64_t limit = files.rlim_cur == RLIM_INFINITY ? UINT32_MAX : files.rlim_cur;
    uint64_t spare = GATEWAY_REFUSALS_MAX + LOOP_SOCKETS_SPARE;
    uint64_t allowed = limit > spare ? limit - spare : 1; /* too few: the loop says so */
    if (wanted > allowed) {
        log_text(LOG_WARN, "few_descriptors",
                 "limits.connections add up to %llu, the limit of open files (%llu) allows %llu: "
                 "raise it (ulimit -n, LimitNOFILE=) or lower limits.connections",
                 (unsigned long long)wanted, (unsigned long long)limit,
                 (unsigned long long)allowed);
        wanted = allowed;
    }
    return (uint32_t)MIN(wanted, UINT32_MAX / 2);
}
