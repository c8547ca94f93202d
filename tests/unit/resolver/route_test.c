/* route_test.c - look-ups from a domain to hosts and from an address to its name, with a name
 * server of the test's own. */
#include "resolver/ptr.h"
#include "resolver/route.h"

#include "tests/unit/resolver/fake_dns.h"

#define HOST(n, a)                                                                                 \
    {                                                                                              \
        .name = n, .type = ANSWER_A, .records = { {NULL, ANSWER_A, 0, a} }                         \
    }

static const struct fake_rule rules[] = {
    {.name = "two.test",
     .type = ANSWER_MX,
     .flags = FAKE_AD,
     .records = {{NULL, ANSWER_MX, 20, "b.test"}, {NULL, ANSWER_MX, 10, "A.test"}}},
    {.name = "a.test",
     .type = ANSWER_A,
     .flags = FAKE_AD,
     .records = {{NULL, ANSWER_A, 0, "198.51.100.1"}}},
    {.name = "a.test",
     .type = ANSWER_AAAA,
     .flags = FAKE_AD,
     .records = {{NULL, ANSWER_AAAA, 0, "2001:db8::1"}}},
    {.name = "b.test",
     .type = ANSWER_A,
     .flags = FAKE_AD,
     .records = {{NULL, ANSWER_A, 0, "198.51.100.2"}}},
    {.name = "b.test", .type = ANSWER_AAAA, .flags = FAKE_AD},
    HOST("implicit.test", "198.51.100.3"),
    {.name = "gone.test", .type = ANSWER_MX, .flags = FAKE_NXDOMAIN},
    {.name = "servfail.test", .type = ANSWER_MX, .flags = 2},
    HOST("servfail.test", "198.51.100.4"),
    {.name = "refused.test", .type = ANSWER_MX, .flags = 5},
    HOST("refused.test", "198.51.100.4"),
    {.name = "silent.test", .type = ANSWER_MX, .way = FAKE_SILENT},
    HOST("silent.test", "198.51.100.4"),
    {.name = "id.test", .type = ANSWER_MX, .way = FAKE_WRONG_ID},
    {.name = "question.test", .type = ANSWER_MX, .way = FAKE_WRONG_QUESTION},
    {.name = "length.test",
     .type = ANSWER_MX,
     .way = FAKE_BAD_LENGTH,
     .records = {{NULL, ANSWER_MX, 10, "a.test"}}},
    {.name = "null.test", .type = ANSWER_MX, .records = {{NULL, ANSWER_MX, 0, "."}}},
    {.name = "nowhere.test",
     .type = ANSWER_MX,
     .records = {{NULL, ANSWER_MX, 10, "nobody.test"}, {NULL, ANSWER_MX, 10, "none.test"}}},
    {.name = "perhaps.test",
     .type = ANSWER_MX,
     .records = {{NULL, ANSWER_MX, 10, "nobody.test"}, {NULL, ANSWER_MX, 10, "ill.test"}}},
    {.name = "half.test",
     .type = ANSWER_MX,
     .records = {{NULL, ANSWER_MX, 10, "ill.test"}, {NULL, ANSWER_MX, 20, "b.test"}}},
    {.name = "ill.test", .type = ANSWER_A, .flags = 2},
    {.name = "private.test", .type = ANSWER_MX, .records = {{NULL, ANSWER_MX, 1, "p.test"}}},
    HOST("p.test", "10.0.0.1"),
    {.name = "skips.test",
     .type = ANSWER_MX,
     .records = {{NULL, ANSWER_MX, 1, "p.test"}, {NULL, ANSWER_MX, 2, "a.test"}}},
    {.name = "us.test",
     .type = ANSWER_MX,
     .records = {{NULL, ANSWER_MX, 10, "gateway.test"}, {NULL, ANSWER_MX, 20, "a.test"}}},
    {.name = "backup.test",
     .type = ANSWER_MX,
     .records = {{NULL, ANSWER_MX, 10, "gateway.test"}, {NULL, ANSWER_MX, 5, "a.test"}}},
    {.name = "big.test",
     .type = ANSWER_MX,
     .way = FAKE_TRUNCATES,
     .records = {{NULL, ANSWER_MX, 10, "a.test"}}},
    {.name = "alias.test", .type = ANSWER_MX, .records = {{NULL, ANSWER_CNAME, 0, "two.test"}}},
    {.name = "round.test", .type = ANSWER_MX, .records = {{NULL, ANSWER_CNAME, 0, "round2.test"}}},
    {.name = "round2.test", .type = ANSWER_MX, .records = {{NULL, ANSWER_CNAME, 0, "round.test"}}},
    {.name = "1.100.51.198.in-addr.arpa",
     .type = ANSWER_PTR,
     .records = {{NULL, ANSWER_PTR, 0, "other.test"}, {NULL, ANSWER_PTR, 0, "A.TEST"}}},
    {.name = "2.100.51.198.in-addr.arpa",
     .type = ANSWER_PTR,
     .records = {{NULL, ANSWER_PTR, 0, "a.test"}}},
    {.name = "3.100.51.198.in-addr.arpa",
     .type = ANSWER_PTR,
     .records = {{NULL, ANSWER_PTR, 0, "<a>\r\n.test"}, {NULL, ANSWER_PTR, 0, "*.test"}}},
    {.name = "4.100.51.198.in-addr.arpa", .type = ANSWER_PTR, .flags = 2},
    {.name = "5.100.51.198.in-addr.arpa",
     .type = ANSWER_PTR,
     .records = {{NULL, ANSWER_PTR, 0, "ill.test"}, {NULL, ANSWER_PTR, 0, "c.test"}}},
    HOST("c.test", "198.51.100.5"),
    {.name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
     .type = ANSWER_PTR,
     .records = {{NULL, ANSWER_PTR, 0, "a.test"}}},
};

