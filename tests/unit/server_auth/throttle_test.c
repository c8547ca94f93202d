#include "server/auth/throttle.h"

#include "ring/base/clock.h"
#include "tests/support/test.h"

#include <pthread.h>

#define LIMIT 5
#define START_NS (1000 * NS_PER_S)

static struct endpoint client(const char *text)
{
    struct endpoint e;
    CHECK(endpoint_parse(slice_of_cstr(text), &e));
    return e;
}

struct world {
    struct auth_throttle *throttle;
    uint64_t now_ns;
};

static bool admits(struct world *w, const char *address, const char *user)
{
    struct endpoint e = client(address);
    return auth_throttle_admits(w->throttle, &e, slice_of_cstr(user), w->now_ns);
}

static void fail_times(struct world *w, const char *address, const char *user, unsigned times)
{
    struct endpoint e = client(address);
    for (unsigned i = 0; i < times; i++)
        auth_throttle_failed(w->throttle, &e, slice_of_cstr(user), LIMIT, w->now_ns);
}

static bool succeed(struct world *w, const char *address, const char *user)
{
    struct endpoint e = client(address);
    return auth_throttle_succeeded(w->throttle, &e, slice_of_cstr(user), w->now_ns);
}

static void pass_s(struct world *w, uint64_t seconds)
{
    w->now_ns += seconds * NS_PER_S;
}

TEST(a_client_is_held_off_and_for_longer_each_time)
{
    struct world w = {auth_throttle_create(0), START_NS};
    fail_times(&w, "192.0.2.1:1", "alice", LIMIT - 1);
    CHECK(admits(&w, "192.0.2.1:1", "alice"));
    fail_times(&w, "192.0.2.1:2", "bob", 1); /* another port, another name: the same client */
    CHECK(!admits(&w, "192.0.2.1:3", "carol"));
    CHECK(admits(&w, "192.0.2.2:1", "carol"));
    for (uint64_t hold_s = THROTTLE_HOLD_S_MIN; hold_s <= 4 * THROTTLE_HOLD_S_MAX; hold_s *= 2) {
        pass_s(&w, MIN(hold_s, (uint64_t)THROTTLE_HOLD_S_MAX) - 1);
        CHECK_EQ("before", admits(&w, "192.0.2.1:1", "carol"), false);
        pass_s(&w, 1);
        CHECK_EQ("after", admits(&w, "192.0.2.1:1", "carol"), true);
        fail_times(&w, "192.0.2.1:1", "carol", 1);
    }
    auth_throttle_destroy(w.throttle);
}

TEST(failures_are_forgotten_after_a_while)
{
    struct world w = {auth_throttle_create(0), START_NS};
    fail_times(&w, "192.0.2.1:1", "alice", LIMIT - 1);
    pass_s(&w, THROTTLE_MEMORY_S - 1);
    fail_times(&w, "192.0.2.1:1", "alice", 1);
    CHECK(!admits(&w, "192.0.2.1:1", "alice"));
    pass_s(&w, THROTTLE_HOLD_S_MIN + THROTTLE_MEMORY_S);
    fail_times(&w, "192.0.2.1:1", "alice", LIMIT - 1);
    CHECK(admits(&w, "192.0.2.1:1", "alice"));
    auth_throttle_destroy(w.throttle);
}

TEST(an_ipv6_network_is_one_client)
{
    struct world w = {auth_throttle_create(0), START_NS};
    fail_times(&w, "[2001:db8:1:2::1]:1", "a", 3);
    fail_times(&w, "[2001:db8:1:2:ffff:ffff:ffff:ffff]:1", "b", 2);
    CHECK(!admits(&w, "[2001:db8:1:2:5::5]:1", "c"));
    CHECK(admits(&w, "[2001:db8:1:3::1]:1", "c"));
    fail_times(&w, "192.0.2.1:1", "a", LIMIT);
    CHECK(!admits(&w, "[::ffff:192.0.2.1]:1", "b"));
    auth_throttle_destroy(w.throttle);
}

TEST(a_user_is_guarded_against_many_clients_but_not_for_long)
{
    struct world w = {auth_throttle_create(0), START_NS};
    for (unsigned i = 1; i < THROTTLE_USER_FAILURES_MAX; i++) {
        char address[32];
        snprintf(address, sizeof(address), "198.51.100.%u:1", i);
        fail_times(&w, address, "alice", 1);
    }
    CHECK(admits(&w, "192.0.2.1:1", "alice"));
    fail_times(&w, "198.51.100.200:1", "alice", 1);
    CHECK(!admits(&w, "192.0.2.1:1", "alice"));
    CHECK(admits(&w, "192.0.2.1:1", "bob"));
    fail_times(&w, "198.51.100.201:1", "alice", 20);
    pass_s(&w, THROTTLE_USER_HOLD_S_MAX);
    CHECK(admits(&w, "192.0.2.1:1", "alice"));
    auth_throttle_destroy(w.throttle);
}

