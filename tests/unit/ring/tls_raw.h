/* tls_raw.h - a client of OpenSSL's own over a socket that does not wait, against one of our
 * servers; and records sealed by hand with its keys, for what OpenSSL would never send. */
#pragma once

#include "ring/conn_internal.h"
#include "tests/unit/ring/tls_support.h"

#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#define RAW_SECRET_BYTES 32

struct raw {
    struct pair p;
    SSL_CTX *ctx;
    SSL *ssl;
    unsigned char secret[RAW_SECRET_BYTES]; /* CLIENT_TRAFFIC_SECRET_0 */
    unsigned char key[16], iv[12];
    uint64_t sequence;
    bool is_13;
};

/* "LABEL CLIENT_RANDOM SECRET" */
static inline void raw_on_secret(const SSL *ssl, const char *line)
{
    struct raw *raw = SSL_get_app_data(ssl);
    const char *hex = strrchr(line, ' ');
    if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) != 0 || hex == NULL) return;
    for (size_t i = 0; i < RAW_SECRET_BYTES; i++) {
        unsigned byte = 0;
        CHECK_EQ("hex", sscanf(hex + 1 + 2 * i, "%2x", &byte), 1);
        raw->secret[i] = (unsigned char)byte;
    }
}

/* The client's settings may be changed between this and raw_connect(). */
static inline void raw_init(struct raw *raw, enum tls_version version)
{
    *raw = (struct raw){.is_13 = version == TLS_VERSION_1_3};
    pair_open(&raw->p);
    raw->ctx = SSL_CTX_new(TLS_client_method());
    int number = raw->is_13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    CHECK(SSL_CTX_set_min_proto_version(raw->ctx, number) == 1);
    CHECK(SSL_CTX_set_max_proto_version(raw->ctx, number) == 1);
    CHECK(SSL_CTX_set_ciphersuites(raw->ctx, "TLS_AES_128_GCM_SHA256") == 1);
    CHECK(SSL_CTX_set_cipher_list(raw->ctx, "ECDHE-ECDSA-AES128-GCM-SHA256") == 1);
    SSL_CTX_set_keylog_callback(raw->ctx, raw_on_secret);
}