struct world {
    struct loop *loop;
    struct fake_dns fake;
    struct resolver *resolver;
};

/* One look-up. */
struct find {
    struct ring_op op;
    struct route_result route;
    struct ptr_result ptr;
    struct route_lookup *lookup;
    struct ptr_lookup *ptr_lookup;
    unsigned done;
};

static void on_done(struct ring_op *op)
{
    CONTAINER_OF(op, struct find, op)->done++;
}

static void world_start(struct world *w, bool trusts_ad)
{
    char why[200] = "";
    w->loop = support_loop(256, 16, 16);
    fake_start(&w->fake, rules, ARRAY_LEN(rules));
    struct resolver_options options = {.loop = w->loop,
                                       .servers = &w->fake.address,
                                       .server_count = 1,
                                       .trusts_ad = trusts_ad,
                                       .timeout_ms = 250,
                                       .tries = 1,
                                       .hostname = "Gateway.test"};
    CHECK_EQ(why, resolver_create(&options, &w->resolver, why, sizeof(why)), 0);
}

static void world_end(struct world *w)
{
    resolver_stop(w->resolver);
    CHECK(support_run_idle(w->loop));
    CHECK(resolver_is_idle(w->resolver));
    resolver_destroy(w->resolver);
    fake_stop(&w->fake);
    loop_destroy(w->loop);
}

static int start_route(struct world *w, struct find *find, const char *domain)
{
    *find = (struct find){.op.done = on_done};
    struct route_query query = {
        .op = &find->op, .domain = slice_of_cstr(domain), .port = 25, .tls_duty = TLS_DUTY_MAY};
    int err = route_find(w->resolver, &query, &find->route, &find->lookup);
    CHECK_EQ("nothing comes inside the call", find->done, 0);
    return err;
}

static struct route_result *route(struct world *w, struct find *find, const char *domain)
{
    CHECK_EQ(domain, start_route(w, find, domain), 0);
    CHECK(support_run_until(w->loop, &find->done, 1));
    CHECK_EQ(domain, find->op.result, 0);
    return &find->route;
}

TEST(each_answer_has_its_status)
{
    static const struct {
        const char *domain;
        enum route_status status;
        unsigned hosts;
    } cases[] = {
        {"two.test", ROUTE_FOUND, 2},
        {"implicit.test", ROUTE_FOUND, 1},
        {"gone.test", ROUTE_NO_DOMAIN, 0},
        {"[198.51.100.1]", ROUTE_NO_DOMAIN, 0},
        {"198.51.100.1", ROUTE_NO_DOMAIN, 0},
        {"a..test", ROUTE_NO_DOMAIN, 0},
        {"", ROUTE_NO_DOMAIN, 0},
        {"servfail.test", ROUTE_TRY_LATER, 0},
        {"refused.test", ROUTE_TRY_LATER, 0},
        {"silent.test", ROUTE_TRY_LATER, 0},
        {"id.test", ROUTE_TRY_LATER, 0},
        {"question.test", ROUTE_TRY_LATER, 0},
        {"length.test", ROUTE_TRY_LATER, 0},
        {"null.test", ROUTE_NULL_MX, 0},
        {"nowhere.test", ROUTE_NO_ADDRESS, 0},
        {"perhaps.test", ROUTE_TRY_LATER, 0},
        {"half.test", ROUTE_FOUND, 1},
        {"private.test", ROUTE_NO_ADDRESS, 0},
        {"skips.test", ROUTE_FOUND, 1},
        {"us.test", ROUTE_IS_US, 0},
        {"backup.test", ROUTE_FOUND, 1},
        {"big.test", ROUTE_FOUND, 1},
        {"alias.test", ROUTE_FOUND, 2},
        {"round.test", ROUTE_TRY_LATER, 0},
    };
    struct world w;
    struct find find;
    world_start(&w, false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct route_result *got = route(&w, &find, cases[i].domain);
        CHECK_EQ(cases[i].domain, got->status, cases[i].status);
        CHECK_EQ(cases[i].domain, got->host_count, cases[i].hosts);
        CHECK_EQ(cases[i].domain, got->why[0] == '\0', cases[i].status == ROUTE_FOUND);
    }
    CHECK_EQ("big.test came by TCP", atomic_load(&w.fake.asked_by_tcp), 1);
    world_end(&w);
}

