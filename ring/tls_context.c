/* tls_context.c - makes contexts: the settings that all connections of a core share. The servers'
 * part is in tls_server.c.
 *
 * OpenSSL's own defaults stand where they are sound. What is set here is what mail wants otherwise:
 * no renegotiation, and buffers that exist only while a record is under way. */
#include "ring/base/err.h"
#include "ring/base/memory.h"
#include "ring/tls_internal.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

void tls_explain(const char *what, const char *otherwise, char *why, size_t why_cap)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long code = ERR_peek_error_data(&data, &flags);
    const char *reason = code == 0 ? otherwise : ERR_reason_error_string(code);
    bool has_data = code != 0 && (flags & ERR_TXT_STRING) != 0 && data != NULL && *data != '\0';
    if (ERR_SYSTEM_ERROR(code)) reason = err_str(-(int)ERR_GET_REASON(code));
    snprintf(why, why_cap, "%s%s%s%s%s%s", what, reason == NULL ? "" : ": ",
             reason == NULL ? "" : reason, has_data ? " (" : "", has_data ? data : "",
             has_data ? ")" : "");
    ERR_clear_error();
}

/* --- what both have --- */

static int version_of(enum tls_version version, int any)
{
    if (version == TLS_VERSION_1_2) return TLS1_2_VERSION;
    if (version == TLS_VERSION_1_3) return TLS1_3_VERSION;
    return any;
}

bool tls_context_set_up(SSL_CTX *ctx, enum tls_version version_min, enum tls_version version_max,
                        const char *ciphers)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 0); /* the source is memory: small reads cost nothing */
    SSL_CTX_set_msg_callback(ctx, tls_stream_count);
    return SSL_CTX_set_min_proto_version(ctx, version_of(version_min, TLS1_2_VERSION)) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, version_of(version_max, 0)) == 1 &&
           (ciphers == NULL || SSL_CTX_set_cipher_list(ctx, ciphers) == 1);
}

struct tls_context *tls_context_new(bool is_server)
{
    struct tls_context *context = xcalloc(1, sizeof(*context));
    context->is_server = is_server;
    context->hold_count = 1;
    tls_sessions_init(&context->sessions);
    context->bio_method = tls_bio_method_create();
    return context;
}

int tls_context_failed(struct tls_context *context, int err, struct tls_context **context_out)
{
    tls_context_release(context);
    ERR_clear_error();
    *context_out = NULL;
    return err;
}

void tls_context_hold(struct tls_context *context)
{
    context->hold_count++;
}

void tls_context_release(struct tls_context *context)
{
    ASSERT(context->hold_count > 0);
    if (--context->hold_count > 0) return;
    tls_sessions_finish(&context->sessions);
    tls_sites_finish(&context->sites);
    tls_tickets_destroy(context->tickets);
    OPENSSL_cleanse(&context->keys, sizeof(context->keys));
    EVP_CIPHER_free(context->ticket_cipher);
    SSL_CTX_free(context->ctx);
    BIO_meth_free(context->bio_method);
    free(context);
}

void tls_context_destroy(struct tls_context *context)
{
    if (context != NULL) tls_context_release(context);
}

/* --- client --- */

/* A new session came. For TLS 1.3 that is some time after the handshake. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_stream *stream = SSL_get_app_data(ssl);
    if (stream->session_name == NULL) return 0;
    tls_sessions_put(&stream->context->sessions, stream->session_name, session);
    return 1;
}

int tls_context_load_roots(SSL_CTX *ctx, const char *file, char *why, size_t why_cap)
{
    if (SSL_CTX_load_verify_file(ctx, file) == 1) return 0;
    char what[512];
    snprintf(what, sizeof(what), "%s: holds no certificates of roots in PEM", file);
    tls_explain(what, NULL, why, why_cap);
    return -ERR_INVALID;
}

static int trust(struct tls_context *context, const struct tls_client_options *options, char *why,
                 size_t why_cap)
{
    SSL_CTX_set_verify(context->ctx, options->verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (options->ca_file != NULL)
        return tls_context_load_roots(context->ctx, options->ca_file, why, why_cap);
    if (!options->verifies || SSL_CTX_set_default_verify_paths(context->ctx) == 1) return 0;
    tls_explain("TLS: the system's store of roots", "cannot be read", why, why_cap);
    return -ERR_NOT_FOUND;
}

int tls_client_context_create(const struct tls_client_options *options,
                              struct tls_context **context_out, char *why, size_t why_cap)
{
    struct tls_context *context = tls_context_new(false);
    context->verifies = options->verifies;
    context->resumes = options->resumes;
    context->ctx = SSL_CTX_new(TLS_client_method());
    bool is_made = context->ctx != NULL && context->bio_method != NULL &&
                   tls_context_set_up(context->ctx, options->version_min, options->version_max,
                                      options->ciphers);
    if (!is_made) {
        tls_explain("TLS: the versions or ciphers", "cannot be set", why, why_cap);
        return tls_context_failed(context, -ERR_INVALID, context_out);
    }
    int err = trust(context, options, why, why_cap);
    if (err != 0) return tls_context_failed(context, err, context_out);
    if (options->resumes) {
        SSL_CTX_set_session_cache_mode(context->ctx,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(context->ctx, keep_session);
    } else {
        SSL_CTX_set_session_cache_mode(context->ctx, SSL_SESS_CACHE_OFF);
    }
    *context_out = context;
    return 0;
}
