/* Values from the environment and from flags: they go through the same schema as the file. */
#include "tests/unit/server_config/config_support.h"

#include <unistd.h>

#define VARIABLES_MAX 6

TEST(variables_are_laid_over_the_file)
{
    static char *const environment[] = {
        "PATH=/bin",
        "POSTERN_PORT=tcp://10.0.0.1:25", /* Kubernetes' own: one underscore */
        "POSTERN__LISTENERS__MX_1__LIMITS__RECIPIENTS=10",
        "POSTERN__LISTENERS__2__ADDRESS=127.0.0.1:2600, [::1]:2600",
        "POSTERN__LOG__LEVEL=debug",
        "POSTERN__NODE__DRAIN_DELAY=5s",
        "POSTERN__ROUTES__ROUTE_1__ACTION__SMTP__HOSTS=192.0.2.7:26",
        "POSTERN__ROUTES__relay__MATCH__DOMAIN=a.test,B.test",
        "POSTERN__ADMIN__ADDRESS=unix:/run/postern/admin",
        NULL,
    };
    struct config *c = parse_good("environment",
                                  "listeners:\n"
                                  "  - { name: mx-1, address: [\"127.0.0.1:1\"] }\n"
                                  "  - { name: other, address: [\"127.0.0.1:2\"] }\n"
                                  "routes:\n"
                                  "  - { match: { domain: [x.test] }, action: { smtp: { hosts: "
                                  "[192.0.2.1] } } }\n"
                                  "  - { name: relay, match: { domain: [y.test] }, action: { "
                                  "discard: } }\n"
                                  "log: { level: error }\n",
                                  environment);
    if (c == NULL) return;
    CHECK_EQ("replaced by name", c->listeners[0].limits.recipients, 10);
    CHECK_EQ("the other keeps its own", c->listeners[1].limits.recipients, 1000);
    CHECK_EQ("by number", c->listeners[1].address_count, 2);
    CHECK_EQ("by number", endpoint_port(&c->listeners[1].addresses[1]), 2600);
    CHECK_EQ("over the file", c->log.level, LOG_DEBUG);
    CHECK_EQ("a new section", c->drain_delay_ms, 5000);
    CHECK_EQ("a route by its made-up name", endpoint_port(&c->routes[0].hosts[0].endpoint), 26);
    CHECK_EQ("list", c->routes[1].domains.count, 2);
    CHECK_SLICE("lower case", slice_of_cstr(c->routes[1].domains.entries[1]), "b.test");
    CHECK_EQ("admin", c->admin.unix_path_count, 1);
    CHECK_EQ("admin", c->admin.address_count, 0);
    config_free(c);
}

