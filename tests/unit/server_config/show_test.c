/* The effective values with their origins, what a reload can change, and the examples. */
#include "tests/unit/server_config/config_support.h"

#include <libgen.h>

static char *show(const struct config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    config_show(config, out);
    fclose(out);
    return text;
}

TEST(every_value_is_shown_with_its_origin)
{
    static char *const environment[] = {"POSTERN__LISTENERS__MX__LIMITS__RECIPIENTS=10", NULL};
    struct config *c = parse_good("show",
                                  "node: { hostname: mx1.test, cores: 1 }\n" GOOD_LISTENERS
                                  "    limits: { message_size: 1024KiB }\n"
                                  "routes:\n"
                                  "  - match: { domain: [a.test, \"*\"] }\n"
                                  "    action: { smtp: { hosts: [192.0.2.1] } }\n"
                                  "  - { name: last, match: { recipient: [a@b.test] }, action: { "
                                  "reject: 550 5.1.1 No } }\n"
                                  "delivery: { retry: { factor: 1.50, max: 120s } }\n"
                                  "spool: { min_free: 1GiB }\n",
                                  environment);
    if (c == NULL) return;
    char *got = show(c);
    static const char want[] =
        "node.hostname: mx1.test                                       # t.yaml:1:19\n"
        "node.cores: 1                                                 # t.yaml:1:36\n"
        "node.memory: 64MiB                                            # default\n"
        "node.drain_delay: 0ms                                         # default\n"
        "node.drain_timeout: 30s                                       # default\n"
        "node.tls_ticket_rotation: 8h                                  # default\n"
        "spool.path: /var/lib/postern                                  # default\n"
        "spool.min_free: 1GiB                                          # t.yaml:11:20\n"
        "listeners[mx].name: mx                                        # t.yaml:3:11\n"
        "listeners[mx].address: [127.0.0.1:2525]                       # t.yaml:4:14\n"
        "listeners[mx].service: mx                                     # default\n"
        "listeners[mx].bare_newline: reject                            # default\n"
        "listeners[mx].limits.connections: 50000                       # default\n"
        "listeners[mx].limits.connections_per_client: 1000             # default\n"
        "listeners[mx].limits.message_size: 1MiB                       # t.yaml:5:29\n"
        "listeners[mx].limits.recipients: 10                           # environment "
        "POSTERN__LISTENERS__MX__LIMITS__RECIPIENTS\n"
        "listeners[mx].limits.recipient_domains: 0                     # default\n"
        "listeners[mx].limits.handshakes: 1000                         # default\n"
        "listeners[mx].limits.auth_failures: 5                         # default\n"
        "listeners[mx].limits.errors: 20                               # default\n"
        "listeners[mx].limits.junk_commands: 100                       # default\n"
        "listeners[mx].limits.messages: 0                              # default\n"
        "listeners[mx].limits.data_rate_min: 500B                      # default\n"
        "listeners[mx].timeouts.command: 5m                            # default\n"
        "listeners[mx].timeouts.data: 5m                               # default\n"
        "listeners[mx].timeouts.session: 0ms                           # default\n"
        "listeners[mx].timeouts.handshake: 30s                         # default\n"
        "listeners[mx].greeting_delay: 0ms                             # default\n"
        "listeners[mx].verify_sender_domain: false                     # default\n"
        "routes[route-1].name: route-1                                 # default\n"
        "routes[route-1].match.domain: [a.test, *]                     # t.yaml:7:22\n"
        "routes[route-1].match.authenticated: false                    # default\n"
        "routes[route-1].action.smtp.hosts: [192.0.2.1:25]             # t.yaml:8:30\n"
        "routes[route-1].action.smtp.tls: may                          # default\n"
        "routes[route-1].action.smtp.implicit_tls: false               # default\n"
        "routes[route-1].action.smtp.mechanisms: [SCRAM-SHA-256, CRAM-MD5, PLAIN, LOGIN]  # "
        "default\n"
        "routes[route-1].action.smtp.allow_plaintext_auth: false       # default\n"
        "routes[last].name: last                                       # t.yaml:9:13\n"
        "routes[last].match.recipient: [a@b.test]                      # t.yaml:9:39\n"
        "routes[last].match.authenticated: false                       # default\n"
        "routes[last].action.reject: 550 5.1.1 No                      # t.yaml:9:71\n"
        "delivery.retry.first: 1m                                      # default\n"
        "delivery.retry.factor: 1.50                                   # t.yaml:10:30\n"
        "delivery.retry.max: 2m                                        # t.yaml:10:41\n"
        "delivery.retry.jitter: 10%                                    # default\n"
        "delivery.retry.expire: 5d                                     # default\n"
        "delivery.retry.warn_after: 4h                                 # default\n"
        "delivery.per_destination.connections: 20                      # default\n"
        "delivery.per_destination.messages_per_connection: 1000        # default\n"
        "delivery.per_destination.rate: 0                              # default\n"
        "delivery.per_destination.idle: 10s                            # default\n"
        "delivery.bounces.per_minute: 60                               # default\n"
        "delivery.bounces.message_size: 50KiB                          # default\n"
        "delivery.timeouts.connect: 30s                                # default\n"
        "delivery.timeouts.greeting: 5m                                # default\n"
        "delivery.timeouts.command: 5m                                 # default\n"
        "delivery.timeouts.data_init: 2m                               # default\n"
        "delivery.timeouts.data_block: 3m                              # default\n"
        "delivery.timeouts.data_end: 10m                               # default\n"
        "resolver.trust_ad: false                                      # default\n"
        "resolver.timeout: 5s                                          # default\n"
        "resolver.tries: 2                                             # default\n"
        "admin.address: [127.0.0.1:8025]                               # default\n"
        "log.format: auto                                              # default\n"
        "log.level: info                                               # default\n";
    CHECK_SLICE("show", slice_of_cstr(got), want);
    free(got);
    config_free(c);
}

