/* address.c - see address.h. At start; blocks. */
#include "bench/address.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIES_MAX 20
#define WAIT_US 100000

int address_ask(const struct endpoint *at)
{
    if (endpoint_port(at) == 0) return 0;
    int err = 0;
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        int one = 1, file = socket(at->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (file < 0) return -errno;
        /* Without this, connections that have ended would keep the address for a minute. */
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        err = bind(file, &at->addr.any, at->addr_len) == 0 ? 0 : -errno;
        close(file);
        if (err != -EADDRINUSE) break;
        usleep(WAIT_US);
    }
    return err;
}

void address_say_ready(const struct listener *listener)
{
    char text[ENDPOINT_TEXT_MAX];
    struct buf address = {.data = text, .cap = sizeof(text)};
    endpoint_write(listener_address(listener), &address);
    printf("ready %.*s\n", (int)address.len, address.data);
    fflush(stdout);
}