TEST(hosts_come_by_preference_with_the_port)
{
    struct world w;
    struct find find;
    world_start(&w, false);
    const struct route_result *got = route(&w, &find, "TWO.test");
    CHECK_SLICE("best", slice_of_cstr(got->hosts[0].name), "a.test");
    CHECK_EQ("addresses", got->hosts[0].address_count, 2);
    CHECK_EQ("port", endpoint_port(&got->hosts[0].addresses[1]), 25);
    CHECK_SLICE("worse", slice_of_cstr(got->hosts[1].name), "b.test");
    CHECK_EQ("duty", got->hosts[1].tls_duty, TLS_DUTY_MAY);
    CHECK_EQ("ttl", got->ttl_s, 300);
    got = route(&w, &find, "half.test");
    CHECK_SLICE("only", slice_of_cstr(got->hosts[0].name), "b.test");
    CHECK_EQ("the better host is asked for again soon", got->ttl_s, 60);
    world_end(&w);
}

TEST(the_ad_bit_counts_only_when_it_is_trusted)
{
    for (unsigned trusts = 0; trusts < 2; trusts++) {
        struct world w;
        struct find find;
        world_start(&w, trusts == 1);
        CHECK_EQ("two.test", route(&w, &find, "two.test")->is_authentic, trusts);
        CHECK(!route(&w, &find, "implicit.test")->is_authentic);
        world_end(&w);
    }
}

TEST(equal_questions_go_out_once_and_answers_are_kept)
{
    struct world w;
    struct find finds[20];
    world_start(&w, false);
    for (size_t i = 0; i < ARRAY_LEN(finds); i++)
        CHECK_EQ("start", start_route(&w, &finds[i], "two.test"), 0);
    for (size_t i = 0; i < ARRAY_LEN(finds); i++) {
        CHECK(support_run_until(w.loop, &finds[i].done, 1));
        CHECK_EQ("status", finds[i].route.status, ROUTE_FOUND);
    }
    CHECK_EQ("MX, A and AAAA of two hosts", atomic_load(&w.fake.asked), 5);
    route(&w, &finds[0], "two.test");
    CHECK_EQ("no more", atomic_load(&w.fake.asked), 5);
    CHECK_EQ("hits", counter_get(&resolver_counters(w.resolver)->cache_hits), 5);
    world_end(&w);
}

TEST(questions_are_counted_by_what_came)
{
    static const char *const domains[] = {"alias.test", "gone.test", "servfail.test",
                                          "silent.test"};
    static const unsigned wanted[RESOLVER_OUTCOMES] = {
        [RESOLVER_FOUND] = 2, /* the alias, and what it leads to */
        [RESOLVER_NOTHING] = 1,
        [RESOLVER_FAILED] = 1,
        [RESOLVER_TIMEOUT] = 1,
    };
    struct world w;
    struct find find;
    world_start(&w, false);
    for (size_t i = 0; i < ARRAY_LEN(domains); i++)
        route(&w, &find, domains[i]);
    const struct resolver_counters *counters = resolver_counters(w.resolver);
    for (size_t i = 0; i < RESOLVER_OUTCOMES; i++)
        CHECK_EQ("MX", counter_get(&counters->queries[RESOLVER_MX][i]), wanted[i]);
    world_end(&w);
}

