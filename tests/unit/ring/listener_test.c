/* The listener: hands over, pauses when handles run out, goes on, and stops. */
#include "ring/listener.h"
#include "tests/unit/ring/ring_support.h"

enum { SOCKETS = 4, CLIENTS_MAX = 64 };

struct taken {
    int sockets[CLIENTS_MAX];
    unsigned count;
    struct endpoint peer;
};

static void accepted(void *owner, int socket, const struct endpoint *peer)
{
    struct taken *taken = owner;
    CHECK(taken->count < CLIENTS_MAX);
    taken->sockets[taken->count++] = socket;
    taken->peer = *peer;
}

static void close_all(struct loop *loop, struct taken *taken, unsigned from)
{
    for (unsigned i = from; i < taken->count; i++)
        loop_close(loop, taken->sockets[i], NULL);
    taken->count = from;
    support_run_for(loop, 1);
}

static struct listener *start(struct loop *loop, struct taken *taken)
{
    struct endpoint any = support_localhost();
    struct listener *listener;
    CHECK_EQ("start", listener_start(loop, &any, 64, accepted, taken, &listener), 0);
    CHECK(endpoint_port(listener_address(listener)) != 0);
    return listener;
}

static void stop(struct loop *loop, struct listener *listener)
{
    listener_stop(listener);
    CHECK(support_run_idle(loop));
}

TEST(each_connection_comes_with_its_peer)
{
    struct loop *loop = support_loop(64, CLIENTS_MAX, 4);
    struct taken taken = {.count = 0};
    struct listener *listener = start(loop, &taken);
    int clients[40];
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = support_connect(listener_address(listener));
        CHECK(support_run_until(loop, &taken.count, i + 1));
        struct endpoint own = {.addr_len = sizeof(own.addr)};
        CHECK(getsockname(clients[i], &own.addr.any, &own.addr_len) == 0);
        CHECK(endpoint_eq(&own, &taken.peer));
    }
    CHECK_EQ("accepted", counter_get(&listener_counters(listener)->accepted), 40);
    CHECK_EQ("paused", counter_get(&listener_counters(listener)->paused), 0);
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        close(clients[i]);
    close_all(loop, &taken, 0);
    stop(loop, listener);
    loop_destroy(loop);
}

TEST(a_burst_larger_than_the_accepts_in_flight_is_taken)
{
    struct loop *loop = support_loop(64, CLIENTS_MAX, 4);
    struct taken taken = {.count = 0};
    struct listener *listener = start(loop, &taken);
    int clients[3 * LISTENER_ACCEPTS_MAX];
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        clients[i] = support_connect(listener_address(listener));
    CHECK(support_run_until(loop, &taken.count, ARRAY_LEN(clients)));
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        close(clients[i]);
    close_all(loop, &taken, 0);
    stop(loop, listener);
    loop_destroy(loop);
}

TEST(it_pauses_without_handles_and_goes_on_when_some_come_back)
{
    struct loop *loop = support_loop(64, SOCKETS, 4);
    struct taken taken = {.count = 0};
    struct listener *listener = start(loop, &taken);
    /* The accepts in flight may take their share beyond the limit; the others wait. */
    enum { CLIENTS = SOCKETS + LISTENER_ACCEPTS_MAX + 10 };
    int clients[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i] = support_connect(listener_address(listener));
    support_run_for(loop, 60);
    CHECK(taken.count >= SOCKETS && taken.count <= SOCKETS + LISTENER_ACCEPTS_MAX);
    uint64_t paused = counter_get(&listener_counters(listener)->paused);
    CHECK(paused >= 1 && paused <= 6); /* 10, 20, 40 ms: no spin */

    unsigned before = taken.count;
    close_all(loop, &taken, 0);
    CHECK(support_run_until(loop, &taken.count, CLIENTS - before)); /* none was lost */
    for (unsigned i = 0; i < CLIENTS; i++)
        close(clients[i]);
    close_all(loop, &taken, 0);
    stop(loop, listener);
    loop_destroy(loop);
}

TEST(connections_that_were_reset_do_not_stop_it)
{
    struct loop *loop = support_loop(64, CLIENTS_MAX, 4);
    struct taken taken = {.count = 0};
    struct listener *listener = start(loop, &taken);
    for (unsigned i = 0; i < 10; i++) {
        int fd = support_connect(listener_address(listener));
        struct linger now = {1, 0};
        CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
        close(fd); /* a reset, while it waits in the backlog */
    }
    support_run_for(loop, 5);
    int fd = support_connect(listener_address(listener));
    unsigned before = taken.count;
    CHECK(support_run_until(loop, &taken.count, before + 1));
    close(fd);
    close_all(loop, &taken, 0);
    stop(loop, listener);
    loop_destroy(loop);
}

TEST(stop_ends_it_at_once_and_while_paused)
{
    struct loop *loop = support_loop(64, 1, 4);
    struct taken taken = {.count = 0};
    struct listener *listener = start(loop, &taken);
    listener_stop(listener); /* before its accepts were even submitted */
    CHECK(support_run_idle(loop));

    listener = start(loop, &taken);
    struct endpoint at = *listener_address(listener);
    int clients[LISTENER_ACCEPTS_MAX + 2];
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        clients[i] = support_connect(&at);
    support_run_for(loop, 5);
    CHECK(counter_get(&listener_counters(listener)->paused) > 0);
    stop(loop, listener);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, &at.addr.any, at.addr_len) != 0);
    close(fd);
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        close(clients[i]);
    close_all(loop, &taken, 0);
    loop_destroy(loop);
}

TEST(an_address_that_is_not_ours_is_an_error)
{
    struct loop *loop = support_loop(8, 4, 4);
    struct endpoint at;
    CHECK(endpoint_parse(SLICE("192.0.2.1:0"), &at));
    struct listener *listener;
    int err = listener_start(loop, &at, 16, accepted, NULL, &listener);
    CHECK_EQ("error", err, -EADDRNOTAVAIL);
    CHECK(listener == NULL);
    listener_stop(NULL);
    loop_destroy(loop);
}
