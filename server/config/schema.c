/* schema.c - see schema.h. Ranges have both ends, and docs/configuration.md names each key. */
#include "server/config/schema.h"

#include "server/config/checks.h"
#include "server/config/suggest.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

/* Where a value lives; with how wide a number is. */
#define AT(type, member) .offset = offsetof(struct type, member)
#define IN(type, member)                                                                           \
    .offset = offsetof(struct type, member), .width = sizeof(((struct type *)NULL)->member)
#define COUNT .kind = KEY_NUMBER, .units = UNITS_NONE
#define SIZE .kind = KEY_NUMBER, .units = UNITS_SIZE
#define DURATION .kind = KEY_NUMBER, .units = UNITS_DURATION
#define PERCENT .kind = KEY_NUMBER, .units = UNITS_PERCENT
#define RANGE(low, high) .min = (low), .max = (high)
#define UNBUILT(key_name)                                                                          \
    {                                                                                              \
        .name = (key_name), .kind = KEY_UNBUILT                                                    \
    }

static const struct choice services[] = {
    [SERVICE_MX] = {"mx", true}, [SERVICE_SUBMISSION] = {"submission", true}, {NULL, false}};
static const struct choice tls_modes[] = {[LISTENER_TLS_NONE] = {"none", true},
                                          [LISTENER_TLS_STARTTLS] = {"starttls", true},
                                          [LISTENER_TLS_IMPLICIT] = {"implicit", true},
                                          {NULL, false}};
/* Two choices each: they are stored as truth values. */
static const struct choice tls_versions[] = {{"1.2", true}, {"1.3", true}, {NULL, false}};
static const struct choice client_certificates[] = {
    {"none", true}, {"request", true}, {NULL, false}};
static const struct choice mechanisms[] = {[AUTH_SCRAM_SHA_256] = {"SCRAM-SHA-256", true},
                                           [AUTH_CRAM_MD5] = {"CRAM-MD5", true},
                                           [AUTH_PLAIN] = {"PLAIN", true},
                                           [AUTH_LOGIN] = {"LOGIN", true},
                                           {NULL, false}};
static const struct choice senders[] = {
    [SENDERS_ANY] = {"any", true}, [SENDERS_OWN] = {"own", true}, {NULL, false}};
static const struct choice newlines[] = {
    [NEWLINE_REJECT] = {"reject", true}, [NEWLINE_NORMALIZE] = {"normalize", true}, {NULL, false}};
static const struct choice formats[] = {[LOG_FORMAT_AUTO] = {"auto", true},
                                        [LOG_FORMAT_TEXT] = {"text", true},
                                        [LOG_FORMAT_JSON] = {"json", true},
                                        {NULL, false}};
static const struct choice levels[] = {[LOG_ERROR] = {"error", true},
                                       [LOG_WARN] = {"warn", true},
                                       [LOG_INFO] = {"info", true},
                                       [LOG_DEBUG] = {"debug", true},
                                       {NULL, false}};
static const struct choice hop_tls[] = {[HOP_TLS_NONE] = {"none", true},
                                        [HOP_TLS_MAY] = {"may", true},
                                        [HOP_TLS_REQUIRE] = {"require", true},
                                        [HOP_TLS_VERIFY] = {"verify", true},
                                        {NULL, false}};

static const struct schema_key node_keys[] = {
    {.name = "hostname", .kind = KEY_HOSTNAME, AT(config, node.hostname), .fallback = ""},
    {.name = "cores",
     .kind = KEY_CORES,
     IN(config, node.cores),
     RANGE(1, 256),
     .fallback = "auto",
     .needs_restart = true},
    {.name = "memory",
     SIZE,
     IN(config, node.memory),
     RANGE(16 * MIB, 64 * GIB),
     .fallback = "64MiB",
     .needs_restart = true},
    {.name = "drain_delay",
     DURATION,
     IN(config, drain_delay_ms),
     RANGE(0, 10 * MINUTE),
     .fallback = "0s"},
    {.name = "drain_timeout",
     DURATION,
     IN(config, drain_timeout_ms),
     RANGE(0, HOUR),
     .fallback = "30s"},
    {.name = "tls_ticket_rotation",
     DURATION,
     IN(config, node.tls_ticket_rotation_ms),
     RANGE(SECOND, 7 * DAY),
     .fallback = "8h"},
    {0},
};

static const struct schema_key spool_keys[] = {
    {.name = "path",
     .kind = KEY_PATH,
     AT(config, spool.path),
     .fallback = "/var/lib/postern",
     .needs_restart = true},
    {.name = "min_free",
     .kind = KEY_FREE_SPACE,
     AT(config, spool),
     .fallback = "5%",
     .needs_restart = true},
    {0},
};