TEST(a_user_who_is_known_at_a_client_is_held_off_only_for_their_own_failures)
{
    struct world w = {auth_throttle_create(0), START_NS};
    CHECK(succeed(&w, "192.0.2.1:1", "alice"));
    fail_times(&w, "198.51.100.1:1", "alice", 50); /* an attack from elsewhere */
    fail_times(&w, "192.0.2.1:1", "bob", 50);      /* a wrong password behind the same address */
    CHECK(admits(&w, "192.0.2.1:1", "alice"));
    CHECK(!admits(&w, "192.0.2.1:1", "bob"));
    CHECK(!admits(&w, "192.0.2.1:1", "carol"));
    CHECK(!admits(&w, "198.51.100.1:1", "alice"));
    CHECK(!admits(&w, "192.0.2.9:1", "alice"));
    fail_times(&w, "192.0.2.1:1", "alice", LIMIT);
    CHECK(!admits(&w, "192.0.2.1:1", "alice"));
    pass_s(&w, THROTTLE_KNOWN_S);
    fail_times(&w, "192.0.2.1:1", "bob", LIMIT);
    CHECK(!admits(&w, "192.0.2.1:1", "alice")); /* known no longer */
    auth_throttle_destroy(w.throttle);
}

TEST(a_success_clears_the_user_at_the_client_and_nothing_else)
{
    struct world w = {auth_throttle_create(0), START_NS};
    fail_times(&w, "192.0.2.1:1", "alice", LIMIT - 1);
    CHECK(succeed(&w, "192.0.2.1:1", "alice"));
    fail_times(&w, "192.0.2.1:1", "alice", LIMIT - 1);
    CHECK(admits(&w, "192.0.2.1:1", "alice"));
    CHECK(!admits(&w, "192.0.2.1:1", "bob")); /* guesses are not paid for with one's own account */
    auth_throttle_destroy(w.throttle);
}

TEST(a_guess_that_comes_out_right_while_others_failed_does_not_count)
{
    struct world w = {auth_throttle_create(0), START_NS};
    CHECK(admits(&w, "192.0.2.1:1", "alice"));
    fail_times(&w, "192.0.2.1:2", "alice", LIMIT); /* meanwhile, on other connections */
    CHECK(!succeed(&w, "192.0.2.1:1", "alice"));
    CHECK(!admits(&w, "192.0.2.1:1", "alice"));
    auth_throttle_destroy(w.throttle);
}

TEST(memory_is_bounded_and_known_pairs_outlast_a_flood)
{
    struct world w = {auth_throttle_create(64), START_NS};
    CHECK(succeed(&w, "192.0.2.1:1", "alice"));
    fail_times(&w, "192.0.2.7:1", "alice", LIMIT);
    for (unsigned i = 0; i < 1000; i++) {
        char user[32];
        snprintf(user, sizeof(user), "user%u", i);
        fail_times(&w, "198.51.100.1:1", user, 1);
    }
    CHECK(admits(&w, "192.0.2.7:1", "bob")); /* its count was thrown out */
    CHECK(!admits(&w, "198.51.100.1:1", "bob"));
    fail_times(&w, "192.0.2.1:1", "bob", LIMIT);
    CHECK(admits(&w, "192.0.2.1:1", "alice")); /* still known */
    auth_throttle_destroy(w.throttle);
}

static void *come_and_go(void *argument)
{
    struct world *w = argument;
    for (unsigned i = 0; i < 2000; i++) {
        char address[32], user[32];
        snprintf(address, sizeof(address), "192.0.2.%u:1", i % 50 + 1);
        snprintf(user, sizeof(user), "user%u", i % 30);
        (void)admits(w, address, user);
        if (i % 3 == 0)
            (void)!succeed(w, address, user);
        else
            fail_times(w, address, user, 1);
    }
    return NULL;
}

TEST(threads_share_it)
{
    struct world w = {auth_throttle_create(100), START_NS};
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, come_and_go, &w) == 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    auth_throttle_destroy(w.throttle);
}
