#include "server/policy/routing.h"
#include "tests/support/test.h"

#define LIST(...)                                                                                  \
    {                                                                                              \
        .entries = (char *[]){__VA_ARGS__},                                                        \
        .count = sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)                                  \
    }

static char hostname[] = "MX.example.test";

static struct config config_of(struct config_route *routes, size_t count)
{
    struct config config = {.routes = routes, .route_count = count};
    config.node.hostname = hostname;
    return config;
}

TEST(routing_find_takes_the_first_route_that_matches)
{
    struct config_route routes[] = {
        {.name = "people", .recipients = LIST("ann@a.test", "postmaster@mx.example.test")},
        {.name = "a", .domains = LIST("a.test", "b.test")},
        {.name = "below-c", .domains = LIST("*.c.test", "*.deep.er.c.test")},
        {.name = "late",
         .domains = LIST("a.test", "x.c.test", "c.test"),
         .recipients = LIST("bob@a.test", "bob@d.test", "\"q r\"@d.test")},
        {.name = "literal", .domains = LIST("[192.0.2.1]")},
    };
    static const struct {
        const char *address, *want;
    } cases[] = {
        {"ann@a.test", "people"},
        {"Ann@A.Test", "people"},
        {"ann@a.test.", "people"},
        {"ann2@a.test", "a"},
        {"bob@a.test", "a"}, /* an earlier domain wins over a later recipient */
        {"bob@d.test", "late"},
        {"\"Q r\"@d.test", "late"},
        {"bob2@d.test", NULL},
        {"u@B.TEST", "a"},
        {"u@sub.a.test", NULL},
        {"u@c.test", "late"}, /* "*." asks for at least one label more */
        {"u@x.c.test", "below-c"},
        {"u@X.Y.z.C.test", "below-c"},
        {"u@very.deep.er.c.test", "below-c"},
        {"u@xc.test", NULL},
        {"u@test", NULL},
        {"\"ann@a.test\"@other.test", NULL},
        {"\"u@other.test\"@a.test", "a"},
        {"ann%a.test@other.test", NULL},
        {"Postmaster", "people"},
        {"postmaster@mx.example.test", "people"},
        {"u@[192.0.2.1]", "literal"},
        {"u@[192.0.2.2]", NULL},
        {"", NULL},
        {"u@", NULL},
        {"@", NULL},
        {"@.", NULL},
    };
    struct config config = config_of(routes, ARRAY_LEN(routes));
    struct routing *routing = routing_create(&config);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct config_route *got =
            routing_find(routing, slice_of_cstr(cases[i].address), false);
        CHECK_SLICE(cases[i].address, slice_of_cstr(got == NULL ? "none" : got->name),
                    cases[i].want == NULL ? "none" : cases[i].want);
    }
    routing_destroy(routing);
}

TEST(routing_find_knows_the_route_for_all)
{
    struct config_route routes[] = {
        {.name = "a", .domains = LIST("a.test")},
        {.name = "all", .domains = LIST("*")},
        {.name = "never", .domains = LIST("b.test", "*"), .recipients = LIST("u@c.test")},
    };
    struct config config = config_of(routes, ARRAY_LEN(routes));
    struct routing *routing = routing_create(&config);
    static const char *const all[] = {"u@b.test", "u@c.test", "u@x", "postmaster"};
    CHECK_SLICE("a", slice_of_cstr(routing_find(routing, SLICE("u@a.test"), false)->name), "a");
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const struct config_route *got = routing_find(routing, slice_of_cstr(all[i]), false);
        CHECK_SLICE(all[i], slice_of_cstr(got == NULL ? "none" : got->name), "all");
    }
    /* "*" is every domain name; an address literal is none. */
    CHECK(routing_find(routing, SLICE("u@[127.0.0.1]"), false) == NULL);
    routing_destroy(routing);
}