static const struct schema_key limit_keys[] = {
    {.name = "connections",
     COUNT,
     IN(config_listener, limits.connections),
     RANGE(1, 1000000),
     .fallback = "50000",
     .needs_restart = true},
    {.name = "connections_per_client",
     COUNT,
     IN(config_listener, limits.connections_per_client),
     RANGE(1, 1000000),
     .fallback = "1000"},
    {.name = "message_size",
     SIZE,
     IN(config_listener, limits.message_size),
     RANGE(4 * KIB, 2 * GIB),
     .fallback = "50MiB"},
    {.name = "recipients",
     COUNT,
     IN(config_listener, limits.recipients),
     RANGE(1, 10000), /* as many as one record of the queue holds */
     .fallback = "1000"},
    {.name = "recipient_domains",
     COUNT,
     IN(config_listener, limits.recipient_domains),
     RANGE(0, 10000),
     .fallback = "0"},
    {.name = "handshakes",
     COUNT,
     IN(config_listener, limits.handshakes),
     RANGE(1, 1000000),
     .fallback = "1000"},
    {.name = "auth_failures",
     COUNT,
     IN(config_listener, limits.auth_failures),
     RANGE(1, 100),
     .fallback = "5"},
    {.name = "errors",
     COUNT,
     IN(config_listener, limits.errors),
     RANGE(1, 10000),
     .fallback = "20"},
    {.name = "junk_commands",
     COUNT,
     IN(config_listener, limits.junk_commands),
     RANGE(1, 10000),
     .fallback = "100"},
    {.name = "messages",
     COUNT,
     IN(config_listener, limits.messages),
     RANGE(0, 1000000),
     .fallback = "0"},
    {.name = "data_rate_min",
     SIZE,
     IN(config_listener, timeouts.data_rate_min),
     RANGE(0, GIB),
     .fallback = "500B"},
    {0},
};

static const struct schema_key listener_timeout_keys[] = {
    {.name = "command",
     DURATION,
     IN(config_listener, timeouts.command_ms),
     RANGE(SECOND, HOUR),
     .fallback = "300s"},
    {.name = "data",
     DURATION,
     IN(config_listener, timeouts.data_ms),
     RANGE(SECOND, HOUR),
     .fallback = "300s"},
    {.name = "session",
     DURATION,
     IN(config_listener, timeouts.session_ms),
     RANGE(0, 7 * DAY),
     .fallback = "0s"},
    {.name = "handshake",
     DURATION,
     IN(config_listener, timeouts.handshake_ms),
     RANGE(SECOND, 10 * MINUTE),
     .fallback = "30s"},
    {0},
};

static const struct schema_key certificate_keys[] = {
    {.name = "certificate", .kind = KEY_FILE, AT(config_certificate, chain), .is_required = true},
    {.name = "key", .kind = KEY_FILE, AT(config_certificate, key), .is_derived = true},
    {0},
};

static const struct schema_key tls_keys[] = {
    {.name = "mode",
     .kind = KEY_CHOICE,
     IN(config_listener, tls.mode),
     .choices = tls_modes,
     .fallback = "starttls"},
    {.name = "certificates",
     .kind = KEY_ENTRIES,
     AT(config_listener, tls.certificates),
     .count_offset = offsetof(struct config_listener, tls.certificate_count),
     .entry_bytes = sizeof(struct config_certificate),
     .keys = certificate_keys,
     .check = check_certificate,
     .max = CONFIG_CERTIFICATES_MAX},
    {.name = "min_version",
     .kind = KEY_CHOICE,
     IN(config_listener, tls.requires_1_3),
     .choices = tls_versions,
     .fallback = "1.2"},
    {.name = "client_certificates",
     .kind = KEY_CHOICE,
     IN(config_listener, tls.asks_client),
     .choices = client_certificates,
     .fallback = "none"},
    {.name = "client_ca", .kind = KEY_FILE, AT(config_listener, tls.client_ca)},
    {0},
};

static const struct schema_key auth_keys[] = {
    {.name = "users", .kind = KEY_FILE, AT(config_listener, auth.users), .is_required = true},
    {.name = "mechanisms",
     .kind = KEY_CHOICES,
     IN(config_listener, auth.mechanisms),
     .choices = mechanisms,
     .fallback = "SCRAM-SHA-256 PLAIN LOGIN"},
    {.name = "allow_plaintext",
     .kind = KEY_BOOLEAN,
     IN(config_listener, auth.is_plain_allowed),
     .fallback = "false"},
    {.name = "senders",
     .kind = KEY_CHOICE,
     IN(config_listener, auth.senders),
     .choices = senders,
     .fallback = "any"},
    {0},
};

