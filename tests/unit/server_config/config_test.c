/* What is wrong with a configuration: each mistake, and all of them at once, in their order. */
#include "server/config/document.h"
#include "tests/unit/server_config/config_support.h"

#include <libgen.h>
#include <unistd.h>

TEST(each_mistake_has_its_line)
{
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"fine", GOOD, ""},
        {"empty", "", "t.yaml:1:1: 'listeners' is missing\nt.yaml:1:1: 'routes' is missing\n"},
        {"only a comment", "# nothing\n",
         "t.yaml:1:1: 'listeners' is missing\nt.yaml:1:1: 'routes' is missing\n"},
        {"not a mapping", "- a\n",
         "t.yaml:1:1: a configuration is made of sections: node, spool, listeners, routes, "
         "delivery, admin, log\n"},

        /* keys */
        {"unknown key with a suggestion", GOOD "nod: {}\n",
         "t.yaml:7:1: unknown key 'nod' (did you mean 'node'?)\n"},
        {"unknown key without one", GOOD "banana: 1\n", "t.yaml:7:1: unknown key 'banana'\n"},
        {"unknown key in a section", GOOD "node: {\n  coers: 1}\n",
         "t.yaml:8:3: unknown key 'coers' (did you mean 'cores'?)\n"},
        {"key in capitals", GOOD "Node: {}\n",
         "t.yaml:7:1: unknown key 'Node' (did you mean 'node'?)\n"},
        {"duplicate", GOOD "log: {}\nlog: { level: nonsense }\n",
         "t.yaml:8:1: 'log' is given twice: the first is in line 7\n"},
        {"a list as key", GOOD "[a]: b\n", "t.yaml:7:1: a key must be a single word\n"},
        {"resolver", GOOD "resolver: { servers: [\"127.0.0.1:53\", 192.0.2.1, \"[::1]:5353\"] }\n",
         ""},
        {"name servers", GOOD "resolver: { servers: [ns.test, \"127.0.0.1:0\"] }\n",
         "t.yaml:7:23: 'servers' must be IP addresses of name servers, with a port or without, "
         "such "
         "as 127.0.0.1:53, not 'ns.test'\n"
         "t.yaml:7:32: 'servers' must be IP addresses of name servers, with a port or without, "
         "such "
         "as 127.0.0.1:53, not '127.0.0.1:0'\n"},
        {"tries", GOOD "resolver: { tries: 0, timeout: 1ms, trust_ad: yes }\n",
         "t.yaml:7:20: 'tries' must be 1 to 10, not '0'\n"
         "t.yaml:7:32: 'timeout' must be 100ms to 1m, not '1ms'\n"
         "t.yaml:7:47: 'trust_ad' must be true or false, not 'yes'\n"},
        {"warn_after", GOOD "delivery: { retry: { warn_after: 4h } }\n", ""},
        {"warn_after, too late", GOOD "delivery: { retry: { warn_after: 4h, expire: 4h } }\n",
         "t.yaml:7:34: 'warn_after' must be shorter than 'expire' (0s: no warning)\n"},
        {"bounces", GOOD "delivery: { bounces: { per_minute: 0, message_size: 1MiB } }\n", ""},

        /* types */
        {"list for a value", GOOD "node: { cores: [1] }\n",
         "t.yaml:7:16: 'cores' must be a single value, not a list\n"},
        {"section for a value", GOOD "node: { cores: {a: 1} }\n",
         "t.yaml:7:16: 'cores' must be a single value, not a section\n"},
        {"value for a section", GOOD "node: fast\n",
         "t.yaml:7:7: 'node' must be a section of 'key: value'\n"},
        {"an empty section is one", GOOD "node:\n", ""},
        {"no value", GOOD "log:\n  level:\n", "t.yaml:8:9: 'level' has no value\n"},
        {"null", GOOD "log: { level: ~ }\n", "t.yaml:7:15: 'level' has no value\n"},
        {"value for a list", GOOD "admin: { address: 127.0.0.1:80 }\n",
         "t.yaml:7:19: 'address' must be a list: [one, two]\n"},
        {"empty list", GOOD "admin: { address: [] }\n",
         "t.yaml:7:19: 'address' needs at least one entry\n"},
        {"list in a list", GOOD "admin: { address: [[]] }\n",
         "t.yaml:7:20: an entry of 'address' must be one word\n"},
        {"listeners as section", "listeners: { mx: 1 }\n" GOOD_ROUTES,
         "t.yaml:1:12: 'listeners' must be a list of at least one section: - name: ...\n"},
        {"listener as word", "listeners: [mx]\n" GOOD_ROUTES,
         "t.yaml:1:13: an entry of 'listeners' must be a section of 'key: value'\n"},
        {"no routes", GOOD_LISTENERS "routes: []\n",
         "t.yaml:4:9: 'routes' must be a list of at least one section: - name: ...\n"},

        /* units and ranges */
        {"no unit: size", GOOD "node: { memory: 64 }\n",
         "t.yaml:7:17: 'memory' needs a unit after '64': one of B, KiB, MiB, GiB, TiB, KB, MB, GB, "
         "TB\n"},
        {"no unit: duration", GOOD "node: { drain_delay: 5 }\n",
         "t.yaml:7:22: 'drain_delay' needs a unit after '5': one of ms, s, m, h, d\n"},
        {"zero needs none", GOOD "node: { drain_delay: 0 }\n", ""},
        {"no unit: percent", GOOD "delivery: { retry: { jitter: 10 } }\n",
         "t.yaml:7:30: 'jitter' needs a unit after '10': one of %\n"},
        {"unknown unit", GOOD "node: { memory: 64mb }\n",
         "t.yaml:7:17: 'memory' has an unknown unit in '64mb': the units are B, KiB, MiB, GiB, "
         "TiB, "
         "KB, MB, GB, TB\n"},
        {"no number", GOOD "node: { memory: much }\n",
         "t.yaml:7:17: 'memory' must be a size such as 50MiB, not 'much'\n"},
        {"below", GOOD "node: { memory: 16383KiB }\n",
         "t.yaml:7:17: 'memory' must be 16MiB to 64GiB, not '16383KiB'\n"},
        {"lowest", GOOD "node: { memory: 16MiB }\n", ""},
        {"highest", GOOD "node: { memory: 64GiB }\n", ""},
        {"above", GOOD "node: { memory: 65GiB }\n",
         "t.yaml:7:17: 'memory' must be 16MiB to 64GiB, not '65GiB'\n"},
        {"above 64 bits", GOOD "node: { memory: 99999999999999999999TiB }\n",
         "t.yaml:7:17: 'memory' must be 16MiB to 64GiB, not '99999999999999999999TiB'\n"},
        {"count with a unit", GOOD "delivery: { per_destination: { connections: 5s } }\n",
         "t.yaml:7:45: 'connections' must be a whole number, not '5s'\n"},
        {"factor", GOOD "delivery: { retry: { factor: 1.555 } }\n",
         "t.yaml:7:30: 'factor' must be a number with at most two decimals, such as 1.5, not "
         "'1.555'\n"},
        {"factor below", GOOD "delivery: { retry: { factor: 0.5 } }\n",
         "t.yaml:7:30: 'factor' must be 1 to 10, not '0.5'\n"},
        {"free space", GOOD "spool: { min_free: 91% }\n",
         "t.yaml:7:20: 'min_free' must be 0% to 90% or 0B to 16TiB, not '91%'\n"},
        {"free space without unit", GOOD "spool: { min_free: 5 }\n",
         "t.yaml:7:20: 'min_free' must be a percentage or a size, such as 5% or 10GiB, not '5'\n"},
        {"cores", GOOD "node: { cores: 0 }\n", "t.yaml:7:16: 'cores' must be 1 to 256, not '0'\n"},
        {"choice", GOOD "log: { level: warning }\n",
         "t.yaml:7:15: 'level' must be one of error, warn, info, debug, not 'warning'\n"},
        {"choice with a typo", GOOD "log: { format: jsno }\n",
         "t.yaml:7:16: 'format' must be one of auto, text, json, not 'jsno' (did you mean "
         "'json'?)\n"},

        /* words */
        {"hostname", GOOD "node: { hostname: mx_1.test }\n",
         "t.yaml:7:19: 'hostname' must be a domain name, not 'mx_1.test'\n"},
        {"listener name", "listeners: [{ name: 1mx, address: [\"127.0.0.1:1\"] }]\n" GOOD_ROUTES,
         "t.yaml:1:21: 'name' must be a letter, then letters, digits, '-' and '_', at most 64, not "
         "'1mx'\n"},
        {"empty path", GOOD "spool: { path: \"\" }\n",
         "t.yaml:7:16: 'path' must be a path of 1 to 4095 bytes\n"},
        {"control bytes are not echoed", GOOD "log: { level: \"a\\e[31m\\n\" }\n",
         "t.yaml:7:15: 'level' must be one of error, warn, info, debug, not 'a?[31m?'\n"},

        /* addresses */
        {"listen at a name", "listeners: [{ name: mx, address: [localhost:25] }]\n" GOOD_ROUTES,
         "t.yaml:1:35: 'address' must be an IP address and a port, such as 0.0.0.0:25 or [::]:25, "
         "not 'localhost:25'\n"},
        {"admin without a path", GOOD "admin: { address: [\"unix:\"] }\n",
         "t.yaml:7:20: 'unix:' needs a path of 1 to 107 bytes\n"},

        /* contradictions */
        {"two listeners, one name",
         GOOD_LISTENERS "  - { name: MX, address: [\"127.0.0.1:2526\"] }\n" GOOD_ROUTES,
         "t.yaml:4:13: the name 'MX' is taken: line 2 has it\n"},
        {"two listeners, one address",
         GOOD_LISTENERS "  - { name: b, address: [\"127.0.0.1:2525\"] }\n" GOOD_ROUTES,
         "t.yaml:4:26: the address '127.0.0.1:2525' is taken: line 3 has it\n"},
        {"port 0 is another each time",
         "listeners: [{ name: a, address: [\"127.0.0.1:0\", \"127.0.0.1:0\"] }]\n" GOOD_ROUTES, ""},
        {"admin at a listener's address", GOOD "admin: { address: [\"127.0.0.1:2525\"] }\n",
         "t.yaml:7:20: the address '127.0.0.1:2525' is taken: line 3 has it\n"},
        {"max below first", GOOD "delivery: { retry: { first: 2h, max: 1h } }\n",
         "t.yaml:7:38: 'max' must not be shorter than 'first'\n"},
        {"first above the default max", GOOD "delivery: { retry: { first: 2h } }\n",
         "t.yaml:7:29: 'max' must not be shorter than 'first'\n"},
        {"expire below first", GOOD "delivery: { retry: { expire: 30s } }\n",
         "t.yaml:7:30: 'expire' must not be shorter than 'first': nothing would be tried again\n"},

        /* YAML */
        {"syntax", GOOD "node: {\n",
         "t.yaml:8:1: not YAML: while parsing a flow node: did not find expected node content\n"},
        {"tab", GOOD "node:\n\tcores: 1\n",
         "t.yaml:8:1: not YAML: while scanning for the next token: found character that cannot "
         "start any token\n"},
        {"not UTF-8", "a: b\nc: \xff\n", "t.yaml:2:4: not YAML: invalid leading UTF-8 octet\n"},
        {"two documents", GOOD "---\na: b\n",
         "t.yaml:8:1: a second document: one file is one configuration\n"},
        {"anchor and alias", GOOD "node: &n { cores: auto }\nlog: *n\n",
         "t.yaml:7:7: anchors (&n) are not read here\n"
         "t.yaml:8:6: aliases (*n) are not read here: write the value out\n"
         "t.yaml:8:6: 'log' must be a section of 'key: value'\n"},
        {"tag", GOOD "node: { hostname: !!str mx.test }\n",
         "t.yaml:7:19: tags (tag:yaml.org,2002:str) are not read here: the schema says what a "
         "value "
         "is\n"},
        {"NUL", GOOD "node: { hostname: \"a.test\\0b\" }\n",
         "t.yaml:7:19: the value holds a NUL byte\n"},
        {"depth", "a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n",
         "t.yaml:1:20: nested more than 16 levels deep\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_problems(cases[i].name, cases[i].text, NULL, cases[i].want);
    }
}

