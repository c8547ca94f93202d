/* admin.h - the HTTP face of the process: health, metrics, the queue, reload.
 *
 *     GET  /livez            200 while the process can do its work
 *     GET  /readyz           200 while it wants connections
 *     GET  /metrics          Prometheus text
 *     GET  /api/v1/queue     one page of the queue: ?after=ID&limit=N
 *     POST /api/v1/queue/retry | hold | release | remove | bounce   ?id=ID&id=ID, &reason=TEXT
 *     GET  /api/v1/destinations
 *     POST /api/v1/destinations/suspend | resume   ?name=NAME, &reason=TEXT&seconds=N, or ?all=1
 *     POST /api/v1/reload    reads the configuration again
 *
 * What changes the queue or destinations wants the header X-Postern-Admin.
 *
 * Served by threads of libmicrohttpd; nothing here runs on a core. */
#pragma once

#include "ring/tls.h"
#include "server/delivery/delivery.h"
#include "server/ingress/ingress.h"

#define ADMIN_CONNECTIONS_MAX 64
#define ADMIN_QUEUE_PAGE_MAX 1000

/* What the admin side may see of one core. Counters are read while the core writes them. */
struct admin_core {
    struct loop *loop;
    struct queue *queue;
    const struct ingress *ingress;
    struct delivery *delivery;
    const struct resolver *resolver;
};

/* The process, as the admin side sees it. Everything outlives the admin. */
struct admin_source {
    const struct admin_core *cores;
    unsigned core_count;
    const char *version;
    char *const *listener_names; /* in the order of the configuration */
    size_t listener_count;
    uint64_t started_ms;
    bool (*is_alive)(void *owner);
    bool (*is_ready)(void *owner);
    bool (*is_reload_good)(void *owner); /* the last reload, or the start, succeeded */
    /* Shows each certificate of a listener; what it points to lives until visit() returns. */
    void (*each_certificate)(void *owner,
                             void (*visit)(void *context, const struct tls_certificate_info *info),
                             void *context);
    /* As config_load(): 0, or -ERR_* with the problems; the old configuration then stays. */
    int (*reload)(void *owner, struct config_problems *problems);
    void *owner;
};

struct admin;

/* Opens the addresses of `config` (borrowed during the call). On failure `why` holds a line. */
MUST_USE int admin_start(const struct config *config, const struct admin_source *source,
                         struct admin **admin_out, char *why, size_t why_cap);
void admin_stop(struct admin *admin); /* NULL is allowed */
/* What is listened on, in the order of the configuration: "127.0.0.1:8025", "unix:/run/x". */
size_t admin_address_count(const struct admin *admin);
const char *admin_address(const struct admin *admin, size_t index);