#define FROM(member)                                                                               \
    {                                                                                              \
        .name = "from", .kind = KEY_NETWORKS, AT(config_listener, member),                         \
        .max = CONFIG_NETWORKS_MAX, .is_required = true                                            \
    }
static const struct schema_key proxy_keys[] = {
    FROM(proxy_protocol.from),
    {.name = "timeout",
     DURATION,
     IN(config_listener, proxy_protocol.timeout_ms),
     RANGE(100, MINUTE),
     .fallback = "5s"},
    {0},
};
static const struct schema_key xclient_keys[] = {FROM(xclient_from), {0}};
static const struct schema_key xforward_keys[] = {FROM(xforward_from), {0}};

static const struct schema_key listener_keys[] = {
    {.name = "name", .kind = KEY_NAME, AT(config_listener, name), .is_required = true},
    {.name = "address",
     .kind = KEY_LISTEN,
     AT(config_listener, addresses),
     .count_offset = offsetof(struct config_listener, address_count),
     .max = 16,
     .is_required = true,
     .needs_restart = true},
    {.name = "service",
     .kind = KEY_CHOICE,
     IN(config_listener, service),
     .choices = services,
     .fallback = "mx"},
    {.name = "bare_newline",
     .kind = KEY_CHOICE,
     IN(config_listener, bare_newline),
     .choices = newlines,
     .fallback = "reject"},
    {.name = "limits", .kind = KEY_SECTION, .keys = limit_keys},
    {.name = "timeouts", .kind = KEY_SECTION, .keys = listener_timeout_keys},
    {.name = "greeting_delay",
     DURATION,
     IN(config_listener, greeting_delay_ms),
     RANGE(0, MINUTE),
     .fallback = "0s"},
    {.name = "verify_sender_domain",
     .kind = KEY_BOOLEAN,
     IN(config_listener, verifies_sender_domain),
     .fallback = "false"},
    {.name = "tls", .kind = KEY_SECTION, .keys = tls_keys, .check = check_tls, .is_optional = true},
    {.name = "auth", .kind = KEY_SECTION, .keys = auth_keys, .is_optional = true},
    {.name = "proxy_protocol", .kind = KEY_SECTION, .keys = proxy_keys, .is_optional = true},
    {.name = "xclient", .kind = KEY_SECTION, .keys = xclient_keys, .is_optional = true},
    {.name = "xforward", .kind = KEY_SECTION, .keys = xforward_keys, .is_optional = true},
    {0},
};

static const struct schema_key match_keys[] = {
    {.name = "recipient", .kind = KEY_RECIPIENTS, AT(config_route, recipients)},
    {.name = "domain", .kind = KEY_DOMAINS, AT(config_route, domains)},
    {.name = "authenticated",
     .kind = KEY_BOOLEAN,
     IN(config_route, is_authenticated),
     .fallback = "false"},
    {0},
};

#define HOSTS(port)                                                                                \
    {                                                                                              \
        .name = "hosts", .kind = KEY_HOSTS, AT(config_route, hosts),                               \
        .count_offset = offsetof(struct config_route, host_count), .min = (port), .max = 64,       \
        .is_required = true                                                                        \
    }
#define HOP_TLS_KEYS                                                                               \
    {.name = "tls",                                                                                \
     .kind = KEY_CHOICE,                                                                           \
     IN(config_route, hop.tls),                                                                    \
     .choices = hop_tls,                                                                           \
     .fallback = "may"},                                                                           \
        {.name = "tls_ca", .kind = KEY_FILE, AT(config_route, hop.tls_ca)},                        \
    {                                                                                              \
        .name = "source", .kind = KEY_SOURCES, AT(config_route, hop), .max = 2                     \
    }
#define HOP_AUTH_KEYS                                                                              \
    {.name = "implicit_tls",                                                                       \
     .kind = KEY_BOOLEAN,                                                                          \
     IN(config_route, hop.is_tls_implicit),                                                        \
     .fallback = "false"},                                                                         \
        {.name = "username", .kind = KEY_TEXT, AT(config_route, hop.username)},                    \
        {.name = "password", .kind = KEY_PASSWORD, AT(config_route, hop.password)},                \
        {.name = "password_file", .kind = KEY_PASSWORD_FILE, AT(config_route, hop.password)},      \
        {.name = "mechanisms",                                                                     \
         .kind = KEY_CHOICES,                                                                      \
         IN(config_route, hop.mechanisms),                                                         \
         .choices = mechanisms,                                                                    \
         .fallback = "SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"},                                        \
    {                                                                                              \
        .name = "allow_plaintext_auth", .kind = KEY_BOOLEAN,                                       \
        IN(config_route, hop.is_plain_allowed), .fallback = "false"                                \
    }

