/* tls_stream.c - OpenSSL's state of one connection, between two pieces of memory.
 *
 * A BIO of our own stands for the socket: it reads from the ciphertext of the event that runs,
 * where that lies, and appends to `sealed`, which lives until it has been sent. So an idle stream
 * holds no buffer at all, neither ours nor OpenSSL's (SSL_MODE_RELEASE_BUFFERS). The BIO never asks
 * to be written to again, so that every write of OpenSSL's succeeds whole or breaks the stream.
 *
 * OpenSSL's queue of errors is empty between the calls of this file. */
#include "ring/base/err.h"
#include "ring/tls_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#define SEALED_BYTES_MIN 512
#define RECORD_OVERHEAD_BYTES 64
#define ERROR_TEXT_BYTES 256

/* --- the BIO --- */

static int bio_read(BIO *bio, char *into, int len)
{
    struct tls_stream *stream = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t bytes = MIN(stream->source.len, (size_t)MAX(len, 0));
    if (bytes == 0 || stream->control_count > TLS_CONTROL_COUNT_MAX) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(into, stream->source.data, bytes);
    stream->source = slice_from(stream->source, bytes);
    return (int)bytes;
}

static bool make_room(struct tls_stream *stream, size_t bytes)
{
    size_t need = stream->sealed_len + bytes;
    if (need <= stream->sealed_cap) return true;
    stream->is_stuck = need > TLS_SEALED_BYTES_MAX;
    if (stream->is_stuck) return false;
    size_t cap = MAX(MAX(need, 2 * (size_t)stream->sealed_cap), (size_t)SEALED_BYTES_MIN);
    cap = MIN(cap, (size_t)TLS_SEALED_BYTES_MAX);
    char *grown = realloc(stream->sealed, cap);
    if (grown == NULL) {
        stream->is_out_of_memory = true;
        return false;
    }
    stream->sealed = grown;
    stream->sealed_cap = (uint32_t)cap;
    return true;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls_stream *stream = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0) return 0;
    if (!make_room(stream, (size_t)len)) return -1;
    memcpy(stream->sealed + stream->sealed_len, data, (size_t)len);
    stream->sealed_len += (uint32_t)len;
    return len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tls_bio_method_create(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "postern");
    if (method == NULL) return NULL;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    BIO_meth_set_create(method, bio_create);
    return method;
}

/* --- begin and end --- */

static bool attach(struct tls_stream *stream)
{
    stream->ssl = SSL_new(stream->context->ctx);
    if (stream->ssl == NULL) return false;
    BIO *bio = BIO_new(stream->context->bio_method);
    if (bio == NULL) return false;
    BIO_set_data(bio, stream);
    SSL_set_bio(stream->ssl, bio, bio);
    if (SSL_set_app_data(stream->ssl, stream) != 1) return false;
    if (stream->context->is_server) {
        SSL_set_accept_state(stream->ssl);
    } else {
        SSL_set_connect_state(stream->ssl);
    }
    return true;
}

/* Asks for `name`, and wants it in the certificate; an address cannot be asked for
 * (RFC 6066 section 3). */
static int set_name(struct tls_stream *stream, const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > TLS_SERVER_NAME_BYTES_MAX) return -ERR_INVALID;
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(stream->ssl), name) == 1) return 0;
    ERR_clear_error();
    SSL_set_hostflags(stream->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    bool is_set =
        SSL_set1_host(stream->ssl, name) == 1 && SSL_set_tlsext_host_name(stream->ssl, name) == 1;
    return is_set ? 0 : -ERR_MEMORY;
}

/* Offers the last session of this name, and keeps the next one. */
static int set_session(struct tls_stream *stream, const char *name)
{
    stream->session_name = strdup(name);
    if (stream->session_name == NULL) return -ERR_MEMORY;
    SSL_SESSION *session = tls_sessions_get(&stream->context->sessions, name);
    if (session == NULL) return 0;
    (void)SSL_set_session(stream->ssl, session); /* one that does not fit: a full handshake */
    SSL_SESSION_free(session);
    return 0;
}

