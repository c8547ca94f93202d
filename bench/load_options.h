/* load_options.h - what `load` was asked to do. */
#pragma once

#include "bench/message.h"
#include "ring/base/endpoint.h"

#define LOAD_CORES_MAX 64
#define LOAD_SESSIONS_MAX 60000
#define LOAD_RECIPIENTS_MAX 1000
#define LOAD_IDLE_MAX 1000000
#define LOAD_CLIENTS_MAX 100000
#define LOAD_CHUNK_BYTES_MIN MESSAGE_HEADER_BYTES_MAX
#define LOAD_SECRET_BYTES_MAX 256 /* of a user's name, and of a password */

/* In the order in which the help names them. */
enum load_transfer { LOAD_TRANSFER_DATA, LOAD_TRANSFER_BDAT };
enum load_tls { LOAD_TLS_NONE, LOAD_TLS_STARTTLS, LOAD_TLS_IMPLICIT };
enum load_handshake { LOAD_HANDSHAKE_FULL, LOAD_HANDSHAKE_RESUMED };
enum load_auth { LOAD_AUTH_NONE, LOAD_AUTH_PLAIN, LOAD_AUTH_LOGIN, LOAD_AUTH_CRAM_MD5 };
enum load_proxy { LOAD_PROXY_NONE, LOAD_PROXY_V1, LOAD_PROXY_V2 };
enum load_pipelining { LOAD_PIPELINING_ON, LOAD_PIPELINING_OFF };

struct load_options {
    struct endpoint to;
    uint32_t cores, sessions, recipients;
    uint64_t messages;                /* 0: until the duration is over, or it is stopped */
    uint64_t messages_per_connection; /* 0: no limit */
    uint64_t duration_ns;             /* no message is begun after it; 0: none */
    uint64_t timeout_ns, reply_timeout_ns;
    double rate; /* messages a second from all sessions; 0: as fast as replies come */
    struct message_options message;

    uint32_t pipelining; /* enum load_pipelining */
    uint32_t transfer;   /* enum load_transfer */
    uint64_t chunk_bytes;

    uint32_t tls, handshake;                /* enum load_tls, load_handshake */
    const char *tls_verify_file, *tls_name; /* NULL: none */
    uint32_t auth;                          /* enum load_auth */
    const char *user, *password_file;       /* as given; NULL: none */
    const char *password;                   /* of the file or the command line */
    char password_bytes[LOAD_SECRET_BYTES_MAX + 2];
    uint32_t proxy, clients; /* enum load_proxy; its client addresses */

    uint32_t idle, idle_per_address; /* connections that stay silent; from one source address */
    uint32_t slow;                   /* sessions that send data at slow_bytes_s */
    uint64_t slow_bytes_s;

    const char *ledger, *json; /* NULL: none; standard output */
    bool is_poisson, has_sync_ledger, may_reconnect, until_killed_ok, with_buckets;
};

/* Reads the command line. When it is wrong, or asks for help, says so and ends the process (64, 0).
 * Strings are those of the command line. */
void load_options_read(struct load_options *options, int argc, char **argv);
