/* ring_support.h - a loop on the test's own thread, and a plain blocking peer to talk to it. */
#pragma once

#include "ring/base/clock.h"
#include "ring/loop.h"
#include "ring/timer.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_NS (5 * NS_PER_S)

static inline struct loop *support_loop(uint32_t submission_count, uint32_t socket_count_max,
                                        uint32_t input_count)
{
    struct loop_options options = {submission_count, socket_count_max, input_count};
    struct loop *loop;
    char why[512];
    int err = loop_create(&options, &loop, why, sizeof(why));
    if (err != 0) {
        printf("loop_create: %s: %s\n", err_str(err), why);
        exit(1);
    }
    return loop;
}

static inline void support_tick(struct timer *timer)
{
    (void)timer; /* it only ends the wait */
}

/* Runs turns until `*flag` is at least `count`; false when that takes too long. */
static inline bool support_run_until(struct loop *loop, const unsigned *flag, unsigned count)
{
    struct timer tick;
    timer_init(&tick, support_tick);
    uint64_t start_ns = clock_monotonic_ns();
    while (*flag < count && clock_monotonic_ns() - start_ns < PATIENCE_NS) {
        timer_arm(loop, &tick, 100);
        int err = loop_turn(loop, true);
        CHECK_EQ("turn", err, 0);
        if (err != 0) break;
    }
    timer_disarm(&tick);
    return *flag >= count;
}

/* Lets `ms` pass on the loop. */
static inline void support_run_for(struct loop *loop, unsigned ms)
{
    struct timer tick;
    timer_init(&tick, support_tick);
    uint64_t end_ns = clock_monotonic_ns() + ms * NS_PER_MS;
    do {
        timer_arm(loop, &tick, 5);
        int err = loop_turn(loop, true);
        CHECK_EQ("turn", err, 0);
    } while (clock_monotonic_ns() < end_ns);
    timer_disarm(&tick);
}

/* Runs until nothing is in flight. */
static inline bool support_run_idle(struct loop *loop)
{
    uint64_t start_ns = clock_monotonic_ns();
    while (loop_inflight(loop) > 0 && clock_monotonic_ns() - start_ns < PATIENCE_NS)
        support_run_for(loop, 1);
    return loop_inflight(loop) == 0;
}

static inline struct endpoint support_localhost(void)
{
    struct endpoint any;
    CHECK(endpoint_parse(SLICE("127.0.0.1:0"), &any));
    return any;
}

/* A blocking client of `to`; its reads give up after PATIENCE_NS. */
static inline int support_connect(const struct endpoint *to)
{
    int fd = socket(to->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = PATIENCE_NS / NS_PER_S};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
    CHECK(connect(fd, &to->addr.any, to->addr_len) == 0);
    return fd;
}

static inline void support_write(int fd, const void *data, size_t len)
{
    ssize_t written = write(fd, data, len);
    CHECK_EQ("write", written, len);
}

/* What the peer has received so far, while the loop runs for `ms`; appended to `out`. Returns
 * true when the stream has ended. */
static inline bool support_read(struct loop *loop, int fd, struct buf *out, unsigned ms)
{
    uint64_t end_ns = clock_monotonic_ns() + ms * NS_PER_MS;
    do {
        support_run_for(loop, 1);
        ssize_t len = recv(fd, out->data + out->len, buf_room(out), MSG_DONTWAIT);
        if (len == 0) return true;
        if (len < 0 && errno != EAGAIN) return true;
        if (len > 0) out->len += (size_t)len;
    } while (clock_monotonic_ns() < end_ns);
    return false;
}