TEST(each_mistake_in_a_route_has_its_line)
{
    static const struct {
        const char *name, *route, *want; /* the route stands in line 5 from column 5 */
    } cases[] = {
        {"fine", "{ match: { domain: [\"*\"] }, action: { smtp: { hosts: [192.0.2.1] } } }", ""},
        {"no match", "{ action: { discard: {} } }", "t.yaml:5:5: 'match' is missing\n"},
        {"empty match", "{ match: {}, action: { discard: } }",
         "t.yaml:5:14: 'match' needs 'domain', 'recipient' or 'authenticated: true' (domain: "
         "[\"*\"] is everybody)\n"},
        {"nobody authenticated", "{ match: { authenticated: false }, action: { discard: } }",
         "t.yaml:5:14: 'match' needs 'domain', 'recipient' or 'authenticated: true' (domain: "
         "[\"*\"] is everybody)\n"},
        {"no truth value", "{ match: { authenticated: yes }, action: { discard: } }",
         "t.yaml:5:31: 'authenticated' must be true or false, not 'yes'\n"},
        {"no listener has auth", "{ match: { authenticated: true }, action: { discard: } }",
         "t.yaml:5:31: 'authenticated: true' can match nobody: no listener has 'auth'\n"},
        {"no action", "{ match: { domain: [a.test] } }", "t.yaml:5:5: 'action' is missing\n"},
        {"empty action", "{ match: { domain: [a.test] }, action: {} }",
         "t.yaml:5:44: 'action' needs one of mx, smtp, lmtp, maildir, discard, reject\n"},
        {"two actions",
         "{ match: { domain: [a.test] }, action: { discard: {}, reject: \"550 5.1.1 No\" } }",
         "t.yaml:5:59: a route has one action: 'reject' beside 'discard' is one too many\n"},
        {"authenticated and mx", "{ match: { authenticated: true }, action: { mx: { tls: may } } }",
         "t.yaml:5:31: 'authenticated: true' can match nobody: no listener has 'auth'\n"},
        {"lmtp", "{ match: { domain: [a.test] }, action: { lmtp: {} } }",
         "t.yaml:5:52: 'hosts' is missing\n"},
        {"lmtp hosts",
         "{ match: { domain: [a.test] }, action: { lmtp: { hosts: [\"unix:/l\", 192.0.2.1, "
         "\"box.test:2424\"] } } }",
         ""},
        {"TLS over a socket",
         "{ match: { domain: [a.test] }, action: { lmtp: { hosts: [\"unix:/l\"], tls: verify } } }",
         "t.yaml:5:62: TLS is not spoken over a Unix socket: set 'tls: none' or 'may'\n"},
        {"a socket for smtp",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [\"unix:/l\"] } } }",
         "t.yaml:5:62: 'unix:' is for 'lmtp' only\n"},
        {"mx",
         "{ match: { domain: [a.test] }, action: { mx: { tls: require, port: 2525, "
         "allow_addresses: [127.0.0.0/8], source: [192.0.2.1, \"2001:db8::1\"] } } }",
         ""},
        {"sources",
         "{ match: { domain: [a.test] }, action: { mx: { source: [192.0.2.1, 192.0.2.2] } } }",
         "t.yaml:5:72: 'source' may have one IPv4 and one IPv6 address: '192.0.2.2' is one too "
         "many\n"},
        {"a source with a port",
         "{ match: { domain: [a.test] }, action: { mx: { source: [\"192.0.2.1:25\"] } } }",
         "t.yaml:5:61: 'source' must be IP addresses without a port, not '192.0.2.1:25'\n"},
        {"implicit TLS, and none",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [192.0.2.1], tls: none, "
         "implicit_tls: true } } }",
         "t.yaml:5:99: 'implicit_tls' has no use with 'tls: none'\n"},
        {"a password in the clear",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [192.0.2.1], tls: none, "
         "username: u, password: p } } }",
         "t.yaml:5:79: 'username' needs TLS: set 'tls: require' or 'verify', or "
         "'allow_plaintext_auth: true' if passwords may be read on the way\n"},
        {"no password",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [192.0.2.1], username: u } } }",
         "t.yaml:5:84: 'username' needs 'password_file' or 'password'\n"},
        {"no user",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [192.0.2.1], password: p } } }",
         "t.yaml:5:84: a password has no use without 'username'\n"},
        {"smtp without hosts", "{ match: { domain: [a.test] }, action: { smtp: {} } }",
         "t.yaml:5:52: 'hosts' is missing\n"},
        {"host names",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [mail.a.test, "
         "\"mail.a.test:25\", \"2001:db8::1\", \"192.0.2.1:0\", \"192.0.2.256\"] } } }",
         "t.yaml:5:93: 'hosts' must be a host name or an IP address, with a port or without, such "
         "as mail.example.com, 192.0.2.1:25 or [2001:db8::1]:25, not '2001:db8::1'\n"
         "t.yaml:5:108: 'hosts' must be a host name or an IP address, with a port or without, such "
         "as mail.example.com, 192.0.2.1:25 or [2001:db8::1]:25, not '192.0.2.1:0'\n"
         "t.yaml:5:123: 'hosts' must be a host name or an IP address, with a port or without, such "
         "as mail.example.com, 192.0.2.1:25 or [2001:db8::1]:25, not '192.0.2.256'\n"},
        {"smtp tls and login",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [192.0.2.1], tls: may, username: "
         "u, password: p, password_file: f } } }",
         "t.yaml:5:125: 'password_file': cannot use 'f': No such file or directory\n"},
        {"tls none",
         "{ match: { domain: [a.test] }, action: { smtp: { hosts: [192.0.2.1], tls: "
         "none } } }",
         ""},
        {"domains",
         "{ match: { domain: [a_b.test, \"*.*.test\", -a.test, \"a b\"] }, action: { "
         "discard: {} } }",
         "t.yaml:5:25: 'a_b.test' is not a domain, *.domain or * (quoted)\n"
         "t.yaml:5:35: '*.*.test' is not a domain, *.domain or * (quoted)\n"
         "t.yaml:5:47: '-a.test' is not a domain, *.domain or * (quoted)\n"
         "t.yaml:5:56: 'a b' is not a domain, *.domain or * (quoted)\n"},
        {"recipients",
         "{ match: { recipient: [postmaster, \"<a@b.test>\", \"a@\"] }, action: { "
         "discard: {} } }",
         "t.yaml:5:28: 'postmaster' is not a mailbox such as user@example.com\n"
         "t.yaml:5:40: '<a@b.test>' is not a mailbox such as user@example.com\n"
         "t.yaml:5:54: 'a@' is not a mailbox such as user@example.com\n"},
        {"missing list file",
         "{ match: { domain: { file: not-there.txt } }, action: { discard: {} } }",
         "t.yaml:5:32: cannot read 'not-there.txt': No such file or directory\n"},
        {"list file and more", "{ match: { domain: { file: a, b: c } }, action: { discard: {} } }",
         "t.yaml:5:24: 'domain' must be a list or {file: PATH}\n"},
        {"maildir", "{ match: { domain: [a.test] }, action: { maildir: { path: \"m/{user}\" } } }",
         "t.yaml:5:63: 'path' may hold {domain} and {local}, no other braces: '{user}'\n"},
        {"route name", "{ name: \"a b\", match: { domain: [a.test] }, action: { discard: {} } }",
         "t.yaml:5:13: 'name' must be a letter, then letters, digits, '-' and '_', at most 64, not "
         "'a b'\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[1024];
        snprintf(text, sizeof(text), GOOD_LISTENERS "routes:\n  - %s\n", cases[i].route);
        check_problems(cases[i].name, text, NULL, cases[i].want);
    }
}