TEST(routing_find_takes_postmaster_as_at_the_hostname)
{
    struct config_route routes[] = {
        {.name = "bare", .recipients = LIST("postmaster")},
        {.name = "host", .domains = LIST("mx.example.test")},
    };
    struct config config = config_of(routes, ARRAY_LEN(routes));
    struct routing *routing = routing_create(&config);
    CHECK(routing_find(routing, SLICE("PostMaster"), false) == &routes[0]);
    CHECK(routing_find(routing, SLICE("postmaster@mx.example.test"), false) == &routes[0]);
    CHECK(routing_find(routing, SLICE("other@mx.example.test"), false) == &routes[1]);
    routing_destroy(routing);
}

/* Both spellings of a domain are the same domain, on either side. */
TEST(routing_find_compares_domains_as_a_labels)
{
    struct config_route routes[] = {
        {.name = "u",
         .domains = LIST("b\xc3\xbc"
                         "cher.test",
                         "*.\xe4\xbe\x8b\xe3\x81\x88.test")},
        {.name = "a", .domains = LIST("xn--caf-dma.test", "*.xn--p1ai")},
        {.name = "people",
         .recipients = LIST("\xc3\xa4nn@stra\xc3\x9f"
                            "e.test",
                            "ann@xn--strae-oqa.test")},
    };
    static const struct {
        const char *address, *want;
    } cases[] = {
        {"u@b\xc3\xbc"
         "cher.test",
         "u"},
        {"u@B\xc3\xbc"
         "CHER.Test.",
         "u"},
        {"u@bu\xcc\x88"
         "cher.test",
         "u"}, /* NFD */
        {"u@xn--bcher-kva.test", "u"},
        {"u@XN--BCHER-KVA.TEST", "u"},
        {"u@bucher.test", "none"},
        {"u@x.\xe4\xbe\x8b\xe3\x81\x88.test", "u"},
        {"u@x.xn--r8jz45g.test", "u"},
        {"u@\xe4\xbe\x8b\xe3\x81\x88.test", "none"},
        {"u@caf\xc3\xa9.test", "a"},
        {"u@b\xc3\xbc"
         "cher.\xd1\x80\xd1\x84",
         "a"},
        {"\xc3\xa4nn@xn--strae-oqa.test", "people"},
        {"\xc3\xa4NN@stra\xc3\x9f"
         "e.test",
         "people"},
        {"\xc3\x84nn@stra\xc3\x9f"
         "e.test",
         "none"}, /* local parts: the case of ASCII only */
        {"a\xcc\x88nn@stra\xc3\x9f"
         "e.test",
         "none"}, /* and NFC is not NFD */
        {"ann@stra\xc3\x9f"
         "e.test",
         "people"},
        {"u@b\xc3\xbc"
         "cher\xef\xbc\x8etest",
         "none"}, /* U+FF0E is no dot */
        {"u@\xff.test", "none"},
    };
    struct config config = config_of(routes, ARRAY_LEN(routes));
    struct routing *routing = routing_create(&config);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct config_route *got =
            routing_find(routing, slice_of_cstr(cases[i].address), false);
        CHECK_SLICE(cases[i].address, slice_of_cstr(got == NULL ? "none" : got->name),
                    cases[i].want);
    }
    routing_destroy(routing);
}