static const struct schema_key smtp_keys[] = {HOSTS(25), HOP_TLS_KEYS, HOP_AUTH_KEYS, {0}};
static const struct schema_key lmtp_keys[] = {HOSTS(24), HOP_TLS_KEYS, HOP_AUTH_KEYS, {0}};
static const struct schema_key mx_keys[] = {
    HOP_TLS_KEYS,
    {.name = "port", COUNT, IN(config_route, mx_port), RANGE(1, 65535), .fallback = "25"},
    {.name = "allow_addresses",
     .kind = KEY_NETWORKS,
     AT(config_route, mx_allowed),
     .max = CONFIG_NETWORKS_MAX},
    {0},
};

static const struct schema_key maildir_keys[] = {
    {.name = "path", .kind = KEY_MAILDIR, AT(config_route, maildir_path), .is_required = true},
    {0},
};

static const struct schema_key no_keys[] = {{0}};

/* Their names are those of enum route_action, in its order: check_action() counts on it. */
static const struct schema_key action_keys[] = {
    [ACTION_SMTP] = {.name = "smtp",
                     .kind = KEY_SECTION,
                     .keys = smtp_keys,
                     .check = check_hop,
                     .is_optional = true},
    [ACTION_MAILDIR] = {.name = "maildir",
                        .kind = KEY_SECTION,
                        .keys = maildir_keys,
                        .is_optional = true},
    [ACTION_DISCARD] = {.name = "discard",
                        .kind = KEY_SECTION,
                        .keys = no_keys,
                        .is_optional = true},
    [ACTION_REJECT] = {.name = "reject", .kind = KEY_REPLY, AT(config_route, reject_reply)},
    [ACTION_LMTP] = {.name = "lmtp",
                     .kind = KEY_SECTION,
                     .keys = lmtp_keys,
                     .check = check_hop,
                     .is_optional = true},
    [ACTION_MX] = {.name = "mx", .kind = KEY_SECTION, .keys = mx_keys, .is_optional = true},
    {0},
};

static const struct schema_key route_keys[] = {
    {.name = "name", .kind = KEY_NAME, AT(config_route, name), .is_derived = true},
    {.name = "match",
     .kind = KEY_SECTION,
     .keys = match_keys,
     .check = check_match,
     .is_required = true},
    {.name = "action",
     .kind = KEY_SECTION,
     .keys = action_keys,
     .check = check_action,
     .is_required = true},
    {0},
};

static const struct schema_key retry_keys[] = {
    {.name = "first",
     DURATION,
     IN(config, delivery.retry.first_ms),
     RANGE(100, DAY),
     .fallback = "60s"},
    {.name = "factor",
     .kind = KEY_FACTOR,
     IN(config, delivery.retry.factor_percent),
     RANGE(100, 1000),
     .fallback = "2"},
    {.name = "max",
     DURATION,
     IN(config, delivery.retry.max_ms),
     RANGE(100, 7 * DAY),
     .fallback = "30m"},
    {.name = "jitter",
     PERCENT,
     IN(config, delivery.retry.jitter_percent),
     RANGE(0, 50),
     .fallback = "10%"},
    {.name = "expire",
     DURATION,
     IN(config, delivery.retry.expire_ms),
     RANGE(SECOND, 30 * DAY),
     .fallback = "5d"},
    {.name = "warn_after",
     DURATION,
     IN(config, delivery.retry.warn_after_ms),
     RANGE(0, 30 * DAY),
     .fallback = "4h"},
    {0},
};

static const struct schema_key per_destination_keys[] = {
    {.name = "connections",
     COUNT,
     IN(config, delivery.per_destination.connections),
     RANGE(1, 10000),
     .fallback = "20"},
    {.name = "messages_per_connection",
     COUNT,
     IN(config, delivery.per_destination.messages_per_connection),
     RANGE(1, 1000000),
     .fallback = "1000"},
    {.name = "rate",
     COUNT,
     IN(config, delivery.per_destination.messages_per_second),
     RANGE(0, 1000000),
     .fallback = "0"},
    {.name = "idle",
     DURATION,
     IN(config, delivery.per_destination.idle_ms),
     RANGE(0, 10 * MINUTE),
     .fallback = "10s"},
    {0},
};

#define DELIVERY_TIMEOUT(key, member, value)                                                       \
    {                                                                                              \
        .name = (key), DURATION, IN(config, delivery.timeouts.member), RANGE(100, HOUR),           \
        .fallback = (value)                                                                        \
    }
