/* tls_client.h - what `tls` does to a server: handshakes one after the other, bytes in bulk, idle
 * connections, and a flood of hellos that nobody means. One loop, one thread; each function runs
 * until it is done. */
#pragma once

#include "bench/latency.h"
#include "ring/conn.h"

struct tls_client;

struct tls_client_counts {
    uint64_t handshakes, resumed, failed, bytes;
    double elapsed_s;
};

/* Ends the process with a line when it cannot be made. */
struct tls_client *tls_client_create(uint32_t connections_max);
void tls_client_destroy(struct tls_client *client);

/* Of the following measurements: connects with `context`, which is borrowed; NULL: without TLS. */
void tls_client_use(struct tls_client *client, const struct endpoint *to,
                    struct tls_context *context);
/* `parallel` connections at a time, each a handshake, a line and its answer. */
struct tls_client_counts tls_client_handshakes(struct tls_client *client, uint32_t parallel,
                                               uint64_t duration_ns);
/* One connection that sends all the time, or is sent to. */
struct tls_client_counts tls_client_bulk(struct tls_client *client, bool sends,
                                         uint64_t duration_ns);
/* Opens `count` connections that stay idle after a line and its answer; returns how many there
 * are. tls_client_release() closes them. */
uint32_t tls_client_hold(struct tls_client *client, uint32_t count);
void tls_client_release(struct tls_client *client);
/* One session sends a line every 5 ms and waits for its answer, which `latency_out` tells, while
 * `parallel` connections (0: none) each send a ClientHello, wait for the answer and begin anew.
 * `handshakes` counts these answers. */
struct tls_client_counts tls_client_flood(struct tls_client *client, uint32_t parallel,
                                          uint64_t duration_ns, struct latency *latency_out);