TEST(reject_texts_are_whole_replies)
{
    static const struct {
        const char *reply, *want; /* "": fine */
    } cases[] = {
        {"550 5.1.1 No such recipient here", ""},
        {"450 4.2.1 Later", ""},
        {"559 5.999.999 x", ""},
        {"250 2.1.5 Ok", "must begin with a code of 4yz or 5yz"},
        {"560 5.1.1 No", "must begin with a code of 4yz or 5yz"},
        {"5501 5.1.1 No", "must begin with a code of 4yz or 5yz"},
        {"55", "must begin with a code of 4yz or 5yz"},
        {"550-5.1.1 No", "must begin with a code of 4yz or 5yz"},
        {"421 4.3.2 Bye", "must not be 421, which ends the session"},
        {"550 No such recipient", "needs a status such as 5.1.1 (RFC 3463) after its code"},
        {"550 5.1 No", "needs a status such as 5.1.1 (RFC 3463) after its code"},
        {"550 5.1.1234 No", "needs a text after its status"},
        {"550 4.1.1 No", "has a status of another class than its code"},
        {"450 5.1.1 No", "has a status of another class than its code"},
        {"550 5.1.1", "needs a text after its status"},
        {"550 5.1.1 ", "needs a text after its status"},
        {"550 5.1.1 N\\u00f6", "must be printable ASCII"},
        {"550 5.1.1 a\\r\\nb", "must be printable ASCII"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[1024];
        snprintf(text, sizeof(text),
                 GOOD_LISTENERS "routes:\n"
                                "  - match: { domain: [a.test] }\n"
                                "    action: { reject: \"%s\" }\n",
                 cases[i].reply);
        struct config *config;
        struct config_problems problems;
        int err = config_parse(slice_of_cstr(text), "t.yaml", "", NULL, &config, &problems);
        char *got = problems_text(&problems);
        CHECK_EQ(cases[i].reply, err == 0, cases[i].want[0] == '\0');
        CHECK_EQ(cases[i].reply, problems.count, cases[i].want[0] == '\0' ? 0 : 1);
        CHECK_EQ(cases[i].reply, strstr(got, cases[i].want) != NULL, true);
        if (err == 0) {
            CHECK_SLICE("kept", slice_of_cstr(config->routes[0].reject_reply), cases[i].reply);
            CHECK_EQ(cases[i].reply, config->routes[0].action, ACTION_REJECT);
        }
        free(got);
        config_problems_free(&problems);
        config_free(config);
    }
    char text[2048], long_reply[600];
    memset(long_reply, 'x', sizeof(long_reply));
    for (size_t bytes = 510; bytes <= 511; bytes++) {
        memcpy(long_reply, "550 5.1.1 ", 10);
        snprintf(text, sizeof(text),
                 GOOD_LISTENERS "routes:\n"
                                "  - match: { domain: [a.test] }\n"
                                "    action: { reject: \"%.*s\" }\n",
                 (int)bytes, long_reply);
        struct config *config;
        struct config_problems problems;
        int err = config_parse(slice_of_cstr(text), "t.yaml", "", NULL, &config, &problems);
        CHECK_EQ("a reply line has room for 510", err == 0, bytes == 510);
        config_problems_free(&problems);
        config_free(config);
    }
}

TEST(six_mistakes_are_six_problems)
{
    check_problems(
        "six",
        "nod: {}\n"
        "node: { cores: many, memory: 64 }\n"
        "listeners:\n"
        "  - name: mx\n"
        "    limits: { recipients: 0 }\n"
        "routes:\n"
        "  - match: { domain: [bench.test] }\n"
        "    action: { smtp: { hosts: [\"mail.test:x\"] } }\n",
        NULL,
        "t.yaml:1:1: unknown key 'nod' (did you mean 'node'?)\n"
        "t.yaml:2:16: 'cores' must be a whole number, not 'many'\n"
        "t.yaml:2:30: 'memory' needs a unit after '64': one of B, KiB, MiB, GiB, TiB, "
        "KB, MB, GB, TB\n"
        "t.yaml:4:5: 'address' is missing\n"
        "t.yaml:5:27: 'recipients' must be 1 to 10000, not '0'\n"
        "t.yaml:8:31: 'hosts' must be a host name or an IP address, with a port or without, such "
        "as mail.example.com, 192.0.2.1:25 or [2001:db8::1]:25, not 'mail.test:x'\n");
}

TEST(more_cores_than_cpus_is_a_contradiction)
{
    struct config *config;
    struct config_problems problems;
    int err =
        config_parse(SLICE(GOOD "node: { cores: 256 }\n"), "t.yaml", "", NULL, &config, &problems);
    if (err != 0) { /* a machine may have so many */
        CHECK_EQ("one problem", problems.count, 1);
        CHECK(strstr(problems.lines[0],
                     "t.yaml:7:16: 'cores' is 256, but this process may use only ") != NULL);
    }
    config_problems_free(&problems);
    config_free(config);
}

TEST(problems_are_bounded)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    fputs(GOOD, out);
    for (unsigned i = 0; i < PROBLEMS_MAX + 5; i++) {
        fprintf(out, "key%u: 1\n", i);
    }
    fclose(out);
    struct config *config;
    struct config_problems problems;
    int err = config_parse(slice_of(text, bytes), "t.yaml", "", NULL, &config, &problems);
    CHECK(err != 0 && config == NULL);
    CHECK_EQ("all but five, and a last line", problems.count, PROBLEMS_MAX + 1);
    CHECK_SLICE("last", slice_of_cstr(problems.lines[PROBLEMS_MAX]), "and 5 more");
    config_problems_free(&problems);
    free(text);
}

