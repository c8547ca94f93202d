/* admin_client.h - HTTP to the daemon's admin address, over TCP or a unix socket. Blocking. */
#pragma once

#include "server/ctl/invocation.h"

#define CLIENT_BODY_BYTES_MAX (64u << 20)
#define CLIENT_CONNECT_TIMEOUT_MS 5000
#define CLIENT_TIMEOUT_MS 120000 /* a reload reads long lists */

struct admin_client;

struct admin_client_answer {
    long status;
    char *body; /* terminated; the caller frees it */
    size_t body_bytes;
};

/* Finds the address: --admin, or that of the configuration, or CTL_ADMIN_ADDRESS. Returns 0 or an
 * exit code, and then a line was printed. */
MUST_USE int admin_client_open(const struct invocation *call,
                               struct admin_client **admin_client_out);
void admin_client_close(struct admin_client *client); /* NULL is allowed */
/* `method` is GET or POST (without a body). Returns 0 for an answer of any status, or
 * CTL_UNREACHABLE after a line on standard error. */
MUST_USE int admin_client_send(struct admin_client *client, const char *method, const char *path,
                               struct admin_client_answer *answer);
/* `text` as the value of a query's parameter. The caller frees it; NULL: no memory. */
char *admin_client_escape(const char *text);