TEST(bad_variables_are_named)
{
    static const struct {
        const char *name;
        char *variables[VARIABLES_MAX];
        const char *want;
    } cases[] = {
        {"unknown",
         {"POSTERN__NOD__CORES=1"},
         "environment: POSTERN__NOD__CORES: unknown key 'NOD' (did you mean 'node'?)\n"},
        {"unknown in a section",
         {"POSTERN__NODE__CPUS=1"},
         "environment: POSTERN__NODE__CPUS: unknown key 'CPUS'\n"},
        {"a password for nobody",
         {"POSTERN__ROUTES__1__ACTION__SMTP__PASSWORD=p"},
         "environment: POSTERN__ROUTES__1__ACTION__SMTP__PASSWORD: 'hosts' is missing\n"
         "environment: POSTERN__ROUTES__1__ACTION__SMTP__PASSWORD: a route has one action: 'smtp' "
         "beside 'discard' is one too many\n"},
        {"a section",
         {"POSTERN__NODE=1"},
         "environment: POSTERN__NODE: 'node' is not a value: name a key in it\n"},
        {"an entry",
         {"POSTERN__LISTENERS__MX=1"},
         "environment: POSTERN__LISTENERS__MX: 'listeners' is not a value: name a key in it\n"},
        {"below a value",
         {"POSTERN__NODE__CORES__X=1"},
         "environment: POSTERN__NODE__CORES__X: 'cores' is a value: there is no 'X' in it\n"},
        {"no such entry",
         {"POSTERN__LISTENERS__MY__SERVICE=mx"},
         "environment: POSTERN__LISTENERS__MY__SERVICE: no entry of 'listeners' is named 'MY' "
         "(there are: mx)\n"},
        {"no such route",
         {"POSTERN__ROUTES__2__NAME=x"},
         "environment: POSTERN__ROUTES__2__NAME: no entry of 'routes' is named '2' (there are: "
         "route-1)\n"},
        {"range",
         {"POSTERN__LISTENERS__MX__LIMITS__RECIPIENTS=0"},
         "environment: POSTERN__LISTENERS__MX__LIMITS__RECIPIENTS: 'recipients' must be 1 to "
         "10000, not '0'\n"},
        {"unit",
         {"POSTERN__NODE__MEMORY=64"},
         "environment: POSTERN__NODE__MEMORY: 'memory' needs a unit after '64': one of B, KiB, "
         "MiB, GiB, TiB, KB, MB, GB, TB\n"},
        {"empty",
         {"POSTERN__LOG__LEVEL="},
         "environment: POSTERN__LOG__LEVEL: 'level' has no value\n"},
        {"empty list",
         {"POSTERN__ADMIN__ADDRESS="},
         "environment: POSTERN__ADMIN__ADDRESS: 'address' needs at least one entry\n"},
        {"empty word",
         {"POSTERN__ADMIN__ADDRESS=127.0.0.1:1,,"},
         "environment: POSTERN__ADMIN__ADDRESS: an entry of 'address' must be one word\n"},
        {"list file",
         {"POSTERN__ROUTES__1__MATCH__DOMAIN__FILE=not-there"},
         "environment: POSTERN__ROUTES__1__MATCH__DOMAIN__FILE: cannot read 'not-there': No such "
         "file or directory\n"},
        {"too deep",
         {"POSTERN__A__B__C__D__E__F__G__H__I=1"},
         "environment: POSTERN__A__B__C__D__E__F__G__H__I: unknown key: no key has so many "
         "parts\n"},
        {"prefix alone", {"POSTERN__=1"}, "environment: POSTERN__: unknown key ''\n"},
        {"by name, after the file",
         {"POSTERN__ZZ=1", "POSTERN__AA=1"},
         "environment: POSTERN__AA: unknown key 'AA'\n"
         "environment: POSTERN__ZZ: unknown key 'ZZ'\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_problems(cases[i].name, GOOD, cases[i].variables, cases[i].want);
    }
    static char *const both[] = {"POSTERN__AA=1", NULL};
    check_problems("the file first", GOOD "zz: 1\n", both,
                   "t.yaml:7:1: unknown key 'zz'\n"
                   "environment: POSTERN__AA: unknown key 'AA'\n");
}

static char *load_with_flags(char *const *flags, struct config **config_out)
{
    static char *const environment[] = {"POSTERN__NODE__DRAIN_DELAY=5s", "POSTERN__LOG__LEVEL=warn",
                                        NULL};
    char path[] = "/tmp/overlay_test.XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, GOOD, strlen(GOOD)) == (ssize_t)strlen(GOOD));
    close(fd);
    struct config_problems problems;
    int err = config_load_with_flags(path, environment, flags, config_out, &problems);
    CHECK_EQ("result", err == 0, problems.count == 0);
    char *text = problems_text(&problems);
    config_problems_free(&problems);
    unlink(path);
    return text;
}

TEST(flags_are_laid_over_the_environment)
{
    static char *const flags[] = {"log.level=debug", "listeners.mx.limits.recipients=7",
                                  "listeners[mx].limits.errors=8", "routes[1].match.domain=a.test",
                                  NULL};
    struct config *c;
    char *problems = load_with_flags(flags, &c);
    CHECK_SLICE("problems", slice_of_cstr(problems), "");
    free(problems);
    if (c == NULL) return;
    CHECK_EQ("flag", c->log.level, LOG_DEBUG);
    CHECK_EQ("environment", c->drain_delay_ms, 5000);
    CHECK_EQ("dots", c->listeners[0].limits.recipients, 7);
    CHECK_EQ("brackets", c->listeners[0].limits.errors, 8);
    CHECK_SLICE("list", slice_of_cstr(c->routes[0].domains.entries[0]), "a.test");
    config_free(c);
}

TEST(bad_flags_are_named_in_their_order)
{
    static char *const flags[] = {"node.memory=1MiB", "cores", "node.coers=1", "listeners[mx=1",
                                  NULL};
    struct config *c;
    char *problems = load_with_flags(flags, &c);
    CHECK(c == NULL);
    CHECK_SLICE("problems", slice_of_cstr(problems),
                "--set node.memory: 'memory' must be 16MiB to 64GiB, not '1MiB'\n"
                "--set cores: write it as KEY=VALUE, such as node.cores=1\n"
                "--set node.coers: unknown key 'coers' (did you mean 'cores'?)\n"
                "--set listeners[mx: 'listeners' is not a value: name a key in it\n");
    free(problems);
    config_free(c);
}