/* Connects, and makes `ssl`; the handshake has not begun. */
static inline void raw_connect(struct raw *raw, struct tls_context *server)
{
    pair_accept(&raw->p, false);
    CHECK_EQ("tls", conn_start_tls(&raw->p.server->conn, server, NULL, CONN_BEFORE_TLS_REFUSE), 0);
    CHECK(fcntl(raw->p.raw, F_SETFL, O_NONBLOCK) == 0);
    int one = 1;
    CHECK(setsockopt(raw->p.raw, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    raw->ssl = SSL_new(raw->ctx);
    CHECK(SSL_set_app_data(raw->ssl, raw) == 1);
    SSL_set_fd(raw->ssl, raw->p.raw);
}

/* True when both ends are secured. */
static inline bool raw_handshake(struct raw *raw)
{
    int ret = 0;
    for (int i = 0; i < 1000 && (ret = SSL_connect(raw->ssl)) != 1; i++) {
        if (SSL_get_error(raw->ssl, ret) != SSL_ERROR_WANT_READ) break;
        support_run_for(raw->p.loop, 1);
    }
    for (int i = 0; i < 100 && raw->p.server->secured + raw->p.server->ends == 0; i++)
        support_run_for(raw->p.loop, 1);
    return ret == 1 && raw->p.server->secured == 1;
}

static inline void raw_disconnect(struct raw *raw)
{
    SSL_set_shutdown(raw->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* its session is good */
    SSL_free(raw->ssl);
    raw->ssl = NULL;
    pair_close_ends(&raw->p, false);
    close(raw->p.raw);
}

static inline void raw_finish(struct raw *raw)
{
    SSL_CTX_free(raw->ctx);
    pair_close(&raw->p);
}

/* --- sealing by hand --- */

static inline void raw_expand(const struct raw *raw, const char *label, unsigned char *into,
                              size_t len)
{
    unsigned char info[40] = {0, (unsigned char)len, (unsigned char)(6 + strlen(label))};
    size_t info_len = 3 + (size_t)snprintf((char *)info + 3, sizeof(info) - 3, "tls13 %s", label);
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)raw->secret,
                                          RAW_SECRET_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, info_len + 1),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    CHECK(EVP_KDF_derive(ctx, into, len, params) == 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

/* RFC 5246 section 6.3: the client's key and salt are the first and third of the key block. */
static inline void raw_expand_12(struct raw *raw)
{
    unsigned char master[48], block[40], seed[13 + 64];
    size_t len = SSL_SESSION_get_master_key(SSL_get0_session(raw->ssl), master, sizeof(master));
    CHECK_EQ("master", len, 48);
    memcpy(seed, "key expansion", 13);
    CHECK_EQ("random", SSL_get_server_random(raw->ssl, seed + 13, 32), 32);
    CHECK_EQ("random", SSL_get_client_random(raw->ssl, seed + 45, 32), 32);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof(master)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    CHECK(EVP_KDF_derive(ctx, block, sizeof(block), params) == 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    memcpy(raw->key, block, 16);
    memcpy(raw->iv, block + 32, 4);
}

/* After the handshake, when `ssl` has sent nothing of its own: from here on it may not. */
static inline void raw_take_over(struct raw *raw)
{
    if (raw->is_13) {
        raw_expand(raw, "key", raw->key, sizeof(raw->key));
        raw_expand(raw, "iv", raw->iv, sizeof(raw->iv));
    } else {
        raw_expand_12(raw);
        raw->sequence = 1; /* the Finished was 0 */
    }
}

/* The nonce and the additional data of the next record. */
static inline int raw_prepare(struct raw *raw, unsigned char type, size_t len, unsigned char *nonce,
                              unsigned char *aad, unsigned char *header)
{
    unsigned char number[8];
    for (int i = 0; i < 8; i++)
        number[i] = (unsigned char)(raw->sequence >> (56 - 8 * i));
    raw->sequence++;
    memcpy(nonce, raw->iv, 12);
    size_t wire = raw->is_13 ? len + 1 + 16 : 8 + len + 16;
    unsigned char head[5] = {raw->is_13 ? 23 : type, 3, 3, (unsigned char)(wire >> 8),
                             (unsigned char)wire};
    memcpy(header, head, 5);
    if (raw->is_13) {
        for (int i = 0; i < 8; i++)
            nonce[4 + i] ^= number[i];
        memcpy(aad, head, 5);
        return 5;
    }
    memcpy(nonce + 4, number, 8);
    memcpy(aad, number, 8);
    unsigned char plain[5] = {type, 3, 3, (unsigned char)(len >> 8), (unsigned char)len};
    memcpy(aad + 8, plain, 5);
    return 13;
}

/* Appends a record of `type` to `out`; returns its length. */
static inline size_t raw_seal(struct raw *raw, unsigned char type, const void *data, size_t len,
                              unsigned char *out)
{
    unsigned char nonce[12], aad[13];
    int aad_len = raw_prepare(raw, type, len, nonce, aad, out), bytes = 0;
    size_t at = 5;
    if (!raw->is_13) {
        memcpy(out + at, nonce + 4, 8);
        at += 8;
    }
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    CHECK(EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, raw->key, nonce) == 1);
    CHECK(EVP_EncryptUpdate(ctx, NULL, &bytes, aad, aad_len) == 1);
    if (len > 0) {
        CHECK(EVP_EncryptUpdate(ctx, out + at, &bytes, data, (int)len) == 1);
        at += (size_t)bytes;
    }
    if (raw->is_13) {
        CHECK(EVP_EncryptUpdate(ctx, out + at, &bytes, &type, 1) == 1);
        at += (size_t)bytes;
    }
    CHECK(EVP_EncryptFinal_ex(ctx, out + at, &bytes) == 1);
    CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, out + at) == 1);
    EVP_CIPHER_CTX_free(ctx);
    return at + 16;
}
