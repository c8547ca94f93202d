/* tls_server.c - makes the contexts of servers: one SSL_CTX for each choice of certificates, all
 * with the same settings.
 *
 * Tickets are the memory of sessions: there is no cache of our own, and one ticket a handshake
 * serves a client that comes again. What a session may be resumed for depends on what its client
 * was asked, so that the roots of clients are a part of the session's id context. */
#include "ring/base/err.h"
#include "ring/base/memory.h"
#include "ring/tls_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

/* The least that is worth speaking to: forward secrecy and AEAD. */
#define CIPHERS                                                                                    \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"

/* --- what a client asks for --- */

/* RFC 7301: a client that offers protocols and not ours is told so. "smtp" is no registered name,
 * but the one that is used. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *data)
{
    (void)ssl, (void)data;
    static const char smtp[] = "smtp";
    for (unsigned at = 0; at < in_len; at += 1u + in[at]) {
        bool is_whole = at + 1u + in[at] <= in_len;
        if (!is_whole || in[at] != strlen(smtp) || memcmp(in + at + 1, smtp, in[at]) != 0) continue;
        *out = in + at + 1;
        *out_len = in[at];
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int choose_site(SSL *ssl, int *alert, void *data)
{
    (void)alert;
    const struct tls_context *context = data;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL) return SSL_TLSEXT_ERR_NOACK;
    SSL_CTX *ctx = tls_sites_find(&context->sites, name);
    if (ctx == NULL) return SSL_TLSEXT_ERR_NOACK;
    if (ctx != SSL_get_SSL_CTX(ssl)) SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

/* --- certificates of clients --- */

/* In place of OpenSSL's own verification, whose failure would end the handshake: the result is
 * kept, and nobody is turned away. Without roots nothing is looked at that costs time. */
static int verify_client(X509_STORE_CTX *store, void *data)
{
    const struct tls_context *context = data;
    if (!context->has_client_roots) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
        return 1;
    }
    if (X509_verify_cert(store) != 1 && X509_STORE_CTX_get_error(store) == X509_V_OK)
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
    ERR_clear_error();
    return 1;
}

/* The roots, and the settings that bound what a client may send and have computed. */
static int ask_clients(SSL_CTX *ctx, struct tls_context *context, const char *ca_file, char *why,
                       size_t why_cap)
{
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, verify_client, context);
    SSL_CTX_set_max_cert_list(ctx, TLS_CLIENT_CHAIN_BYTES_MAX);
    SSL_CTX_set_verify_depth(ctx, TLS_CLIENT_CHAIN_COUNT_MAX);
    if (ca_file == NULL) return 0;
    context->has_client_roots = true;
    return tls_context_load_roots(ctx, ca_file, why, why_cap);
}

/* A root's part of the id: with other roots, what was verified before counts for nothing. */
static bool digest_roots(EVP_MD_CTX *digest, SSL_CTX *ctx)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        const X509 *root = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        unsigned char print[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        bool is_done = root == NULL || (X509_digest(root, EVP_sha256(), print, &len) == 1 &&
                                        EVP_DigestUpdate(digest, print, len) == 1);
        if (!is_done) return false;
    }
    return true;
}

static bool set_session_id(SSL_CTX *ctx, const struct tls_server_options *options)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const char *label = options->asks_client ? "postern asks" : "postern";
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool is_set = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                  EVP_DigestUpdate(digest, label, strlen(label)) == 1 &&
                  digest_roots(digest, ctx) && EVP_DigestFinal_ex(digest, id, &len) == 1 &&
                  SSL_CTX_set_session_id_context(ctx, id, len) == 1;
    EVP_MD_CTX_free(digest);
    return is_set;
}

/* --- making --- */

static bool set_up(SSL_CTX *ctx, const struct tls_server_options *options)
{
    const char *ciphers = options->ciphers == NULL ? CIPHERS : options->ciphers;
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_CLEANSE_PLAINTEXT); /* passwords come this way */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return tls_context_set_up(ctx, options->version_min, options->version_max, ciphers) &&
           SSL_CTX_set_ciphersuites(ctx, CIPHERSUITES) == 1 &&
           SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 && SSL_CTX_set_num_tickets(ctx, 1) == 1 &&
           SSL_CTX_set_max_early_data(ctx, 0) == 1;
}

struct making {
    struct tls_context *context;
    const struct tls_server_options *options;
};

static int make_ctx(void *data, SSL_CTX **ctx_out, char *why, size_t why_cap)
{
    const struct making *making = data;
    const struct tls_server_options *options = making->options;
    struct tls_context *context = making->context;
    SSL_CTX *ctx = *ctx_out = SSL_CTX_new(TLS_server_method());
    int err = 0;
    if (ctx != NULL && options->asks_client)
        err = ask_clients(ctx, context, options->client_ca_file, why, why_cap);
    if (err != 0) return err;
    if (ctx == NULL || !set_up(ctx, options) || !set_session_id(ctx, options)) {
        tls_explain("TLS: the versions or ciphers", "cannot be set", why, why_cap);
        return -ERR_INVALID;
    }
    SSL_CTX_set_timeout(ctx, tls_tickets_session_seconds(context->tickets));
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_tickets_choose_key);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_site);
    SSL_CTX_set_tlsext_servername_arg(ctx, context);
    return 0;
}

static bool take_tickets(struct tls_context *context, struct tls_tickets *tickets)
{
    context->tickets =
        tickets == NULL ? tls_tickets_create(TLS_TICKETS_ROTATION_MS) : tls_tickets_hold(tickets);
    context->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (context->tickets == NULL || context->ticket_cipher == NULL) return false;
    tls_context_refresh(context);
    return true;
}

int tls_server_context_create(const struct tls_server_options *options,
                              struct tls_context **context_out, char *why, size_t why_cap)
{
    struct tls_context *context = tls_context_new(true);
    if (context->bio_method == NULL || !take_tickets(context, options->tickets)) {
        tls_explain("TLS: a context cannot be made", "out of memory", why, why_cap);
        return tls_context_failed(context, -ERR_MEMORY, context_out);
    }
    struct making making = {context, options};
    int err = tls_sites_load(&context->sites, options, make_ctx, &making, why, why_cap);
    if (err != 0) return tls_context_failed(context, err, context_out);
    context->ctx = context->sites.sites[0].ctx;
    SSL_CTX_up_ref(context->ctx);
    *context_out = context;
    return 0;
}

void tls_context_refresh(struct tls_context *context)
{
    if (context->tickets != NULL) tls_tickets_update(context->tickets, &context->keys);
}

uint32_t tls_server_certificate_count(const struct tls_context *context)
{
    return context->sites.info_count;
}

void tls_server_certificate(const struct tls_context *context, uint32_t index,
                            struct tls_certificate_info *info_out)
{
    ASSERT(index < context->sites.info_count);
    *info_out = context->sites.infos[index];
}
