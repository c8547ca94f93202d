/* resolver_time_test.c - how long answers are believed: the resolver on a simulated clock. */
#include "resolver/route.h"
#include "ring/base/clock.h"
#include "tests/support/sim/sim.h"
#include "tests/support/test.h"

#include <stdlib.h>

#define LOOKUP_NS_MAX (300 * NS_PER_S)

/* --- a name server: every name has the address 198.51.100.1, and no MX --- */

static struct {
    uint32_t ttl_s;
    bool is_silent, is_without_names;
    unsigned asked; /* for addresses */
} server;

static void put(uint8_t *into, size_t *at, uint32_t value, unsigned bytes)
{
    while (bytes-- > 0)
        into[(*at)++] = (uint8_t)(value >> 8 * bytes);
}

static void put_record(uint8_t *into, size_t *at, unsigned type, const uint8_t *data, size_t len)
{
    put(into, at, 0xc00c, 2);
    put(into, at, type, 2);
    put(into, at, 1, 2);
    put(into, at, server.ttl_s, 4);
    put(into, at, (uint32_t)len, 2);
    for (size_t i = 0; i < len; i++)
        into[(*at)++] = data[i];
}

static size_t answer(struct slice query, uint8_t *into, size_t cap)
{
    static const uint8_t address[] = {198, 51, 100, 1};
    static const uint8_t soa[] = {
        0, 0, 0, 0, 0, 1, 0, 0,    0,    1,    0,
        0, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff}; /* the last: how long "no" holds */
    const uint8_t *bytes = (const uint8_t *)query.data;
    size_t end = 12;
    CHECK(query.len < cap / 2);
    while (bytes[end] != 0)
        end += bytes[end] + 1u;
    unsigned type = (unsigned)bytes[end + 1] << 8 | bytes[end + 2];
    end += 5;
    for (size_t i = 0; i < end; i++)
        into[i] = bytes[i];
    bool is_address = type == 1, is_found = is_address && !server.is_without_names;
    server.asked += is_address;
    if (server.is_silent) return 0;
    size_t at = end, head = 2;
    if (is_found) {
        put_record(into, &at, 1, address, sizeof(address));
    } else {
        put_record(into, &at, 6, soa, sizeof(soa));
    }
    put(into, &head, 0x8180u | (server.is_without_names ? 3u : 0), 2);
    put(into, &head, 1, 2);
    put(into, &head, is_found, 2);
    put(into, &head, !is_found, 2);
    put(into, &head, 0, 2);
    return at;
}

/* --- look-ups --- */

struct world {
    struct loop *loop;
    struct resolver *resolver;
    struct endpoint name_server;
    struct resolver_options options;
};

struct lookup {
    struct ring_op op;
    struct route_result result;
    struct route_lookup *handle;
    bool is_over;
};

static void begin(struct world *w, uint32_t ttl_s)
{
    char why[200];
    static const struct loop_options loop = {
        .submission_count = 64, .socket_count_max = 8, .input_count = 8};
    server.ttl_s = ttl_s;
    server.is_silent = server.is_without_names = false;
    server.asked = 0;
    sim_begin(1, 0, 0);
    sim_dns_answer = answer;
    CHECK_EQ("loop", loop_create(&loop, &w->loop, why, sizeof(why)), 0);
    CHECK(endpoint_parse(SLICE("192.0.2.53:53"), &w->name_server));
    w->options = (struct resolver_options){.loop = w->loop,
                                           .servers = &w->name_server,
                                           .server_count = 1,
                                           .timeout_ms = 2000,
                                           .tries = 2,
                                           .hostname = "gw.test"};
    CHECK_EQ("resolver", resolver_create(&w->options, &w->resolver, why, sizeof(why)), 0);
}

static void end(struct world *w)
{
    resolver_stop(w->resolver);
    while (!resolver_is_idle(w->resolver) || loop_inflight(w->loop) > 0)
        CHECK_EQ("turn", loop_turn(w->loop, true), 0);
    resolver_destroy(w->resolver);
    loop_destroy(w->loop);
    sim_end();
}

static void on_done(struct ring_op *op)
{
    CONTAINER_OF(op, struct lookup, op)->is_over = true;
}

static void start(struct world *w, struct lookup *lookup, const char *name)
{
    const struct route_query query = {
        .op = &lookup->op, .domain = slice_of_cstr(name), .is_host = true, .port = 25};
    lookup->is_over = false;
    lookup->op.done = on_done;
    CHECK_EQ("find", route_find(w->resolver, &query, &lookup->result, &lookup->handle), 0);
}

static void wait_for(struct world *w, const struct lookup *lookup)
{
    uint64_t until_ns = sim_now_ns() + LOOKUP_NS_MAX;
    while (!lookup->is_over && sim_now_ns() < until_ns)
        CHECK_EQ("turn", loop_turn(w->loop, true), 0);
    CHECK(lookup->is_over);
}