TEST(a_reload_says_what_it_cannot_change)
{
    static const char base[] = "node: { hostname: a.test, cores: 1 }\n" GOOD;
    static const struct {
        const char *name, *text, *want; /* NULL: it can be put in place */
    } cases[] = {
        {"the same", base, NULL},
        {"service, TLS, AUTH and the PROXY protocol",
         "node: { hostname: a.test, cores: 1, tls_ticket_rotation: 1h }\n" GOOD_LISTENERS
         "    service: submission\n"
         "    tls: { mode: implicit, certificates: [{ certificate: /etc/passwd }] }\n"
         "    auth: { users: /etc/passwd }\n"
         "    proxy_protocol: { from: [127.0.0.1] }\n" GOOD_ROUTES,
         NULL},
        {"level", "node: { hostname: a.test, cores: 1 }\n" GOOD "log: { level: debug }\n", NULL},
        {"hostname", "node: { hostname: b.test, cores: 1 }\n" GOOD, NULL},
        {"the same in other words", "node: { hostname: a.test, cores: 1, memory: 65536KiB }\n" GOOD,
         NULL},
        {"routes",
         "node: { hostname: a.test, cores: 1 }\n" GOOD_LISTENERS
         "routes: [{ match: { domain: [b.test] }, action: { discard: } }]\n",
         NULL},
        {"memory", "node: { hostname: a.test, cores: 1, memory: 32MiB }\n" GOOD, "node.memory"},
        {"spool", "node: { hostname: a.test, cores: 1 }\n" GOOD "spool: { path: /other }\n",
         "spool.path"},
        {"address",
         "node: { hostname: a.test, cores: 1 }\n"
         "listeners: [{ name: mx, address: [\"127.0.0.1:2526\"] }]\n" GOOD_ROUTES,
         "listeners[mx].address"},
        {"name",
         "node: { hostname: a.test, cores: 1 }\n"
         "listeners: [{ name: my, address: [\"127.0.0.1:2525\"] }]\n" GOOD_ROUTES,
         "listeners[my].address"},
        {"one more",
         "node: { hostname: a.test, cores: 1 }\n" GOOD_LISTENERS
         "  - { name: b, address: [\"127.0.0.1:1\"] }\n" GOOD_ROUTES,
         "listeners[b].address"},
        {"admin",
         "node: { hostname: a.test, cores: 1 }\n" GOOD "admin: { address: [\"127.0.0.1:1\"] }\n",
         "admin.address"},
    };
    struct config *now = parse_good("now", base, NULL);
    if (now == NULL) return;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *next = parse_good(cases[i].name, cases[i].text, NULL);
        if (next == NULL) continue;
        const char *got = config_needs_restart(now, next);
        CHECK_SLICE(cases[i].name, slice_of_cstr(got != NULL ? got : "nothing"),
                    cases[i].want != NULL ? cases[i].want : "nothing");
        if (strcmp(cases[i].name, "one more") == 0) {
            CHECK(config_needs_restart(next, now) != NULL); /* removed */
        }
        config_free(next);
    }
    config_free(now);
}

