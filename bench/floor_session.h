/* floor_session.h - a connection to the floor: the commands it knows, and bodies that it forgets.
 *
 * A session holds a socket and a line; the room for its replies is borrowed while there are some,
 * so that 10 000 idle ones are not what limits it. A large body is received in large pieces, as
 * every server on this loop can do it. */
#pragma once

#include "ring/base/memory.h"
#include "ring/loop.h"
#include "ring/timer.h"

#define FLOOR_LINE_BYTES_MAX 1024
/* Replies to the shortest commands that fit into one input buffer, and as many again. */
#define FLOOR_OUTPUT_BYTES 24576
#define FLOOR_WINDOW_BYTES 65536

struct floor_server {
    struct loop *loop;
    struct slab sessions, outputs, windows;
    uint64_t connections, messages, bytes;
    uint64_t refused; /* connections: no room for them */
    uint64_t deaf;    /* peers that sent commands and read no replies */
};

/* Room for so many sessions at once. */
void floor_server_init(struct floor_server *server, struct loop *loop, size_t session_count_max);
/* The listener's: a connection for a `struct floor_server`. */
void floor_session_accept(void *owner, int socket, const struct endpoint *peer);
