/* config.h - the effective configuration: one file, the environment, and the defaults.
 *
 * schema.c holds the table of every key: type, range, default, and whether it is built. The result
 * is const after config_load() and may be read by any thread until config_free(). Sizes are bytes,
 * durations milliseconds (`_ms`), percentages whole numbers. Flag > environment > file > default.
 */
#pragma once

#include "ring/base/endpoint.h"
#include "ring/base/log.h"
#include "ring/base/network.h"

#include <stdio.h>

/* Of all listeners and the admin together: every core waits for connections on each. */
#define CONFIG_ADDRESSES_MAX 16
#define CONFIG_CERTIFICATES_MAX 1000 /* of a listener */
#define CONFIG_NETWORKS_MAX 1000     /* of one list: it is searched from its start */

enum listener_service { SERVICE_MX, SERVICE_SUBMISSION };
enum listener_tls { LISTENER_TLS_NONE, LISTENER_TLS_STARTTLS, LISTENER_TLS_IMPLICIT };
enum sender_policy { SENDERS_ANY, SENDERS_OWN };
/* BIT() of each may be offered; the order is that of the EHLO line. */
enum auth_mechanism {
    AUTH_SCRAM_SHA_256,
    AUTH_CRAM_MD5,
    AUTH_PLAIN,
    AUTH_LOGIN,
    AUTH_MECHANISM_COUNT,
};
enum newline_policy { NEWLINE_REJECT, NEWLINE_NORMALIZE };
enum log_format_choice { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct config_certificate {
    char *chain, *key; /* absolute paths of PEM files */
};

struct config_networks {
    struct network *entries;
    size_t count;
};

struct config_listener {
    char *name;
    struct endpoint *addresses;
    size_t address_count;
    enum listener_service service;
    enum newline_policy bare_newline;
    struct {
        enum listener_tls mode;
        struct config_certificate *certificates;
        size_t certificate_count;
        bool requires_1_3; /* min_version */
        bool asks_client;  /* for a certificate of the client; any or none will do */
        char *client_ca;   /* absolute; what its certificate is checked against; may be NULL */
    } tls;
    struct {
        char *users;           /* absolute path of the users file; NULL: no AUTH */
        unsigned mechanisms;   /* BITs of enum auth_mechanism */
        bool is_plain_allowed; /* also without TLS */
        enum sender_policy senders;
    } auth;
    struct {
        struct config_networks from; /* none: no header is expected */
        uint64_t timeout_ms;
    } proxy_protocol;
    struct config_networks xclient_from, xforward_from;
    bool verifies_sender_domain; /* of senders that did not authenticate: it must be in the DNS */
    uint64_t greeting_delay_ms;  /* the banner is held for so long: who talks first is no client */
    struct {
        uint64_t connections, connections_per_client, message_size, recipients;
        uint64_t recipient_domains; /* of one message; 0: no limit */
        uint64_t handshakes;        /* of TLS under way at the same time, on all cores together */
        uint64_t auth_failures;     /* in a session before 421; then the client is held off */
        uint64_t errors;            /* refused commands in a session before 421 */
        uint64_t junk_commands;     /* commands without a message before 421 */
        uint64_t messages;          /* per connection; 0: no limit */
    } limits;
    struct {
        /* RFC 5321 4.5.3.2.7: 5 minutes; `data`: no byte of the message for so long; `session`: the
         * whole life of a connection, 0: no limit. */
        uint64_t command_ms, data_ms, session_ms, handshake_ms;
        uint64_t data_rate_min; /* bytes per second on average, after the first 30 s */
    } timeouts;
};

enum route_action {
    ACTION_SMTP,
    ACTION_MAILDIR,
    ACTION_DISCARD,
    ACTION_REJECT,
    ACTION_LMTP,
    ACTION_MX,
};

/* What a connection to a next hop owes to TLS. */
enum hop_tls { HOP_TLS_NONE, HOP_TLS_MAY, HOP_TLS_REQUIRE, HOP_TLS_VERIFY };

/* One that a route names. */
struct config_host {
    char *name;               /* a host name in lower case, to be looked up; NULL: an address */
    struct endpoint endpoint; /* the address; of a name its port alone (of 0.0.0.0) */
    char *unix_path; /* lmtp: absolute path of a socket, and neither of the above; or NULL */
};

/* How the next hops of a route are talked to: smtp, lmtp and mx. */
struct config_hop {
    enum hop_tls tls;
    bool is_tls_implicit;                 /* TLS from the first byte on (RFC 8314) */
    char *tls_ca;                         /* absolute path of PEM roots; NULL: the system's */
    char *username, *password;            /* NULL: no AUTH */
    unsigned mechanisms;                  /* BITs of enum auth_mechanism that may be used */
    bool is_plain_allowed;                /* AUTH without TLS as well, with every mechanism */
    struct endpoint source_v4, source_v6; /* connections come from there; addr_len 0: from any */
};

struct config_list {
    char **entries; /* lower case */
    size_t count;
};

struct config_route {
    char *name;                 /* given, or "route-N" with N from 1 */
    struct config_list domains; /* "example.test", "*.example.test" (any depth), "*" */
    struct config_list recipients;
    bool is_authenticated; /* only for messages of authenticated clients */
    enum route_action action;
    struct config_host *hosts; /* smtp, lmtp: tried in this order */
    size_t host_count;
    struct config_hop hop;             /* smtp, lmtp, mx */
    unsigned mx_port;                  /* mx: 25 but for closed networks */
    struct config_networks mx_allowed; /* mx: private and own addresses that may be connected to */
    char *maildir_path; /* maildir: absolute, with {domain} and {local} still in it */
    char *reject_reply; /* reject: "550 5.1.1 Text", checked */
};

struct config {
    char *file; /* its path, as it was given */
    struct {
        char *hostname;
        unsigned cores;  /* resolved: never 0 */
        uint64_t memory; /* bytes for message bodies in memory, all cores together */
        uint64_t tls_ticket_rotation_ms; /* how long a key of TLS sessions is used */
    } node;
    struct {
        char *path;              /* absolute */
        uint64_t min_free_bytes; /* one of the two is set, the other 0 */
        unsigned min_free_percent;
    } spool;
    struct config_listener *listeners;
    size_t listener_count;
    struct config_route *routes;
    size_t route_count;
    struct {
        struct {
            uint64_t first_ms, max_ms, expire_ms;
            unsigned factor_percent; /* 200: doubled each time */
            unsigned jitter_percent;
            uint64_t warn_after_ms; /* then the sender is told of the delay; 0: never */
        } retry;
        struct {
            unsigned connections, messages_per_connection;
            unsigned messages_per_second; /* over all cores; 0: as many as it takes */
            uint64_t idle_ms;
        } per_destination;
        struct {
            /* Notifications to one sender's domain and core: so many at once, then so many a
             * minute; what is beyond is logged and not sent. 0: no limit. */
            unsigned per_minute;
            uint64_t
                message_bytes_max; /* above it a message returns as its header (RET=FULL too) */
        } bounces;
        /* RFC 5321 4.5.3.2, waits for the next hop. */
        struct {
            uint64_t connect_ms, greeting_ms, command_ms, data_init_ms, data_block_ms, data_end_ms;
        } timeouts;
    } delivery;
    struct {
        struct endpoint *servers; /* none: those of /etc/resolv.conf */
        size_t server_count;
        bool trusts_ad;
        uint64_t timeout_ms;
        unsigned tries;
    } resolver;
    struct {
        struct endpoint *addresses;
        size_t address_count;
        char **unix_paths; /* absolute */
        size_t unix_path_count;
    } admin;
    struct {
        enum log_format_choice format;
        enum log_level level;
    } log;
    uint64_t drain_delay_ms;   /* node.drain_delay */
    uint64_t drain_timeout_ms; /* node.drain_timeout: then open sessions are cut */
    void *origins;             /* for config_show() */
};

/* Everything wrong, in the order of the file. */
struct config_problems {
    char **lines; /* "file:line:column: message" */
    size_t count;
};

/* Reads `file` and the environment (`environment` as environ(7), NULL: none). Returns 0, or
 * -ERR_SYNTAX with every problem listed, or -ERR_* when the file cannot be read (one problem says
 * why). *config_out is NULL on failure. */
MUST_USE int config_load(const char *file, char *const *environment, struct config **config_out,
                         struct config_problems *problems);
/* The same from text; relative paths are relative to `directory`; `name` stands for the file. */
MUST_USE int config_parse(struct slice text, const char *name, const char *directory,
                          char *const *environment, struct config **config_out,
                          struct config_problems *problems);
/* config_load() with values from flags over all others: KEY=VALUE ("node.cores=1",
 * "listeners.mx.limits.recipients=10"), ended with NULL; NULL: none. */
MUST_USE int config_load_with_flags(const char *file, char *const *environment, char *const *flags,
                                    struct config **config_out, struct config_problems *problems);
void config_free(struct config *config); /* NULL is allowed */
void config_problems_free(struct config_problems *problems);
/* Adds one line. The bytes of the arguments that a terminal would act on are written as '?'. */
void config_problems_add(struct config_problems *problems, const char *format, ...)
    PRINTF_LIKE(2, 3);
/* Where the value of that key came from, as "file:12:5", "environment NAME", "--set KEY" or
 * "default"; `path` as config_show() writes it. NULL: there is no such key. */
const char *config_origin(const struct config *config, const char *path);
/* Every effective value, one a line: "listeners[mx].limits.recipients: 1000  # file:12:5". */
void config_show(const struct config *config, FILE *out);
/* What differs and cannot change while the process runs (listener addresses, spool.path,
 * node.cores ...): the key's path, which belongs to one of the two, or NULL when `next` can be put
 * in place of `now`. */
const char *config_needs_restart(const struct config *now, const struct config *next);