TEST(a_canceled_look_up_is_done_and_its_late_answer_touches_nothing)
{
    static const char *const domains[] = {"two.test", "silent.test", "[bad"};
    struct world w;
    world_start(&w, false);
    for (unsigned turns = 0; turns < 6; turns++) {
        for (size_t i = 0; i < ARRAY_LEN(domains); i++) {
            struct find *find = calloc(1, sizeof(*find));
            CHECK_EQ("start", start_route(&w, find, domains[i]), 0);
            for (unsigned n = 0; n < turns && find->done == 0; n++)
                support_run_for(w.loop, 0);
            if (find->done == 0) {
                route_cancel(find->lookup);
                CHECK_EQ("not inside the call", find->done, 0);
            }
            CHECK(support_run_until(w.loop, &find->done, 1));
            free(find);
        }
    }
    world_end(&w);
}

TEST(a_stop_ends_what_is_under_way)
{
    struct world w;
    struct find find, name;
    struct endpoint address;
    world_start(&w, false);
    name = (struct find){.op.done = on_done};
    CHECK(endpoint_parse(SLICE("198.51.100.1:25"), &address));
    CHECK_EQ("start", start_route(&w, &find, "silent.test"), 0);
    CHECK_EQ("start", ptr_find(w.resolver, &address, &name.ptr, &name.op, &name.ptr_lookup), 0);
    resolver_stop(w.resolver);
    CHECK(support_run_until(w.loop, &find.done, 1));
    CHECK(support_run_until(w.loop, &name.done, 1));
    CHECK_EQ("route", find.op.result, -ERR_CANCELED);
    CHECK_EQ("ptr", name.op.result, -ERR_CANCELED);
    world_end(&w);
}

TEST(look_ups_have_a_limit)
{
    struct world w;
    static struct find finds[RESOLVER_LOOKUPS_MAX + 1];
    world_start(&w, false);
    for (size_t i = 0; i < RESOLVER_LOOKUPS_MAX; i++)
        CHECK_EQ("start", start_route(&w, &finds[i], "two.test"), 0);
    CHECK_EQ("one more", start_route(&w, &finds[RESOLVER_LOOKUPS_MAX], "two.test"), -ERR_MEMORY);
    for (size_t i = 0; i < RESOLVER_LOOKUPS_MAX; i++) {
        CHECK(support_run_until(w.loop, &finds[i].done, 1));
        CHECK_EQ("status", finds[i].route.status, ROUTE_FOUND);
    }
    CHECK_EQ("again", route(&w, &finds[0], "two.test")->status, ROUTE_FOUND);
    world_end(&w);
}

TEST(a_name_counts_only_when_it_leads_back)
{
    static const struct {
        const char *address, *name;
        bool is_temporary;
    } cases[] = {
        {"198.51.100.1:25", "a.test", false}, /* the second of two */
        {"198.51.100.2:25", "", false},       /* a.test is elsewhere */
        {"198.51.100.3:25", "", false},       /* no names of hosts */
        {"198.51.100.4:25", "", true},        /* SERVFAIL */
        {"198.51.100.5:25", "c.test", false}, /* the other one's servers are ill */
        {"198.51.100.9:25", "", false},       /* no PTR */
        {"[2001:db8::1]:25", "a.test", false},
    };
    struct world w;
    world_start(&w, false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoint address;
        struct find find = {.op.done = on_done};
        CHECK(endpoint_parse(slice_of_cstr(cases[i].address), &address));
        CHECK_EQ("start", ptr_find(w.resolver, &address, &find.ptr, &find.op, &find.ptr_lookup), 0);
        CHECK_EQ("nothing comes inside the call", find.done, 0);
        CHECK(support_run_until(w.loop, &find.done, 1));
        CHECK_SLICE(cases[i].address, slice_of(find.ptr.name, find.ptr.len), cases[i].name);
        CHECK_EQ(cases[i].address, find.ptr.is_temporary, cases[i].is_temporary);
    }
    world_end(&w);
}

/* Its host alone is passed over, and it is not taken for us, whose worse ones would be too. */
TEST(loopback_is_refused_like_any_private_address)
{
    static const struct fake_rule looped[] = {
        {.name = "loop.test",
         .type = ANSWER_MX,
         .records = {{NULL, ANSWER_MX, 1, "l.test"}, {NULL, ANSWER_MX, 2, "a.test"}}},
        HOST("l.test", "127.0.0.1"),
        HOST("a.test", "198.51.100.1"),
    };
    struct world w;
    struct find find;
    world_start(&w, false);
    w.fake.rules = looped; /* nothing has been asked yet */
    w.fake.rule_count = ARRAY_LEN(looped);
    CHECK_EQ("loop.test", route(&w, &find, "loop.test")->status, ROUTE_FOUND);
    CHECK_EQ("l.test", route(&w, &find, "l.test")->status, ROUTE_NO_ADDRESS);
    world_end(&w);
}