int tls_stream_open(struct tls_stream *stream, struct tls_context *context, const char *server_name)
{
    ASSERT(server_name == NULL || !context->is_server);
    *stream = (struct tls_stream){.context = context};
    tls_context_hold(context);
    int err = attach(stream) ? 0 : -ERR_MEMORY;
    if (err == 0 && server_name != NULL) err = set_name(stream, server_name);
    if (err == 0 && context->resumes)
        err = set_session(stream, server_name == NULL ? "" : server_name);
    ERR_clear_error();
    if (err != 0) tls_stream_close(stream);
    return err;
}

void tls_stream_close(struct tls_stream *stream)
{
    /* An end without close_notify would make OpenSSL take the session for spoilt: an idea of
     * TLS 1.0 that RFC 5246 (section 7.2.1) gave up. */
    if (stream->ssl != NULL)
        SSL_set_shutdown(stream->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(stream->ssl);
    free(stream->sealed);
    free(stream->session_name);
    free(stream->error);
    free(stream->peer_subject);
    tls_context_release(stream->context);
    *stream = (struct tls_stream){0};
}

/* --- failures --- */

void tls_stream_fail(struct tls_stream *stream, const char *text)
{
    if (stream->error == NULL) stream->error = strdup(text);
    ERR_clear_error();
}

/* OpenSSL refused: words for it. */
static enum tls_result failed(struct tls_stream *stream, const char *what)
{
    char text[ERROR_TEXT_BYTES], full[2 * ERROR_TEXT_BYTES];
    unsigned long code = ERR_peek_error();
    if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE) stream->is_out_of_memory = true;
    bool is_certificate =
        ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    const char *otherwise = stream->is_stuck           ? "the peer sends and does not read"
                            : stream->is_out_of_memory ? "out of memory"
                                                       : "unknown failure";
    long verified = SSL_get_verify_result(stream->ssl);
    tls_explain(what, otherwise, text, sizeof(text));
    snprintf(full, sizeof(full), "%s%s%s", text, is_certificate ? ": " : "",
             is_certificate ? X509_verify_cert_error_string(verified) : "");
    tls_stream_fail(stream, full);
    return TLS_FAILED;
}

static enum tls_result wants_input(struct tls_stream *stream, const char *what)
{
    bool is_flood = stream->control_count > TLS_CONTROL_COUNT_MAX ||
                    stream->silent_bytes > TLS_SILENT_BYTES_MAX;
    if (!is_flood) return TLS_WANTS_INPUT;
    char text[ERROR_TEXT_BYTES];
    snprintf(text, sizeof(text), "%s: the peer sends records that bring nothing", what);
    tls_stream_fail(stream, text);
    return TLS_FAILED;
}

/* --- the peer's bytes --- */

/* OpenSSL reads on by itself after what is no data, for as long as the BIO has bytes: counting here
 * and refusing there ends a flood at the very record. */
void tls_stream_count(int is_sent, int version, int type, const void *bytes, size_t len, SSL *ssl,
                      void *data)
{
    (void)version, (void)data;
    struct tls_stream *stream = SSL_get_app_data(ssl);
    if (is_sent || stream == NULL || !stream->is_secured || len == 0) return;
    int first = *(const unsigned char *)bytes;
    bool is_control = type == SSL3_RT_HANDSHAKE ||
                      (type == SSL3_RT_INNER_CONTENT_TYPE && first != SSL3_RT_APPLICATION_DATA) ||
                      (type == SSL3_RT_HEADER && first != SSL3_RT_APPLICATION_DATA);
    if (is_control) stream->control_count++;
}

void tls_stream_feed(struct tls_stream *stream, struct slice ciphertext)
{
    stream->source = ciphertext;
    size_t silent_bytes = stream->silent_bytes + ciphertext.len;
    stream->silent_bytes = (uint32_t)MIN(silent_bytes, (size_t)UINT32_MAX);
}

bool tls_stream_has_input(const struct tls_stream *stream)
{
    return stream->source.len > 0 || SSL_pending(stream->ssl) > 0;
}

/* A server of TLS 1.2 may answer a ticket with a fresh one, of which OpenSSL does not tell. */
static void keep_renewed(struct tls_stream *stream)
{
    bool may_be = stream->session_name != NULL && SSL_session_reused(stream->ssl) == 1 &&
                  SSL_version(stream->ssl) < TLS1_3_VERSION;
    SSL_SESSION *session = may_be ? SSL_get1_session(stream->ssl) : NULL;
    if (session != NULL)
        tls_sessions_put(&stream->context->sessions, stream->session_name, session);
}

