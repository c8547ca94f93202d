/* tls_internal.h - what the files of TLS share with each other and with conn_tls.c; nobody else
 * includes it.
 *
 * tls_context.c makes contexts, tls_server.c the servers' part of them, tls_certificate.c a
 * server's certificates, tls_tickets.c has the keys of tickets, tls_session.c is a client's memory
 * of sessions, tls_stream.c has OpenSSL's state of one connection. No OpenSSL type appears above
 * this header. */
#pragma once

#include "ring/base/list.h"
#include "ring/base/map.h"
#include "ring/tls.h"

#include <openssl/ssl.h>

#define TLS_RECORD_BYTES 16384                       /* plaintext in one record, at most */
#define TLS_RECORD_WIRE_BYTES (16384 + 256)          /* and what becomes of it on the wire */
#define TLS_SEALED_BYTES (4 * TLS_RECORD_WIRE_BYTES) /* one send of a large body */
/* Ciphertext that waits to be sent. Only a peer that asks and asks and never reads comes here. */
#define TLS_SEALED_BYTES_MAX (2 * TLS_SEALED_BYTES)
/* Ciphertext that brings no byte for the owner: a handshake with a long chain, and floods of empty
 * records, key updates or tickets. */
#define TLS_SILENT_BYTES_MAX 131072
/* Records and handshake messages after the handshake that are no data: key updates, tickets, alerts
 * and attempts to renegotiate. A server is sent none in a normal session, a client a few tickets.
 * Each costs a key's derivation or an answer, far more than its bytes tell. */
#define TLS_CONTROL_COUNT_MAX 128
/* Of a client's certificate chain, which is read before anything is known of the client. */
#define TLS_CLIENT_CHAIN_BYTES_MAX 32768
#define TLS_CLIENT_CHAIN_COUNT_MAX 8
#define TLS_SERVER_NAME_BYTES_MAX 255

/* --- a server's certificates --- */

enum tls_key_type { TLS_KEY_EC, TLS_KEY_RSA, TLS_KEY_ED, TLS_KEY_TYPE_COUNT };

struct tls_site {
    SSL_CTX *ctx;
    int32_t by_type[TLS_KEY_TYPE_COUNT]; /* index of the certificate; -1: none */
};

struct tls_site_name {
    char *name; /* lower case */
    SSL_CTX *ctx;
};

/* A site is one choice of certificates, at most one of each type, with an SSL_CTX that holds it.
 * The first is for unknown names. */
struct tls_sites {
    struct tls_site *sites;
    struct tls_site_name *names; /* sorted */
    size_t site_count, name_count;
    struct tls_certificate_info *infos; /* one a certificate; the texts are owned */
    uint32_t info_count;
};

/* Makes an SSL_CTX with everything but certificates. Returns 0, or -ERR_* with a line in `why`;
 * also then *ctx_out is the caller's, and may be NULL. */
typedef int tls_ctx_make(void *data, SSL_CTX **ctx_out, char *why, size_t why_cap);

/* On failure `sites` is to be finished all the same. */
MUST_USE int tls_sites_load(struct tls_sites *sites, const struct tls_server_options *options,
                            tls_ctx_make *make, void *data, char *why, size_t why_cap);
void tls_sites_finish(struct tls_sites *sites);
/* NULL for a name that no certificate has. `name` is of the peer's making. */
SSL_CTX *tls_sites_find(const struct tls_sites *sites, const char *name);

/* --- ticket keys --- */

struct tls_ticket_key {
    unsigned char name[16], cipher_key[32], mac_key[32];
};

/* A context's copy of the keys of one period: the first is 1, so that 0 is no copy. */
struct tls_ticket_keys {
    uint64_t period;
    struct tls_ticket_key now, before;
};

struct tls_tickets *tls_tickets_hold(struct tls_tickets *tickets);
/* Brings `keys` up to the present; takes a lock only when they are of another period. */
void tls_tickets_update(struct tls_tickets *tickets, struct tls_ticket_keys *keys);
/* How long a session is good for. */
uint32_t tls_tickets_session_seconds(const struct tls_tickets *tickets);
/* For tests: `now_ms` in place of the machine's clock, before any context uses the tickets. */
void tls_tickets_set_clock(struct tls_tickets *tickets, uint64_t (*now_ms)(void));
/* OpenSSL asks for keys of a ticket (SSL_CTX_set_tlsext_ticket_key_evp_cb). */
int tls_tickets_choose_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                           EVP_MAC_CTX *mac, int is_sealing);

/* --- a client's sessions --- */

struct tls_sessions {
    struct map by_name;
    struct list by_use; /* the longest unused first */
};