TEST(the_example_is_fine)
{
    char path[4096], here[] = __FILE__;
    snprintf(path, sizeof(path), "%s/../../../deploy/postern.yaml", dirname(here));
    struct config *config;
    struct config_problems problems;
    CHECK_EQ("loads", config_load(path, NULL, &config, &problems), 0);
    char *got = problems_text(&problems);
    CHECK_SLICE("problems", slice_of_cstr(got), "");
    CHECK(config != NULL && config->route_count == 4 && config->listener_count == 1);
    free(got);
    config_problems_free(&problems);
    config_free(config);
}

/* The whole design in one file: what is not built or not there is named, each once, and nothing
 * else. */
TEST(the_whole_gateway_needs_nothing_but_its_files)
{
    static const char gateway[] =
        "node:\n"
        "  hostname: mx1.example.test\n"
        "  cores: auto\n"
        "spool:\n"
        "  path: var/spool\n"
        "  min_free: 5%\n"
        "listeners:\n"
        "  - name: mx\n"
        "    address: [\"127.0.0.1:2525\", \"[::1]:2525\"]\n"
        "    service: mx\n"
        "    tls: { mode: starttls, certificates: [{ certificate: tls/mx1.pem, key: tls/mx1.key }] "
        "}\n"
        "    limits: { connections: 50000, connections_per_client: 1000, message_size: 50MiB, "
        "recipients: 1000 }\n"
        "  - name: mx-behind-balancer\n"
        "    address: [\"127.0.0.1:2526\"]\n"
        "    service: mx\n"
        "    proxy_protocol: { from: [127.0.0.0/8], timeout: 5s }\n"
        "  - name: submission\n"
        "    address: [\"127.0.0.1:2587\"]\n"
        "    service: submission\n"
        "    tls: { mode: starttls, certificates: [{ certificate: tls/mx1.pem, key: tls/mx1.key }] "
        "}\n"
        "    auth: { users: users.txt, mechanisms: [PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256] }\n"
        "  - name: submissions\n"
        "    address: [\"127.0.0.1:2465\"]\n"
        "    service: submission\n"
        "    tls: { mode: implicit, certificates: [{ certificate: tls/mx1.pem, key: tls/mx1.key }] "
        "}\n"
        "    auth: { users: users.txt, mechanisms: [PLAIN, LOGIN, SCRAM-SHA-256] }\n"
        "routes:\n"
        "  - match: { recipient: [spamtrap@bench.test] }\n"
        "    action: { discard: {} }\n"
        "  - match: { recipient: [nobody@bench.test] }\n"
        "    action: { reject: \"550 5.1.1 No such recipient here\" }\n"
        "  - match: { domain: [bench.test] }\n"
        "    action: { smtp: { hosts: [\"127.0.0.1:2599\"], tls: may } }\n"
        "  - match: { domain: [auth.test] }\n"
        "    action: { smtp: { hosts: [\"127.0.0.1:2598\"], tls: require, username: relay, "
        "password_file: relay.secret } }\n"
        "  - match: { domain: [store.test] }\n"
        "    action: { lmtp: { hosts: [\"127.0.0.1:2424\"] } }\n"
        "  - match: { domain: [box.test] }\n"
        "    action: { maildir: { path: \"var/mail/{domain}/{local}\" } }\n"
        "  - match: { authenticated: true }\n"
        "    action: { mx: { tls: may } }\n"
        "delivery:\n"
        "  retry: { first: 60s, factor: 2, max: 30m, jitter: 10%, expire: 5d, warn_after: 4h }\n"
        "  per_destination: { connections: 20, messages_per_connection: 1000, idle: 10s }\n"
        "resolver:\n"
        "  servers: [127.0.0.1:5353]\n"
        "admin:\n"
        "  address: [\"127.0.0.1:8025\"]\n"
        "log: { format: auto, level: info }\n";
    check_problems(
        "gateway", gateway, NULL,
        "t.yaml:11:58: 'certificate': cannot read 'tls/mx1.pem': No such file or "
        "directory\n"
        "t.yaml:11:76: 'key': cannot read 'tls/mx1.key': No such file or directory\n"
        "t.yaml:20:58: 'certificate': cannot read 'tls/mx1.pem': No such file or "
        "directory\n"
        "t.yaml:20:76: 'key': cannot read 'tls/mx1.key': No such file or directory\n"
        "t.yaml:21:20: 'users': cannot read 'users.txt': No such file or directory\n"
        "t.yaml:25:58: 'certificate': cannot read 'tls/mx1.pem': No such file or "
        "directory\n"
        "t.yaml:25:76: 'key': cannot read 'tls/mx1.key': No such file or directory\n"
        "t.yaml:26:20: 'users': cannot read 'users.txt': No such file or directory\n"
        "t.yaml:35:96: 'password_file': cannot use 'relay.secret': No such file or directory\n");
}
