/* tls_forge.h - certificates as no command makes them: out of their time, in chains, with names
 * that are no names. Written to the directory of tls_support.h. */
#pragma once

#include "tests/unit/ring/tls_support.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

struct forged {
    X509 *certificate;
    EVP_PKEY *key;
};

struct forge_options {
    const char *common_name;     /* NULL: none */
    int common_name_len;         /* 0: up to its NUL */
    const char *names;           /* subjectAltName as OpenSSL's configuration has it; NULL: none */
    long from_s, until_s;        /* from now; both 0: an hour on either side */
    const struct forged *issuer; /* NULL: itself */
    bool is_ca;
};

static inline void forge_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    CHECK(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static inline struct forged forge(struct forge_options options)
{
    static long serial = 1;
    struct forged made = {X509_new(), EVP_EC_gen("P-256")};
    X509 *c = made.certificate;
    if (options.from_s == 0 && options.until_s == 0) {
        options.from_s = -3600;
        options.until_s = 3600;
    }
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c), options.from_s);
    X509_gmtime_adj(X509_getm_notAfter(c), options.until_s);
    X509_set_pubkey(c, made.key);
    int len = options.common_name_len == 0 ? -1 : options.common_name_len;
    if (options.common_name != NULL)
        CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8,
                                         (const unsigned char *)options.common_name, len, -1,
                                         0) == 1);
    const struct forged *issuer = options.issuer == NULL ? &made : options.issuer;
    X509_set_issuer_name(c, X509_get_subject_name(issuer->certificate));
    if (options.is_ca) forge_extension(c, NID_basic_constraints, "critical,CA:TRUE");
    if (options.names != NULL) forge_extension(c, NID_subject_alt_name, options.names);
    CHECK(X509_sign(c, issuer->key, EVP_sha256()) > 0);
    return made;
}

static inline void forge_free(struct forged *made)
{
    X509_free(made->certificate);
    EVP_PKEY_free(made->key);
}

/* The certificates one after the other, up to the first without one. */
static inline void forge_write_chain(const char *name, const struct forged *const *chain)
{
    FILE *file = fopen(tls_path(name), "w");
    ASSERT(file != NULL);
    for (; *chain != NULL; chain++)
        CHECK(PEM_write_X509(file, (*chain)->certificate) == 1);
    fclose(file);
}

static inline void forge_write_key(const char *name, const struct forged *made,
                                   const char *passphrase)
{
    FILE *file = fopen(tls_path(name), "w");
    ASSERT(file != NULL);
    CHECK(PEM_write_PrivateKey(file, made->key, passphrase == NULL ? NULL : EVP_aes_128_cbc(), NULL,
                               0, NULL, (void *)(uintptr_t)passphrase) == 1);
    fclose(file);
}

static inline void forge_write_text(const char *name, const char *text)
{
    FILE *file = fopen(tls_path(name), "w");
    ASSERT(file != NULL);
    fputs(text, file);
    fclose(file);
}