/* No cut of a file reads past its end, and none passes for good that has lost its routes. */
TEST(a_file_cut_anywhere_is_refused)
{
    static const char text[] = GOOD "node: { memory: \"64MiB\" }\n";
    for (size_t len = 0; len < strlen(GOOD_LISTENERS); len++) {
        char *exact = malloc(len > 0 ? len : 1);
        memcpy(exact, text, len);
        struct config *config;
        struct config_problems problems;
        int err = config_parse(slice_of(exact, len), "t.yaml", "", NULL, &config, &problems);
        CHECK_EQ("cut", err != 0 && config == NULL && problems.count > 0, true);
        config_problems_free(&problems);
        free(exact);
    }
}

TEST(defaults_are_those_of_the_manual)
{
    struct config *c = parse_good("defaults", GOOD, NULL);
    if (c == NULL) return;
    const struct config_listener *l = &c->listeners[0];
    CHECK(c->node.hostname[0] != '\0');
    CHECK(c->node.cores >= 1);
    CHECK_EQ("memory", c->node.memory, 64 << 20);
    CHECK_EQ("tls_ticket_rotation", c->node.tls_ticket_rotation_ms, 8 * 3600 * 1000);
    CHECK_EQ("drain_delay", c->drain_delay_ms, 0);
    CHECK_EQ("drain_timeout", c->drain_timeout_ms, 30000);
    CHECK_SLICE("spool", slice_of_cstr(c->spool.path), "/var/lib/postern");
    CHECK_EQ("min_free", c->spool.min_free_percent, 5);
    CHECK_EQ("min_free", c->spool.min_free_bytes, 0);
    CHECK_EQ("service", l->service, SERVICE_MX);
    CHECK_EQ("bare_newline", l->bare_newline, NEWLINE_REJECT);
    CHECK_EQ("connections", l->limits.connections, 50000);
    CHECK_EQ("connections_per_client", l->limits.connections_per_client, 1000);
    CHECK_EQ("message_size", l->limits.message_size, 50 << 20);
    CHECK_EQ("recipients", l->limits.recipients, 1000);
    CHECK_EQ("recipient_domains", l->limits.recipient_domains, 0);
    CHECK_EQ("handshakes", l->limits.handshakes, 1000);
    CHECK_EQ("auth_failures", l->limits.auth_failures, 5);
    CHECK_EQ("handshake", l->timeouts.handshake_ms, 30000);
    CHECK_EQ("greeting_delay", l->greeting_delay_ms, 0);
    CHECK_EQ("tls", l->tls.mode, LISTENER_TLS_NONE);
    CHECK(l->auth.users == NULL);
    CHECK_EQ("proxy_protocol", l->proxy_protocol.from.count, 0);
    CHECK_EQ("xclient", l->xclient_from.count, 0);
    CHECK_EQ("xforward", l->xforward_from.count, 0);
    CHECK_EQ("authenticated", c->routes[0].is_authenticated, false);
    CHECK_EQ("errors", l->limits.errors, 20);
    CHECK_EQ("junk_commands", l->limits.junk_commands, 100);
    CHECK_EQ("messages", l->limits.messages, 0);
    CHECK_EQ("data_rate_min", l->timeouts.data_rate_min, 500);
    CHECK_EQ("command", l->timeouts.command_ms, 300000);
    CHECK_EQ("data", l->timeouts.data_ms, 300000);
    CHECK_EQ("session", l->timeouts.session_ms, 0);
    CHECK_SLICE("route", slice_of_cstr(c->routes[0].name), "route-1");
    CHECK_EQ("action", c->routes[0].action, ACTION_DISCARD);
    CHECK_EQ("first", c->delivery.retry.first_ms, 60000);
    CHECK_EQ("factor", c->delivery.retry.factor_percent, 200);
    CHECK_EQ("max", c->delivery.retry.max_ms, 1800000);
    CHECK_EQ("jitter", c->delivery.retry.jitter_percent, 10);
    CHECK_EQ("expire", c->delivery.retry.expire_ms, 432000000);
    CHECK_EQ("connections", c->delivery.per_destination.connections, 20);
    CHECK_EQ("messages", c->delivery.per_destination.messages_per_connection, 1000);
    CHECK_EQ("idle", c->delivery.per_destination.idle_ms, 10000);
    CHECK_EQ("connect", c->delivery.timeouts.connect_ms, 30000);
    CHECK_EQ("greeting", c->delivery.timeouts.greeting_ms, 300000);
    CHECK_EQ("command", c->delivery.timeouts.command_ms, 300000);
    CHECK_EQ("data_init", c->delivery.timeouts.data_init_ms, 120000);
    CHECK_EQ("data_block", c->delivery.timeouts.data_block_ms, 180000);
    CHECK_EQ("data_end", c->delivery.timeouts.data_end_ms, 600000);
    CHECK_EQ("admin", c->admin.address_count, 1);
    CHECK_EQ("admin", endpoint_port(&c->admin.addresses[0]), 8025);
    CHECK_EQ("admin", c->admin.unix_path_count, 0);
    CHECK_EQ("format", c->log.format, LOG_FORMAT_AUTO);
    CHECK_EQ("level", c->log.level, LOG_INFO);
    config_free(c);
}