enum tls_result tls_stream_handshake(struct tls_stream *stream)
{
    static const char what[] = "the handshake failed";
    int ret = SSL_do_handshake(stream->ssl);
    if (ret == 1) {
        stream->is_secured = true;
        stream->silent_bytes = 0;
        keep_renewed(stream);
        return TLS_OK;
    }
    if (SSL_get_error(stream->ssl, ret) == SSL_ERROR_WANT_READ) return wants_input(stream, what);
    return failed(stream, what);
}

enum tls_result tls_stream_read(struct tls_stream *stream, void *into, size_t cap,
                                size_t *bytes_out)
{
    static const char what[] = "a record of the peer's cannot be read";
    int ret = SSL_read_ex(stream->ssl, into, cap, bytes_out);
    if (LIKELY(ret == 1)) {
        stream->silent_bytes = 0;
        return TLS_OK;
    }
    int error = SSL_get_error(stream->ssl, ret);
    if (error == SSL_ERROR_WANT_READ) return wants_input(stream, what);
    if (error == SSL_ERROR_ZERO_RETURN) {
        ERR_clear_error();
        return TLS_ENDED;
    }
    return failed(stream, what);
}

bool tls_stream_is_ended_by_peer(const struct tls_stream *stream)
{
    return (SSL_get_shutdown(stream->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

/* --- ours --- */

void tls_stream_reserve(struct tls_stream *stream, size_t bytes)
{
    (void)make_room(stream, MIN(bytes, (size_t)TLS_SEALED_BYTES_MAX - stream->sealed_len));
}

bool tls_stream_write(struct tls_stream *stream, struct slice plain)
{
    ASSERT(plain.len > 0 && plain.len <= TLS_RECORD_BYTES);
    tls_stream_reserve(stream, plain.len + RECORD_OVERHEAD_BYTES);
    size_t written;
    if (SSL_write_ex(stream->ssl, plain.data, plain.len, &written) == 1) {
        ASSERT(written == plain.len);
        return true;
    }
    failed(stream, "a record cannot be written");
    return false;
}

void tls_stream_end(struct tls_stream *stream)
{
    if (!stream->is_secured || stream->error != NULL) return;
    (void)SSL_shutdown(stream->ssl); /* 0: the peer's answer has not come; nobody waits for it */
    ERR_clear_error();
}

/* --- what was agreed on --- */

/* Everything but letters, digits and the usual signs is escaped. */
static const char *subject(struct tls_stream *stream, X509 *certificate)
{
    if (stream->peer_subject != NULL || certificate == NULL) return stream->peer_subject;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = -1;
    if (bio != NULL &&
        X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0)
        len = BIO_get_mem_data(bio, &text);
    if (len >= 0) {
        size_t cap = MIN((size_t)len, (size_t)TLS_SUBJECT_BYTES_MAX) + 4;
        stream->peer_subject = malloc(cap);
        if (stream->peer_subject != NULL)
            snprintf(stream->peer_subject, cap, "%.*s%s", (int)MIN(len, TLS_SUBJECT_BYTES_MAX),
                     len == 0 ? "" : text, len > TLS_SUBJECT_BYTES_MAX ? "..." : "");
    }
    BIO_free(bio);
    ERR_clear_error();
    return stream->peer_subject;
}

static void info_peer(struct tls_stream *stream, struct tls_info *info)
{
    long result = SSL_get_verify_result(stream->ssl);
    X509 *certificate = SSL_get0_peer_certificate(stream->ssl);
    info->is_peer_verified = certificate != NULL && result == X509_V_OK;
    info->verify_text =
        certificate == NULL ? "no certificate was shown" : X509_verify_cert_error_string(result);
    info->peer_subject = subject(stream, certificate);
}

void tls_stream_info(struct tls_stream *stream, struct tls_info *info_out)
{
    *info_out = (struct tls_info){
        .version = SSL_get_version(stream->ssl),
        .cipher = SSL_get_cipher_name(stream->ssl),
        .cipher_bits = SSL_get_cipher_bits(stream->ssl, NULL),
        .server_name = SSL_get_servername(stream->ssl, TLSEXT_NAMETYPE_host_name),
        .is_resumed = SSL_session_reused(stream->ssl) == 1,
    };
    info_peer(stream, info_out);
}
