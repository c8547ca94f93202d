/* address.h - an address to listen on that is this process's alone. */
#pragma once

#include "ring/base/endpoint.h"
#include "ring/listener.h"

/* The loop's listeners share their address with others (SO_REUSEPORT): of two servers on one port
 * each would get a part of the messages, and both would be wrong. So it is asked for alone first;
 * for a while, since the sockets of a killed process close a moment after it is gone. 0 or -ERR_*.
 */
MUST_USE int address_ask(const struct endpoint *at);
/* Prints "ready ADDRESS:PORT" to standard output: who started the tool waits for it. */
void address_say_ready(const struct listener *listener);
