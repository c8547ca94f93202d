/* tls.h - what the TLS connections of one core share: keys, certificates and sessions.
 *
 * A context is made from files at start, used by one thread, and given to conn_start_tls() (conn.h)
 * for each connection. OpenSSL locks what threads share, so that every core has contexts of its own
 * and they share nothing. TLS 1.2 is the oldest version; compression, renegotiation and early data
 * are off.
 *
 * A context is read-only once made: new certificates are a new context. tls_context_destroy() gives
 * up the owner's hold; the memory goes with the last connection that uses it. */
#pragma once

#include "ring/base/base.h"

struct tls_context;

enum tls_version { TLS_VERSION_ANY, TLS_VERSION_1_2, TLS_VERSION_1_3 };

#define TLS_CERTIFICATE_COUNT_MAX 1000
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

struct tls_server_options {
    /* A client gets the certificate whose names (subjectAltName, or the common name when there is
     * none) fit the name it asked for, exactly or by `*.`; for one name there may be an ECDSA and
     * an RSA one, and the client's abilities decide. Unknown names, and clients that ask for none,
     * get the first. */
    const struct tls_certificate *certificates;
    uint32_t certificate_count;
    enum tls_version version_min, version_max;
    const char *ciphers;
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
};