TEST(values_of_the_file_are_kept)
{
    struct config *c = parse_good(
        "values",
        "node: { hostname: MX1.Example.Test, cores: 1, drain_delay: 500ms }\n"
        "spool: { path: /srv/spool, min_free: 10GiB }\n"
        "listeners:\n"
        "  - name: mx\n"
        "    address: [\"127.0.0.1:2525\", \"[::1]:2525\"]\n"
        "    bare_newline: normalize\n"
        "    limits: { data_rate_min: 0 }\n"
        "routes:\n"
        "  - name: relay\n"
        "    match: { domain: [Bench.TEST, \"*.bench.test\"], recipient: [Who@Else.test] }\n"
        "    action: { smtp: { hosts: [192.0.2.1, \"[2001:db8::1]\", \"192.0.2.2:2599\"] } }\n"
        "  - match: { domain: [\"*\"] }\n"
        "    action: { maildir: { path: \"/mail/{domain}/{local}\" } }\n"
        "delivery: { retry: { factor: 1.5 } }\n"
        "admin: { address: [\"unix:/run/postern/admin\", \"127.0.0.1:8025\"] }\n",
        NULL);
    if (c == NULL) return;
    CHECK_SLICE("hostname", slice_of_cstr(c->node.hostname), "mx1.example.test");
    CHECK_EQ("cores", c->node.cores, 1);
    CHECK_EQ("drain_delay", c->drain_delay_ms, 500);
    CHECK_EQ("min_free", c->spool.min_free_bytes, 10ull << 30);
    CHECK_EQ("min_free", c->spool.min_free_percent, 0);
    CHECK_EQ("addresses", c->listeners[0].address_count, 2);
    CHECK_EQ("bare_newline", c->listeners[0].bare_newline, NEWLINE_NORMALIZE);
    CHECK_EQ("data_rate_min", c->listeners[0].timeouts.data_rate_min, 0);
    CHECK_EQ("routes", c->route_count, 2);
    const struct config_route *relay = &c->routes[0];
    CHECK_SLICE("name", slice_of_cstr(relay->name), "relay");
    CHECK_EQ("domains", relay->domains.count, 2);
    CHECK_SLICE("lower case", slice_of_cstr(relay->domains.entries[0]), "bench.test");
    CHECK_SLICE("wildcard", slice_of_cstr(relay->domains.entries[1]), "*.bench.test");
    CHECK_SLICE("lower case", slice_of_cstr(relay->recipients.entries[0]), "who@else.test");
    CHECK_EQ("action", relay->action, ACTION_SMTP);
    CHECK_EQ("hosts", relay->host_count, 3);
    CHECK_EQ("default port", endpoint_port(&relay->hosts[0].endpoint), 25);
    CHECK_EQ("default port", endpoint_port(&relay->hosts[1].endpoint), 25);
    CHECK_EQ("port", endpoint_port(&relay->hosts[2].endpoint), 2599);
    CHECK_SLICE("name", slice_of_cstr(c->routes[1].name), "route-2");
    CHECK_EQ("action", c->routes[1].action, ACTION_MAILDIR);
    CHECK_SLICE("maildir", slice_of_cstr(c->routes[1].maildir_path), "/mail/{domain}/{local}");
    CHECK_EQ("factor", c->delivery.retry.factor_percent, 150);
    CHECK_EQ("unix", c->admin.unix_path_count, 1);
    CHECK_SLICE("unix", slice_of_cstr(c->admin.unix_paths[0]), "/run/postern/admin");
    config_free(c);
}

