/* tls.h - what the TLS connections of one core share: keys, certificates and sessions.
 *
 * A context is made from files at start, used by one thread, and given to conn_start_tls() (conn.h)
 * for each connection. OpenSSL locks what threads share, so that every core has contexts of its own
 * and they share nothing but the keys of tickets, once in a long while. TLS 1.2 is the oldest
 * version; compression, renegotiation and early data are off.
 *
 * A context is read-only once made: new certificates are a new context. tls_context_destroy() gives
 * up the owner's hold; the memory goes with the last connection that uses it. */
#pragma once

#include "ring/base/base.h"

struct tls_context;
struct tls_tickets;

enum tls_version { TLS_VERSION_ANY, TLS_VERSION_1_2, TLS_VERSION_1_3 };

#define TLS_CERTIFICATE_COUNT_MAX 1000
#define TLS_SUBJECT_BYTES_MAX 512
#define TLS_SESSION_COUNT_MAX 1024 /* server names whose sessions a client context remembers */

struct tls_client_options {
    /* A server is refused unless its certificate chain ends in `ca_file` and names it. Without
     * this, any certificate will do; tls_info tells whether it would have passed. */
    bool verifies;
    const char *ca_file; /* PEM; NULL: the system's store when `verifies`, nothing otherwise */
    /* Remembers the last session of each server name and offers it: a resumed handshake costs
     * neither side a signature. Off: every handshake is a full one. */
    bool resumes;
    enum tls_version version_min, version_max; /* TLS_VERSION_ANY: 1.2 and 1.3 */
    const char *ciphers; /* of TLS 1.2, as OpenSSL writes them; NULL: OpenSSL's own */
};

struct tls_certificate {
    const char *chain_file; /* PEM: the certificate, then those that lead to its root */
    const char *key_file;   /* PEM, not encrypted; may be the same file */
};

/* --- ticket keys --- */

#define TLS_TICKETS_ROTATION_MS_MIN 1000
#define TLS_TICKETS_ROTATION_MS_MAX (7ull * 24 * 3600 * 1000) /* RFC 8446 section 4.6.1 */
#define TLS_TICKETS_ROTATION_MS (12ull * 3600 * 1000)         /* of a context that has its own */
#define TLS_SESSION_SECONDS_MAX 86400

/* The keys that server contexts seal sessions with, so that a client resumes on any core and after
 * new certificates were loaded: whoever makes contexts keeps one of these, and gives it to all of
 * them. Each `rotation_ms` (clamped to the bounds above) has a key of its own; the key of the time
 * before still opens tickets, and what it opened is answered with a ticket of the present. Older
 * keys are erased. A session is good for one rotation, and at most TLS_SESSION_SECONDS_MAX.
 *
 * May be used by the contexts of many threads: they lock it once per rotation. NULL when OpenSSL
 * has no memory or no random numbers. */
MUST_USE struct tls_tickets *tls_tickets_create(uint64_t rotation_ms);
/* Gives up the owner's hold; the memory, erased, goes with the last context. NULL is allowed. */
void tls_tickets_destroy(struct tls_tickets *tickets);

/* --- servers --- */

struct tls_server_options {
    /* A client gets the certificate whose names (subjectAltName, or the common name when there is
     * none) fit the name it asked for, exactly or by `*.`; for one name there may be an ECDSA and
     * an RSA one, and the client's abilities decide. Unknown names, and clients that ask for none,
     * get the first. */
    const struct tls_certificate *certificates;
    uint32_t certificate_count;
    bool allows_expired; /* takes certificates out of their time as well: tests have them */
    enum tls_version version_min, version_max;
    /* Of TLS 1.2. NULL: AES-GCM and ChaCha20-Poly1305 with ECDHE, which is what every mail server
     * since 2016 speaks; the client's preference counts when it puts ChaCha20 first. */
    const char *ciphers;
    struct tls_tickets *tickets; /* held; NULL: of this context alone */
    /* Asks each client for a certificate. None, and any, will do: tls_info tells what it was. */
    bool asks_client;
    const char *client_ca_file; /* PEM; NULL: no certificate of a client is vouched for */
};

/* Both read their files now, and borrow nothing of the options. They return 0, or -ERR_* with
 * *context_out NULL and one line for people in `why` (of `why_cap` bytes): which file, and what is
 * wrong with it. */
MUST_USE int tls_client_context_create(const struct tls_client_options *options,
                                       struct tls_context **context_out, char *why, size_t why_cap);
MUST_USE int tls_server_context_create(const struct tls_server_options *options,
                                       struct tls_context **context_out, char *why, size_t why_cap);
/* NULL is allowed. Connections that use it may still run: they keep what they need. */
void tls_context_destroy(struct tls_context *context);

/* A certificate of a server context, for those who watch when it ends. */
struct tls_certificate_info {
    const char *name;    /* the first DNS name, or the common name, in lower case; "": neither */
    const char *file;    /* chain_file */
    int64_t not_after_s; /* since 1970-01-01 UTC */
};

/* 0 for a client context. */
uint32_t tls_server_certificate_count(const struct tls_context *context);
/* The texts live as long as the context. `index` is that of the options. */
void tls_server_certificate(const struct tls_context *context, uint32_t index,
                            struct tls_certificate_info *info_out);
/* Brings the context's copy of the ticket keys up to the present, as each handshake does: for a
 * slow timer of a core (a minute will do), so that one without handshakes keeps no key that is to
 * be forgotten. */
void tls_context_refresh(struct tls_context *context);

/* What the two ends agreed on (conn_tls_info()). The texts live as long as the connection. */
struct tls_info {
    const char *version;     /* "TLSv1.3" */
    const char *cipher;      /* "TLS_AES_256_GCM_SHA384" */
    int cipher_bits;         /* 256 */
    const char *server_name; /* that the client asked for; NULL: none */
    bool is_resumed;
    /* The peer showed a certificate that its name and the context's roots vouch for. Of a resumed
     * session: it did when the session began. */
    bool is_peer_verified;
    const char *verify_text; /* why it is not; "ok" when it is */
    /* Whom the peer's certificate names (RFC 2253: "CN=mail.example,O=Example"), printable ASCII;
     * NULL: it showed none. It may have written there what it likes unless it is verified. What is
     * beyond TLS_SUBJECT_BYTES_MAX is cut off, and "..." tells so. */
    const char *peer_subject;
};
