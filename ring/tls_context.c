/* tls_context.c - makes contexts: the settings that all connections of a core share.
 *
 * OpenSSL's own defaults stand where they are sound. What is set here is what a mail server wants
 * otherwise: no renegotiation, one ticket a handshake, buffers that exist only while a record is
 * under way, and no cache of sessions on the server's side, where the tickets are the memory. */
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

static bool set_up(SSL_CTX *ctx, enum tls_version version_min, enum tls_version version_max,
                   const char *ciphers)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 0); /* the source is memory: small reads cost nothing */
    return SSL_CTX_set_min_proto_version(ctx, version_of(version_min, TLS1_2_VERSION)) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, version_of(version_max, 0)) == 1 &&
           (ciphers == NULL || SSL_CTX_set_cipher_list(ctx, ciphers) == 1);
}

static struct tls_context *context_new(bool is_server)
{
    struct tls_context *context = xcalloc(1, sizeof(*context));
    context->is_server = is_server;
    context->hold_count = 1;
    tls_sessions_init(&context->sessions);
    context->bio_method = tls_bio_method_create();
    return context;
}

static int context_failed(struct tls_context *context, int err, struct tls_context **context_out)
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

static int trust(struct tls_context *context, const struct tls_client_options *options, char *why,
                 size_t why_cap)
{
    SSL_CTX_set_verify(context->ctx, options->verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (options->ca_file != NULL) {
        if (SSL_CTX_load_verify_file(context->ctx, options->ca_file) == 1) return 0;
        char what[512];
        snprintf(what, sizeof(what), "%s: holds no certificates of roots in PEM", options->ca_file);
        tls_explain(what, NULL, why, why_cap);
        return -ERR_INVALID;
    }
    if (!options->verifies || SSL_CTX_set_default_verify_paths(context->ctx) == 1) return 0;
    tls_explain("TLS: the system's store of roots", "cannot be read", why, why_cap);
    return -ERR_NOT_FOUND;
}

int tls_client_context_create(const struct tls_client_options *options,
                              struct tls_context **context_out, char *why, size_t why_cap)
{
    struct tls_context *context = context_new(false);
    context->verifies = options->verifies;
    context->resumes = options->resumes;
    context->ctx = SSL_CTX_new(TLS_client_method());
    bool is_made =
        context->ctx != NULL && context->bio_method != NULL &&
        set_up(context->ctx, options->version_min, options->version_max, options->ciphers);
    if (!is_made) {
        tls_explain("TLS: the versions or ciphers", "cannot be set", why, why_cap);
        return context_failed(context, -ERR_INVALID, context_out);
    }
    int err = trust(context, options, why, why_cap);
    if (err != 0) return context_failed(context, err, context_out);
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

/* --- server --- */

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

struct making {
    struct tls_context *context;
    const struct tls_server_options *options;
};

static SSL_CTX *make_server_ctx(void *data)
{
    static const unsigned char id[] = "postern";
    const struct making *making = data;
    const struct tls_server_options *options = making->options;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    bool is_made = ctx != NULL &&
                   set_up(ctx, options->version_min, options->version_max, options->ciphers) &&
                   SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1) == 1 &&
                   SSL_CTX_set_num_tickets(ctx, 1) == 1 && SSL_CTX_set_dh_auto(ctx, 1) == 1 &&
                   SSL_CTX_set_max_early_data(ctx, 0) == 1;
    if (!is_made) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_site);
    SSL_CTX_set_tlsext_servername_arg(ctx, making->context);
    return ctx;
}

int tls_server_context_create(const struct tls_server_options *options,
                              struct tls_context **context_out, char *why, size_t why_cap)
{
    struct tls_context *context = context_new(true);
    struct making making = {context, options};
    int err = context->bio_method == NULL ? -ERR_MEMORY
                                          : tls_sites_load(&context->sites, options->certificates,
                                                           options->certificate_count,
                                                           make_server_ctx, &making, why, why_cap);
    if (err != 0) return context_failed(context, err, context_out);
    context->ctx = context->sites.sites[0].ctx;
    SSL_CTX_up_ref(context->ctx);
    *context_out = context;
    return 0;
}
