/* What a listener may say of TLS, AUTH and the peers it trusts: each value, and each mistake. */
#include "tests/unit/server_config/config_support.h"

#include <unistd.h>

/* Any file that can be read will do: what is in it is not looked at here. */
#define A_FILE "/etc/passwd"
#define B_FILE "/etc/group"
#define TLS "    tls: { certificates: [{ certificate: " A_FILE " }] }\n"
#define AUTH "    auth: { users: " B_FILE " }\n"
#define PROXY "    proxy_protocol: { from: [10.0.0.0/8] }\n"

/* Lines of the listener, the first of which is line 4. */
static struct config *parse_listener(const char *name, const char *lines)
{
    char text[4096];
    snprintf(text, sizeof(text), GOOD_LISTENERS "%s" GOOD_ROUTES, lines);
    return parse_good(name, text, NULL);
}

TEST(each_mistake_of_a_listener_has_its_line)
{
    static const struct {
        const char *name, *lines, *want;
    } cases[] = {
        {"fine", TLS AUTH PROXY, ""},

        /* tls */
        {"no certificates", "    tls: { mode: starttls }\n",
         "t.yaml:4:10: 'tls' needs 'certificates': [{ certificate: PATH, key: PATH }]\n"},
        {"none needs none", "    tls: { mode: none }\n", ""},
        {"an empty section", "    tls: {}\n",
         "t.yaml:4:10: 'tls' needs 'certificates': [{ certificate: PATH, key: PATH }]\n"},
        {"no list", "    tls: { certificates: { certificate: " A_FILE " } }\n",
         "t.yaml:4:26: 'certificates' must be a list of at least one section: - certificate: "
         "...\n"},
        {"an empty list", "    tls: { certificates: [] }\n",
         "t.yaml:4:26: 'certificates' must be a list of at least one section: - certificate: "
         "...\n"},
        {"a word", "    tls: { certificates: [" A_FILE "] }\n",
         "t.yaml:4:27: an entry of 'certificates' must be a section of 'key: value'\n"},
        {"a key alone", "    tls: { certificates: [{ key: " A_FILE " }] }\n",
         "t.yaml:4:27: 'certificate' is missing\n"},
        {"missing files", "    tls: { certificates: [{ certificate: no.pem, key: /no/such }] }\n",
         "t.yaml:4:42: 'certificate': cannot read 'no.pem': No such file or directory\n"
         "t.yaml:4:55: 'key': cannot read '/no/such': No such file or directory\n"},
        {"a directory", "    tls: { certificates: [{ certificate: /etc }] }\n",
         "t.yaml:4:42: 'certificate': cannot read '/etc': Is a directory\n"},
        {"a device", "    tls: { certificates: [{ certificate: /dev/null }] }\n",
         "t.yaml:4:42: 'certificate': cannot read '/dev/null': it is no regular file\n"},
        {"a typo in an entry", "    tls: { certificates: [{ certificat: " A_FILE " }] }\n",
         "t.yaml:4:27: 'certificate' is missing\n"
         "t.yaml:4:29: unknown key 'certificat' (did you mean 'certificate'?)\n"},
        {"mode", "    tls: { mode: startls, certificates: [{ certificate: " A_FILE " }] }\n",
         "t.yaml:4:18: 'mode' must be one of none, starttls, implicit, not 'startls' (did you mean "
         "'starttls'?)\n"},
        {"min_version",
         "    tls: { min_version: 1.1, certificates: [{ certificate: " A_FILE " }] }\n",
         "t.yaml:4:25: 'min_version' must be one of 1.2, 1.3, not '1.1' (did you mean '1.2'?)\n"},
        {"client_certificates",
         "    tls: { client_certificates: require, certificates: [{ certificate: " A_FILE " }] }\n",
         "t.yaml:4:33: 'client_certificates' must be one of none, request, not 'require'\n"},
        {"client_ca without clients",
         "    tls: { client_ca: " B_FILE ", certificates: [{ certificate: " A_FILE " }] }\n",
         "t.yaml:4:23: 'client_ca' has no use without 'client_certificates: request'\n"},
        {"client_ca that is not there",
         "    tls: { client_certificates: request, client_ca: no.pem, certificates: [{ "
         "certificate: " A_FILE " }] }\n",
         "t.yaml:4:53: 'client_ca': cannot read 'no.pem': No such file or directory\n"},

        /* auth */
        {"no users", TLS "    auth: { mechanisms: [PLAIN] }\n",
         "t.yaml:5:11: 'users' is missing\n"},
        {"a users file that is not there", TLS "    auth: { users: no.txt }\n",
         "t.yaml:5:20: 'users': cannot read 'no.txt': No such file or directory\n"},
        {"mechanisms",
         TLS "    auth: { users: " B_FILE ", mechanisms: [plain, XOAUTH2, LOGIN, LOGIN, "
             "CRAM-MD4] }\n",
         "t.yaml:5:45: 'plain' in 'mechanisms' is none of SCRAM-SHA-256, CRAM-MD5, PLAIN, LOGIN "
         "(did you mean 'PLAIN'?)\n"
         "t.yaml:5:52: 'XOAUTH2' in 'mechanisms' is none of SCRAM-SHA-256, CRAM-MD5, PLAIN, LOGIN\n"
         "t.yaml:5:68: 'LOGIN' is in 'mechanisms' twice\n"
         "t.yaml:5:75: 'CRAM-MD4' in 'mechanisms' is none of SCRAM-SHA-256, CRAM-MD5, PLAIN, LOGIN "
         "(did you mean 'CRAM-MD5'?)\n"},
        {"no mechanism", TLS "    auth: { users: " B_FILE ", mechanisms: [] }\n",
         "t.yaml:5:44: 'mechanisms' needs at least one entry\n"},
        {"no truth value", TLS "    auth: { users: " B_FILE ", allow_plaintext: 1 }\n",
         "t.yaml:5:49: 'allow_plaintext' must be true or false, not '1'\n"},
        {"senders", TLS "    auth: { users: " B_FILE ", senders: their }\n",
         "t.yaml:5:41: 'senders' must be one of any, own, not 'their'\n"},
        {"auth in the clear", AUTH,
         "t.yaml:4:11: 'auth' needs 'tls', or 'allow_plaintext: true' if passwords may be read on "
         "the way\n"},
        {"auth with tls turned off", "    tls: { mode: none }\n" AUTH,
         "t.yaml:5:11: 'auth' needs 'tls', or 'allow_plaintext: true' if passwords may be read on "
         "the way\n"},
        {"auth in the clear, as wanted", "    auth: { users: " B_FILE ", allow_plaintext: true }\n",
         ""},
        {"nothing is in the clear",
         "    tls: { mode: implicit, certificates: [{ certificate: " A_FILE " }] }\n"
         "    auth: { users: " B_FILE ", allow_plaintext: true }\n",
         "t.yaml:5:49: 'allow_plaintext' has no use with 'mode: implicit', where nothing is "
         "plain\n"},
        {"submission for everybody", "    service: submission\n" TLS,
         "t.yaml:4:14: 'service: submission' needs 'auth': { users: PATH }, since it takes mail "
         "from authenticated clients only\n"},
        {"submission", "    service: submission\n" TLS AUTH, ""},

        /* peers */
        {"proxy_protocol from nobody", "    proxy_protocol: { timeout: 5s }\n",
         "t.yaml:4:21: 'from' is missing\n"},
        {"proxy_protocol as a word", "    proxy_protocol: v2\n",
         "t.yaml:4:21: 'proxy_protocol' must be a section of 'key: value'\n"},
        {"an empty list of peers", "    proxy_protocol: { from: [] }\n",
         "t.yaml:4:29: 'from' needs at least one entry\n"},
        {"no networks",
         "    xclient: { from: [10.0.0.1/8, localhost, \"127.0.0.1:25\", \"::1\"] }\n",
         "t.yaml:4:23: '10.0.0.1/8' is not an IP network such as 192.0.2.0/24 or 2001:db8::/32 "
         "(zeros behind the prefix), or one address\n"
         "t.yaml:4:35: 'localhost' is not an IP network such as 192.0.2.0/24 or 2001:db8::/32 "
         "(zeros behind the prefix), or one address\n"
         "t.yaml:4:46: '127.0.0.1:25' is not an IP network such as 192.0.2.0/24 or 2001:db8::/32 "
         "(zeros behind the prefix), or one address\n"},
        {"a list file that is not there", "    xforward: { from: { file: no.txt } }\n",
         "t.yaml:4:31: cannot read 'no.txt': No such file or directory\n"},
        {"timeout", "    proxy_protocol: { from: [10.0.0.1], timeout: 2m }\n",
         "t.yaml:4:50: 'timeout' must be 100ms to 1m, not '2m'\n"},

        /* numbers */
        {"limits", "    limits: { recipient_domains: 10001, handshakes: 0, auth_failures: 0 }\n",
         "t.yaml:4:34: 'recipient_domains' must be 0 to 10000, not '10001'\n"
         "t.yaml:4:53: 'handshakes' must be 1 to 1000000, not '0'\n"
         "t.yaml:4:71: 'auth_failures' must be 1 to 100, not '0'\n"},
        {"times", "    timeouts: { handshake: 0 }\n    greeting_delay: 61s\n",
         "t.yaml:4:28: 'handshake' must be 1s to 10m, not '0'\n"
         "t.yaml:5:21: 'greeting_delay' must be 0ms to 1m, not '61s'\n"},
        {"sections with a typo", "    proxy_protcol: {}\n    xclent: {}\n    tsl: {}\n",
         "t.yaml:4:5: unknown key 'proxy_protcol' (did you mean 'proxy_protocol'?)\n"
         "t.yaml:5:5: unknown key 'xclent' (did you mean 'xclient'?)\n"
         "t.yaml:6:5: unknown key 'tsl' (did you mean 'tls'?)\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[4096];
        snprintf(text, sizeof(text), GOOD_LISTENERS "%s" GOOD_ROUTES, cases[i].lines);
        check_problems(cases[i].name, text, NULL, cases[i].want);
    }
}

TEST(tls_values_are_kept)
{
    struct config *c = parse_listener(
        "tls", "    tls:\n"
               "      mode: implicit\n"
               "      min_version: 1.3\n"
               "      client_certificates: request\n"
               "      client_ca: " B_FILE "\n"
               "      certificates:\n"
               "        - { certificate: " A_FILE ", key: " B_FILE " }\n"
               "        - { certificate: " A_FILE " }\n"
               "    limits: { recipient_domains: 7, handshakes: 8, auth_failures: 9 }\n"
               "    timeouts: { handshake: 11s }\n"
               "    greeting_delay: 250ms\n");
    if (c == NULL) return;
    const struct config_listener *l = &c->listeners[0];
    CHECK_EQ("mode", l->tls.mode, LISTENER_TLS_IMPLICIT);
    CHECK_EQ("min_version", l->tls.requires_1_3, true);
    CHECK_EQ("client_certificates", l->tls.asks_client, true);
    CHECK_SLICE("client_ca", slice_of_cstr(l->tls.client_ca), B_FILE);
    CHECK_EQ("certificates", l->tls.certificate_count, 2);
    CHECK_SLICE("certificate", slice_of_cstr(l->tls.certificates[0].chain), A_FILE);
    CHECK_SLICE("key", slice_of_cstr(l->tls.certificates[0].key), B_FILE);
    CHECK_SLICE("its own key", slice_of_cstr(l->tls.certificates[1].key), A_FILE);
    CHECK_EQ("recipient_domains", l->limits.recipient_domains, 7);
    CHECK_EQ("handshakes", l->limits.handshakes, 8);
    CHECK_EQ("auth_failures", l->limits.auth_failures, 9);
    CHECK_EQ("handshake", l->timeouts.handshake_ms, 11000);
    CHECK_EQ("greeting_delay", l->greeting_delay_ms, 250);

    const char *origin = config_origin(c, "listeners[mx].tls.certificates[2].certificate");
    CHECK_SLICE("origin", slice_of_cstr(origin != NULL ? origin : "none"), "t.yaml:11:26");
    origin = config_origin(c, "listeners[mx].tls.certificates[2].key");
    CHECK_SLICE("derived", slice_of_cstr(origin != NULL ? origin : "none"), "default");
    CHECK(config_origin(c, "listeners[mx].tls.certificates[3].key") == NULL);
    config_free(c);
}

TEST(defaults_of_sections)
{
    struct config *c = parse_listener("defaults", TLS AUTH PROXY);
    if (c == NULL) return;
    const struct config_listener *l = &c->listeners[0];
    CHECK_EQ("mode", l->tls.mode, LISTENER_TLS_STARTTLS);
    CHECK_EQ("min_version", l->tls.requires_1_3, false);
    CHECK_EQ("client_certificates", l->tls.asks_client, false);
    CHECK(l->tls.client_ca == NULL);
    CHECK_EQ("mechanisms", l->auth.mechanisms,
             BIT(AUTH_SCRAM_SHA_256) | BIT(AUTH_PLAIN) | BIT(AUTH_LOGIN));
    CHECK_EQ("allow_plaintext", l->auth.is_plain_allowed, false);
    CHECK_EQ("senders", l->auth.senders, SENDERS_ANY);
    CHECK_EQ("timeout", l->proxy_protocol.timeout_ms, 5000);
    CHECK_EQ("xclient", l->xclient_from.count, 0);
    config_free(c);
}

TEST(auth_and_peers_are_kept)
{
    struct config *c = parse_listener(
        "peers",
        TLS "    service: submission\n"
            "    auth: { users: " B_FILE ", mechanisms: [LOGIN, CRAM-MD5], senders: own }\n"
            "    proxy_protocol: { from: [10.0.0.0/8, \"2001:db8::/32\"], timeout: 700ms }\n"
            "    xclient: { from: [127.0.0.1] }\n"
            "    xforward: { from: [\"::1\", 192.0.2.4/31] }\n");
    if (c == NULL) return;
    const struct config_listener *l = &c->listeners[0];
    CHECK_EQ("service", l->service, SERVICE_SUBMISSION);
    CHECK_SLICE("users", slice_of_cstr(l->auth.users), B_FILE);
    CHECK_EQ("mechanisms", l->auth.mechanisms, BIT(AUTH_CRAM_MD5) | BIT(AUTH_LOGIN));
    CHECK_EQ("senders", l->auth.senders, SENDERS_OWN);
    CHECK_EQ("from", l->proxy_protocol.from.count, 2);
    CHECK_EQ("bits", l->proxy_protocol.from.entries[0].bits, 8);
    CHECK_EQ("v6", l->proxy_protocol.from.entries[1].is_ipv6, true);
    CHECK_EQ("timeout", l->proxy_protocol.timeout_ms, 700);
    CHECK_EQ("xclient", l->xclient_from.count, 1);
    CHECK_EQ("xforward", l->xforward_from.count, 2);
    CHECK_EQ("bits", l->xforward_from.entries[1].bits, 31);
    config_free(c);
}

TEST(sections_are_shown)
{
    struct config *c =
        parse_listener("show", TLS "    auth: { users: " B_FILE ", mechanisms: [LOGIN, PLAIN] }\n"
                                   "    xclient: { from: [127.0.0.1, 10.0.0.0/8] }\n");
    if (c == NULL) return;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    config_show(c, out);
    fclose(out);
    static const char *const lines[] = {
        "\nlisteners[mx].tls.mode: starttls                              # default\n",
        "\nlisteners[mx].tls.certificates[1].certificate: " A_FILE "    # t.yaml:4:42\n",
        "\nlisteners[mx].tls.certificates[1].key: " A_FILE "            # default\n",
        "\nlisteners[mx].tls.min_version: 1.2                            # default\n",
        "\nlisteners[mx].auth.mechanisms: [PLAIN, LOGIN]                 # t.yaml:5:44\n",
        "\nlisteners[mx].auth.allow_plaintext: false                     # default\n",
        "\nlisteners[mx].xclient.from: [127.0.0.1, 10.0.0.0/8]           # t.yaml:6:22\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        CHECK_EQ(lines[i] + 1, strstr(text, lines[i]) != NULL, true);
    }
    CHECK(strstr(text, "proxy_protocol") == NULL); /* it is not there */
    CHECK(strstr(text, "xforward") == NULL);
    free(text);
    config_free(c);
}

TEST(networks_may_be_a_file)
{
    char path[] = "/tmp/listener_test.XXXXXX", lines[256], text[4096], want[512];
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs("# balancers\n10.0.0.0/8\n\n2001:db8::/32 # a comment\n", file);
    fclose(file);
    snprintf(lines, sizeof(lines), "    proxy_protocol: { from: { file: %s } }\n", path);
    struct config *c = parse_listener("file", lines);
    CHECK(c != NULL && c->listeners[0].proxy_protocol.from.count == 2);
    config_free(c);

    file = fopen(path, "w");
    fputs("10.0.0.1/8\n", file);
    fclose(file);
    snprintf(text, sizeof(text), GOOD_LISTENERS "%s" GOOD_ROUTES, lines);
    snprintf(want, sizeof(want),
             "%s:1: '10.0.0.1/8' is not an IP network such as 192.0.2.0/24 or 2001:db8::/32 (zeros "
             "behind the prefix), or one address\n",
             path);
    check_problems("a bad line", text, NULL, want);

    file = fopen(path, "w");
    for (unsigned i = 0; i < CONFIG_NETWORKS_MAX + 1; i++)
        fprintf(file, "10.0.%u.%u\n", i / 256, i % 256);
    fclose(file);
    check_problems("too many", text, NULL,
                   "t.yaml:4:29: 'from' needs 1 to 1000 entries, not 1001\n");
    fclose(fopen(path, "w"));
    check_problems("none", text, NULL, "t.yaml:4:29: 'from' needs 1 to 1000 entries, not 0\n");
    unlink(path);
}

TEST(certificates_are_bounded)
{
    for (unsigned count = CONFIG_CERTIFICATES_MAX; count <= CONFIG_CERTIFICATES_MAX + 1; count++) {
        char *text = NULL;
        size_t bytes = 0;
        FILE *out = open_memstream(&text, &bytes);
        fputs(GOOD_LISTENERS "    tls:\n      certificates:\n", out);
        for (unsigned i = 0; i < count; i++)
            fputs("        - { certificate: " A_FILE " }\n", out);
        fputs(GOOD_ROUTES, out);
        fclose(out);
        check_problems(
            "bound", text, NULL,
            count == CONFIG_CERTIFICATES_MAX
                ? ""
                : "t.yaml:6:9: 'certificates' may have at most 1000 entries, not 1001\n");
        free(text);
    }
}

TEST(the_environment_reaches_into_entries_without_names)
{
    char key[] = "POSTERN__LISTENERS__MX__TLS__CERTIFICATES__1__KEY=" B_FILE;
    char mechanisms[] = "POSTERN__LISTENERS__MX__AUTH__MECHANISMS=LOGIN,CRAM-MD5";
    char from[] = "POSTERN__LISTENERS__MX__XCLIENT__FROM=127.0.0.1,::1";
    char *const environment[] = {key, mechanisms, from, NULL};
    struct config *c = parse_good("environment", GOOD_LISTENERS TLS AUTH GOOD_ROUTES, environment);
    if (c == NULL) return;
    const struct config_listener *l = &c->listeners[0];
    CHECK_SLICE("key", slice_of_cstr(l->tls.certificates[0].key), B_FILE);
    CHECK_EQ("mechanisms", l->auth.mechanisms, BIT(AUTH_CRAM_MD5) | BIT(AUTH_LOGIN));
    CHECK_EQ("from", l->xclient_from.count, 2);
    config_free(c);

    char second[] = "POSTERN__LISTENERS__MX__TLS__CERTIFICATES__2__KEY=" B_FILE;
    char *const wrong[] = {second, NULL};
    check_problems("no such entry", GOOD_LISTENERS TLS GOOD_ROUTES, wrong,
                   "environment: POSTERN__LISTENERS__MX__TLS__CERTIFICATES__2__KEY: no entry of "
                   "'certificates' is named '2' (there are: 1)\n");
}

TEST(a_route_for_users_alone_is_fine_where_there_are_some)
{
    static const char route[] = "routes:\n"
                                "  - match: { authenticated: true }\n"
                                "    action: { discard: {} }\n";
    char text[1024];
    snprintf(text, sizeof(text), GOOD_LISTENERS TLS AUTH "%s", route);
    struct config *c = parse_good("auth", text, NULL);
    CHECK(c != NULL && c->routes[0].is_authenticated);
    config_free(c);
    snprintf(text, sizeof(text), GOOD_LISTENERS "    xclient: { from: [127.0.0.1] }\n%s", route);
    c = parse_good("xclient", text, NULL); /* LOGIN= */
    config_free(c);
}