TEST(routing_find_passes_over_routes_for_authenticated_clients)
{
    struct config_route routes[] = {
        {.name = "inside", .domains = LIST("a.test", "*.b.test"), .is_authenticated = true},
        {.name = "open", .domains = LIST("a.test", "x.b.test", "c.test")},
        {.name = "late", .domains = LIST("c.test", "d.test"), .is_authenticated = true},
        {.name = "box", .recipients = LIST("u@e.test"), .is_authenticated = true},
        {.name = "anywhere", .is_authenticated = true},
        {.name = "all", .domains = LIST("*.test")},
        {.name = "never", .domains = LIST("e.test", "u.v"), .is_authenticated = true},
    };
    static const struct {
        const char *address, *open, *authenticated;
    } cases[] = {
        {"u@a.test", "open", "inside"},  {"u@x.b.test", "open", "inside"},
        {"u@y.b.test", "all", "inside"}, {"u@c.test", "open", "open"},
        {"u@d.test", "all", "late"},     {"u@e.test", "all", "box"},
        {"v@e.test", "all", "anywhere"}, {"u@u.v", "none", "anywhere"},
        {"u@other", "none", "anywhere"}, {"u@[192.0.2.1]", "none", "none"},
    };
    struct config config = config_of(routes, ARRAY_LEN(routes));
    struct routing *routing = routing_create(&config);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int is_authenticated = 0; is_authenticated < 2; is_authenticated++) {
            const struct config_route *got =
                routing_find(routing, slice_of_cstr(cases[i].address), is_authenticated != 0);
            CHECK_SLICE(cases[i].address, slice_of_cstr(got == NULL ? "none" : got->name),
                        is_authenticated != 0 ? cases[i].authenticated : cases[i].open);
        }
    }
    routing_destroy(routing);
}

TEST(routing_find_without_routes)
{
    struct config config = config_of(NULL, 0);
    struct routing *routing = routing_create(&config);
    CHECK(routing_find(routing, SLICE("u@a.test"), false) == NULL);
    routing_destroy(routing);
    routing_destroy(NULL);
}

TEST(routing_find_refuses_what_no_parser_lets_through)
{
    struct config_route routes[] = {{.name = "all", .domains = LIST("*")}};
    struct config config = config_of(routes, ARRAY_LEN(routes));
    struct routing *routing = routing_create(&config);
    static char address[100000];
    memset(address, '.', sizeof(address));
    CHECK(routing_find(routing, slice_of(address, sizeof(address)), false) == NULL);
    address[0] = 'u';
    address[1] = '@';
    CHECK(routing_find(routing, slice_of(address, sizeof(address)), false) == NULL);
    /* 321 bytes, and a trailing dot that does not count. */
    CHECK(routing_find(routing, slice_of(address, 323), false) == NULL);
    CHECK(routing_find(routing, slice_of(address, 322), false) == &routes[0]);
    routing_destroy(routing);
}

/* Lists of a whole customer base: each entry is found, and only by its own name. */
TEST(routing_find_in_long_lists)
{
    enum { COUNT = 100000 };
    static char text[3][COUNT][32];
    static char *entries[3][COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(text[0][i], sizeof(text[0][i]), "user%zu@people.test", i);
        snprintf(text[1][i], sizeof(text[1][i]), "domain%zu.test", i);
        snprintf(text[2][i], sizeof(text[2][i]), "*.below%zu.test", i);
        for (size_t k = 0; k < 3; k++) {
            entries[k][i] = text[k][i];
        }
    }
    struct config_route routes[] = {
        {.name = "people", .recipients = {entries[0], COUNT}},
        {.name = "domains", .domains = {entries[1], COUNT}},
        {.name = "below", .domains = {entries[2], COUNT}},
    };
    struct config config = config_of(routes, ARRAY_LEN(routes));
    struct routing *routing = routing_create(&config);
    for (size_t i = 0; i < COUNT; i += 7) {
        char address[64];
        snprintf(address, sizeof(address), "u@%s", text[1][i]);
        CHECK(routing_find(routing, slice_of_cstr(text[0][i]), false) == &routes[0]);
        CHECK(routing_find(routing, slice_of_cstr(address), false) == &routes[1]);
        snprintf(address, sizeof(address), "u@a.b%s", text[2][i] + 1);
        CHECK(routing_find(routing, slice_of_cstr(address), false) == &routes[2]);
    }
    CHECK(routing_find(routing, SLICE("user100000@people.test"), false) == NULL);
    routing_destroy(routing);
}
