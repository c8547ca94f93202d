#include "server/ingress/clients.h"

#include "tests/support/test.h"

#include <pthread.h>

static struct endpoint client(const char *text)
{
    struct endpoint e;
    CHECK(endpoint_parse(slice_of_cstr(text), &e));
    return e;
}

TEST(a_client_has_its_limit_and_others_theirs)
{
    struct clients *clients = clients_create();
    struct endpoint a = client("192.0.2.1:1000"), a_again = client("192.0.2.1:2000");
    struct endpoint b = client("192.0.2.2:1000"), six = client("[2001:db8::1]:25");
    CHECK(clients_enter(clients, &a, 2));
    CHECK(clients_enter(clients, &a_again, 2)); /* the port does not tell clients apart */
    CHECK(!clients_enter(clients, &a, 2));
    CHECK(clients_enter(clients, &b, 2));
    CHECK(clients_enter(clients, &six, 1));
    CHECK(!clients_enter(clients, &six, 1));
    clients_leave(clients, &a);
    CHECK(clients_enter(clients, &a, 2));
    clients_leave(clients, &a);
    clients_leave(clients, &a_again);
    clients_leave(clients, &b);
    clients_leave(clients, &six);
    clients_destroy(clients); /* asserts that nobody is left */
}

TEST(a_limit_of_zero_lets_nobody_in)
{
    struct clients *clients = clients_create();
    struct endpoint a = client("192.0.2.1:1");
    CHECK(!clients_enter(clients, &a, 0));
    clients_destroy(clients);
}

TEST(a_mapped_address_is_the_same_client)
{
    struct clients *clients = clients_create();
    struct endpoint four = client("192.0.2.1:1"), mapped = client("[::ffff:192.0.2.1]:1");
    CHECK(clients_enter(clients, &four, 1));
    CHECK(!clients_enter(clients, &mapped, 1));
    clients_leave(clients, &mapped);
    clients_destroy(clients);
}

enum { ROUNDS = 2000, LIMIT = 3 };

static void *enter_and_leave(void *argument)
{
    struct clients *clients = argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char text[32];
        snprintf(text, sizeof(text), "192.0.2.%u:25", i % 7 + 1);
        struct endpoint e = client(text);
        if (clients_enter(clients, &e, LIMIT)) clients_leave(clients, &e);
    }
    return NULL;
}

TEST(threads_may_come_and_go_at_once)
{
    struct clients *clients = clients_create();
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, enter_and_leave, clients) == 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    clients_destroy(clients);
}