static const struct schema_key delivery_timeout_keys[] = {
    DELIVERY_TIMEOUT("connect", connect_ms, "30s"),
    DELIVERY_TIMEOUT("greeting", greeting_ms, "300s"),
    DELIVERY_TIMEOUT("command", command_ms, "300s"),
    DELIVERY_TIMEOUT("data_init", data_init_ms, "120s"),
    DELIVERY_TIMEOUT("data_block", data_block_ms, "180s"),
    DELIVERY_TIMEOUT("data_end", data_end_ms, "600s"),
    {0},
};

static const struct schema_key bounces_keys[] = {
    {.name = "per_minute",
     COUNT,
     IN(config, delivery.bounces.per_minute),
     RANGE(0, 1000000),
     .fallback = "60"},
    {.name = "message_size",
     SIZE,
     IN(config, delivery.bounces.message_bytes_max),
     RANGE(0, 50 * MIB),
     .fallback = "50KiB"},
    {0},
};

static const struct schema_key resolver_keys[] = {
    {.name = "servers",
     .kind = KEY_SERVERS,
     AT(config, resolver.servers),
     .count_offset = offsetof(struct config, resolver.server_count),
     .min = 53,
     .max = 8},
    {.name = "trust_ad", .kind = KEY_BOOLEAN, IN(config, resolver.trusts_ad), .fallback = "false"},
    {.name = "timeout",
     DURATION,
     IN(config, resolver.timeout_ms),
     RANGE(100, MINUTE),
     .fallback = "5s"},
    {.name = "tries", COUNT, IN(config, resolver.tries), RANGE(1, 10), .fallback = "2"},
    {0},
};

static const struct schema_key delivery_keys[] = {
    {.name = "retry", .kind = KEY_SECTION, .keys = retry_keys, .check = check_retry},
    {.name = "per_destination", .kind = KEY_SECTION, .keys = per_destination_keys},
    {.name = "bounces", .kind = KEY_SECTION, .keys = bounces_keys},
    {.name = "timeouts", .kind = KEY_SECTION, .keys = delivery_timeout_keys},
    {0},
};

static const struct schema_key admin_keys[] = {
    {.name = "address",
     .kind = KEY_ADMIN,
     AT(config, admin),
     .max = 16,
     .fallback = "127.0.0.1:8025",
     .needs_restart = true},
    {0},
};

static const struct schema_key log_keys[] = {
    {.name = "format",
     .kind = KEY_CHOICE,
     IN(config, log.format),
     .choices = formats,
     .fallback = "auto",
     .needs_restart = true},
    {.name = "level",
     .kind = KEY_CHOICE,
     IN(config, log.level),
     .choices = levels,
     .fallback = "info"},
    {0},
};

const struct schema_key schema_root[] = {
    {.name = "node", .kind = KEY_SECTION, .keys = node_keys},
    {.name = "spool", .kind = KEY_SECTION, .keys = spool_keys},
    {.name = "listeners",
     .kind = KEY_ENTRIES,
     AT(config, listeners),
     .count_offset = offsetof(struct config, listener_count),
     .entry_bytes = sizeof(struct config_listener),
     .keys = listener_keys,
     .check = check_listener,
     .max = 64,
     .is_required = true},
    {.name = "routes",
     .kind = KEY_ENTRIES,
     AT(config, routes),
     .count_offset = offsetof(struct config, route_count),
     .entry_bytes = sizeof(struct config_route),
     .keys = route_keys,
     .max = 10000,
     .fallback = "route", /* an entry without a name is route-1, ... */
     .is_required = true},
    {.name = "delivery", .kind = KEY_SECTION, .keys = delivery_keys},
    {.name = "resolver", .kind = KEY_SECTION, .keys = resolver_keys},
    {.name = "admin", .kind = KEY_SECTION, .keys = admin_keys},
    {.name = "log", .kind = KEY_SECTION, .keys = log_keys},
    {0},
};

bool schema_entries_have_names(const struct schema_key *entries)
{
    return entries->keys[0].kind == KEY_NAME;
}

const struct schema_key *schema_find(const struct schema_key *keys, struct slice name)
{
    for (; keys->name != NULL; keys++) {
        if (slice_eq_nocase(name, slice_of_cstr(keys->name))) return keys;
    }
    return NULL;
}

const char *schema_suggest(const struct schema_key *keys, struct slice name)
{
    const char *best = NULL;
    for (; keys->name != NULL; keys++) {
        best = suggest(name, best, keys->name);
    }
    return best;
}