/* Looks it up: what came of it, and how often the server was asked for it. */
static enum route_status look_up(struct world *w, const char *name, unsigned *asked_out)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    unsigned before = server.asked;
    start(w, lookup, name);
    wait_for(w, lookup);
    enum route_status status = lookup->result.status;
    if (asked_out != NULL) *asked_out = server.asked - before;
    free(lookup);
    return status;
}

static void let_pass_s(uint64_t seconds)
{
    sim_run_until(sim_now_ns() + seconds * NS_PER_S);
}

/* The name is believed for `seconds`, give or take one. */
static void check_held(struct world *w, const char *label, const char *name, uint64_t seconds,
                       enum route_status status)
{
    unsigned asked;
    CHECK_EQ(label, look_up(w, name, &asked), status);
    CHECK_EQ(label, asked, 1);
    let_pass_s(seconds - 1);
    CHECK_EQ(label, look_up(w, name, &asked), status);
    CHECK_EQ(label, asked, 0);
    let_pass_s(2);
    CHECK_EQ(label, look_up(w, name, &asked), status);
    CHECK_EQ(label, asked, 1);
}

/* --- tests --- */

TEST(a_time_to_live_is_clamped)
{
    static const struct {
        const char *label;
        uint32_t ttl_s;
        uint64_t seconds;
    } cases[] = {
        {"0", 0, RESOLVER_TTL_S_MIN},
        {"1", 1, RESOLVER_TTL_S_MIN},
        {"300", 300, 300},
        {"2^31 - 1", 0x7fffffff, RESOLVER_TTL_S_MAX},
        {"2^31 is 0 (RFC 2181 8)", 0x80000000u, RESOLVER_TTL_S_MIN},
        {"2^32 - 1 is 0", 0xffffffffu, RESOLVER_TTL_S_MIN},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        begin(&w, cases[i].ttl_s);
        check_held(&w, cases[i].label, "mx.example.test", cases[i].seconds, ROUTE_FOUND);
        end(&w);
    }
}

TEST(no_such_name_holds_for_an_hour_at_most)
{
    struct world w;
    begin(&w, 0x7fffffff);
    server.is_without_names = true;
    check_held(&w, "negative", "mx.example.test", RESOLVER_NEGATIVE_TTL_S_MAX, ROUTE_NO_ADDRESS);
    end(&w);
}

TEST(an_old_answer_serves_while_the_servers_are_silent)
{
    struct world w;
    begin(&w, 300);
    CHECK_EQ("fresh", look_up(&w, "mx.example.test", NULL), ROUTE_FOUND);
    server.is_silent = true;
    let_pass_s(3000);
    CHECK_EQ("stale", look_up(&w, "mx.example.test", NULL), ROUTE_FOUND);
    CHECK_EQ("another", look_up(&w, "other.example.test", NULL), ROUTE_TRY_LATER);
    let_pass_s(3600);
    CHECK_EQ("too old", look_up(&w, "mx.example.test", NULL), ROUTE_TRY_LATER);
    server.is_silent = false;
    let_pass_s(60);
    CHECK_EQ("back", look_up(&w, "mx.example.test", NULL), ROUTE_FOUND);
    end(&w);
}

TEST(a_full_cache_forgets_what_was_used_longest_ago)
{
    struct world w;
    char name[64];
    unsigned asked;
    begin(&w, 80000);
    CHECK_EQ("first", look_up(&w, "first.example.test", NULL), ROUTE_FOUND);
    for (unsigned i = 0; i < RESOLVER_CACHE_ENTRIES_MAX; i++) {
        snprintf(name, sizeof(name), "n%u.example.test", i);
        CHECK_EQ(name, look_up(&w, name, NULL), ROUTE_FOUND);
    }
    CHECK_EQ("last", look_up(&w, name, &asked), ROUTE_FOUND);
    CHECK_EQ("last", asked, 0);
    CHECK_EQ("first", look_up(&w, "first.example.test", &asked), ROUTE_FOUND);
    CHECK_EQ("first", asked, 1);
    end(&w);
}

TEST(a_change_of_servers_ends_what_is_under_way)
{
    struct world w;
    struct lookup *lookups[20];
    char name[64];
    begin(&w, 300);
    server.is_silent = true;
    for (unsigned i = 0; i < ARRAY_LEN(lookups); i++) {
        lookups[i] = calloc(1, sizeof(*lookups[i]));
        snprintf(name, sizeof(name), "n%u.example.test", i);
        start(&w, lookups[i], name);
    }
    sim_run_until(sim_now_ns() + NS_PER_S);
    server.is_silent = false;
    resolver_reconfigure(w.resolver, &w.options);
    for (unsigned i = 0; i < ARRAY_LEN(lookups); i++) {
        wait_for(&w, lookups[i]);
        CHECK(lookups[i]->result.status == ROUTE_FOUND ||
              lookups[i]->result.status == ROUTE_TRY_LATER);
        free(lookups[i]);
    }
    CHECK_EQ("after", look_up(&w, "after.example.test", NULL), ROUTE_FOUND);
    end(&w);
}