static void write_text(const char *directory, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *out = fopen(path, "w");
    CHECK(out != NULL);
    if (out == NULL) return;
    fputs(text, out);
    fclose(out);
}

static void remove_text(const char *directory, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    unlink(path);
}

TEST(long_lists_are_files_beside_the_configuration)
{
    char directory[] = "/tmp/config_test.XXXXXX", path[512], want[1024];
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof(path), "%s/postern.yaml", directory);
    write_text(directory, "postern.yaml",
               GOOD_LISTENERS "spool: { path: queue }\n"
                              "routes:\n"
                              "  - match: { domain: { file: domains.txt }, recipient: { file: "
                              "people.txt } }\n"
                              "    action: { maildir: { path: \"mail/{domain}/{local}\" } }\n");
    write_text(directory, "domains.txt", "# ours\nA.test # the first\r\n\n  *.b.test  \nc.test");
    write_text(directory, "people.txt", "x#y@a.test\nZ@b.test\n");

    struct config *config;
    struct config_problems problems;
    CHECK_EQ("fine", config_load(path, NULL, &config, &problems), 0);
    CHECK_EQ("fine", problems.count, 0);
    if (config != NULL) {
        const struct config_list *domains = &config->routes[0].domains;
        CHECK_EQ("domains", domains->count, 3);
        CHECK_SLICE("first", slice_of_cstr(domains->entries[0]), "a.test");
        CHECK_SLICE("second", slice_of_cstr(domains->entries[1]), "*.b.test");
        CHECK_SLICE("no newline at the end", slice_of_cstr(domains->entries[2]), "c.test");
        CHECK_SLICE("recipient", slice_of_cstr(config->routes[0].recipients.entries[0]),
                    "x#y@a.test");
        snprintf(want, sizeof(want), "%s/queue", directory);
        CHECK_SLICE("relative to the file", slice_of_cstr(config->spool.path), want);
        snprintf(want, sizeof(want), "%s/mail/{domain}/{local}", directory);
        CHECK_SLICE("relative to the file", slice_of_cstr(config->routes[0].maildir_path), want);
    }
    config_free(config);
    config_problems_free(&problems);

    write_text(directory, "domains.txt", "a.test\nb_c.test\n\n-\nf\xfc\xc3\xbcr\x1b.test\n");
    remove_text(directory, "people.txt");
    CHECK(config_load(path, NULL, &config, &problems) != 0 && config == NULL);
    snprintf(want, sizeof(want),
             "%s/domains.txt:2: 'b_c.test' is not a domain, *.domain or * (quoted)\n"
             "%s/domains.txt:4: '-' is not a domain, *.domain or * (quoted)\n"
             "%s/domains.txt:5: 'f?\xc3\xbcr?.test' is not a domain, *.domain or * (quoted)\n"
             "%s:6:64: cannot read '%s/people.txt': No such file or directory\n",
             directory, directory, directory, path, directory);
    char *got = problems_text(&problems);
    CHECK_SLICE("each in its own file", slice_of_cstr(got), want);
    free(got);
    config_problems_free(&problems);

    remove_text(directory, "domains.txt");
    remove_text(directory, "postern.yaml");
    CHECK(config_load(path, NULL, &config, &problems) != 0 && config == NULL);
    snprintf(want, sizeof(want), "%s:1:1: cannot read it: No such file or directory\n", path);
    got = problems_text(&problems);
    CHECK_SLICE("no file", slice_of_cstr(got), want);
    free(got);
    config_problems_free(&problems);
    rmdir(directory);
}
