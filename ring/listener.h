/* listener.h - accepts connections on one address and hands them over.
 *
 * Keeps LISTENER_ACCEPTS_MAX accepts waiting (each brings its peer's address, which a multishot
 * accept cannot do without a system call a connection). When handles run out it pauses, with a
 * back-off that grows from 10 ms to 1 s, and says so; a connection that the peer reset meanwhile
 * is counted and passed over. */
#pragma once

#include "ring/base/counter.h"
#include "ring/loop.h"
#include "ring/timer.h"

#define LISTENER_ACCEPTS_MAX 16

struct listener;

/* Takes the new connection: `socket` is owned by the callee, `peer` is borrowed. */
typedef void listener_accepted(void *owner, int socket, const struct endpoint *peer);

struct listener_counters {
    struct counter accepted, aborted, paused;
};

/* Opens the address and starts accepting. */
MUST_USE int listener_start(struct loop *loop, const struct endpoint *at, int backlog,
                            listener_accepted *accepted, void *owner,
                            struct listener **listener_out);
const struct endpoint *listener_address(const struct listener *listener);
const struct listener_counters *listener_counters(const struct listener *listener);
/* Stops accepting; the address is closed once the accepts in flight have ended, and then the
 * listener is freed. New connections that were already accepted are still handed over. */
void listener_stop(struct listener *listener);
