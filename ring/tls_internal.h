/* tls_internal.h - what the files of TLS share with each other and with conn_tls.c; nobody else
 * includes it.
 *
 * tls_context.c makes contexts, tls_certificate.c a server's certificates, tls_session.c is a
 * client's memory of sessions, tls_stream.c has OpenSSL's state of one connection. No OpenSSL type
 * appears above this header. */
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
};

/* Makes an SSL_CTX with everything but certificates; NULL when memory is out. */
typedef SSL_CTX *tls_ctx_make(void *data);

/* On failure `sites` is to be finished all the same. */
MUST_USE int tls_sites_load(struct tls_sites *sites, const struct tls_certificate *certificates,
                            uint32_t count, tls_ctx_make *make, void *data, char *why,
                            size_t why_cap);
void tls_sites_finish(struct tls_sites *sites);
/* NULL for a name that no certificate has. `name` is of the peer's making. */
SSL_CTX *tls_sites_find(const struct tls_sites *sites, const char *name);

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
    struct tls_sessions sessions;
    /* For the moment of one call: what was decrypted, and what is gathered to be encrypted. Two,
     * because an owner writes while it looks at what it was shown. */
    char opened[TLS_RECORD_BYTES], gathered[TLS_RECORD_BYTES];
};

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
    uint32_t silent_bytes;
    bool is_secured, is_out_of_memory, is_stuck;
    char *session_name; /* what a client's session is kept under; NULL: it is not */
    char *error;        /* of tls_stream_fail(); may be NULL */
};

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
void tls_stream_info(const struct tls_stream *stream, struct tls_info *info_out);