void tls_sessions_init(struct tls_sessions *sessions);
void tls_sessions_finish(struct tls_sessions *sessions);
/* Takes `session`, in place of an older one for that name. Without memory it is forgotten. */
void tls_sessions_put(struct tls_sessions *sessions, const char *name, SSL_SESSION *session);
/* A copy that the caller frees; NULL when there is none that can be resumed. */
SSL_SESSION *tls_sessions_get(struct tls_sessions *sessions, const char *name);

/* --- the context --- */

struct tls_context {
    SSL_CTX *ctx;
    BIO_METHOD *bio_method;
    bool is_server, verifies, resumes;
    uint32_t hold_count; /* the owner, and each stream */
    struct tls_sites sites;
    struct tls_tickets *tickets; /* of a server; held */
    struct tls_ticket_keys keys; /* its copy */
    EVP_CIPHER *ticket_cipher;   /* fetched once: a fetch for each ticket takes a lock */
    bool has_client_roots;       /* of a server that asks for certificates */
    struct tls_sessions sessions;
    /* For the moment of one call: what was decrypted, and what is gathered to be encrypted. Two,
     * because an owner writes while it looks at what it was shown. */
    char opened[TLS_RECORD_BYTES], gathered[TLS_RECORD_BYTES];
};

struct tls_context *tls_context_new(bool is_server);
/* Ends a half-made context; returns `err`, with *context_out NULL. */
int tls_context_failed(struct tls_context *context, int err, struct tls_context **context_out);
/* The settings that clients and servers share. */
MUST_USE bool tls_context_set_up(SSL_CTX *ctx, enum tls_version version_min,
                                 enum tls_version version_max, const char *ciphers);
/* Takes the certificates in `file` for roots. */
MUST_USE int tls_context_load_roots(SSL_CTX *ctx, const char *file, char *why, size_t why_cap);
void tls_context_hold(struct tls_context *context);
/* Frees the context with the last hold. */
void tls_context_release(struct tls_context *context);
/* One line about OpenSSL's oldest error, or `otherwise`; empties its queue. */
void tls_explain(const char *what, const char *otherwise, char *why, size_t why_cap);

/* --- a stream --- */

enum tls_result { TLS_OK, TLS_WANTS_INPUT, TLS_ENDED, TLS_FAILED };

/* OpenSSL's state of a connection. It reads from `source` and writes to `sealed`; it touches no
 * socket and never waits. */
struct tls_stream {
    struct tls_context *context;
    SSL *ssl;
    struct slice source; /* ciphertext, for the time of one event */
    char *sealed;        /* ciphertext to be sent; NULL: none */
    uint32_t sealed_len, sealed_cap;
    uint32_t silent_bytes, control_count;
    bool is_secured, is_out_of_memory, is_stuck;
    char *session_name; /* what a client's session is kept under; NULL: it is not */
    char *error;        /* of tls_stream_fail(); may be NULL */
    char *peer_subject; /* made when it is first asked for; may be NULL */
};

/* Counts what is no data (SSL_CTX_set_msg_callback). */
void tls_stream_count(int is_sent, int version, int type, const void *bytes, size_t len, SSL *ssl,
                      void *data);

/* The BIO that reads from `source` and writes to `sealed`; NULL when memory is out. */
BIO_METHOD *tls_bio_method_create(void);

/* Returns 0, -ERR_MEMORY or -ERR_INVALID (the name); after a failure there is nothing to end. */
MUST_USE int tls_stream_open(struct tls_stream *stream, struct tls_context *context,
                             const char *server_name);
void tls_stream_close(struct tls_stream *stream);
/* Lends ciphertext; an empty slice takes it back. */
void tls_stream_feed(struct tls_stream *stream, struct slice ciphertext);
/* True when a read may bring something. */
bool tls_stream_has_input(const struct tls_stream *stream);
/* TLS_OK: the handshake is done. */
enum tls_result tls_stream_handshake(struct tls_stream *stream);
/* TLS_OK: at least one byte. TLS_ENDED: the peer has ended its half in good order. */
enum tls_result tls_stream_read(struct tls_stream *stream, void *into, size_t cap,
                                size_t *bytes_out);
/* Seals at most TLS_RECORD_BYTES. */
MUST_USE bool tls_stream_write(struct tls_stream *stream, struct slice plain);
/* Makes room for so much ciphertext; without memory, writing will fail. */
void tls_stream_reserve(struct tls_stream *stream, size_t bytes);
/* Seals the end of our half, when the handshake is done. */
void tls_stream_end(struct tls_stream *stream);
bool tls_stream_is_ended_by_peer(const struct tls_stream *stream);
/* Words a failure of our own making. */
void tls_stream_fail(struct tls_stream *stream, const char *text);
void tls_stream_info(struct tls_stream *stream, struct tls_info *info_out);
