/* tls_certificate.c - reads a server's certificates, refuses what no client could use, and finds
 * the one for a name.
 *
 * Every name gets its site: for each type of key, the first certificate that has the name. Names
 * with the same choice share a site, so that an ECDSA and an RSA certificate for one host are one
 * SSL_CTX, and OpenSSL takes the one that the client can verify. */
#include "ring/base/err.h"
#include "ring/base/memory.h"
#include "ring/tls_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NAMES_A_CERTIFICATE_MAX 1000

struct loaded {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    enum tls_key_type type;
};

/* "This certificate has that name." */
struct claim {
    char *name;
    uint32_t certificate;
};

struct loading {
    const struct tls_server_options *options;
    struct tls_certificate_info *infos; /* of the sites */
    struct loaded *certificates;
    struct claim *claims;
    size_t certificate_count, claim_count, claim_cap;
    tls_ctx_make *make;
    void *data;
    char *why;
    size_t why_cap;
};

static int fail(struct loading *l, int err, const char *file, const char *what)
{
    char text[512];
    snprintf(text, sizeof(text), "%s: %s", file, what);
    tls_explain(text, NULL, l->why, l->why_cap);
    return err;
}

/* --- files --- */

static int refuse_passphrase(char *buf, int size, int is_writing, void *data)
{
    (void)buf, (void)size, (void)is_writing, (void)data;
    return -1; /* nobody is there to type one */
}

static int read_chain(struct loading *l, struct loaded *c, const char *file)
{
    BIO *bio = BIO_new_file(file, "r");
    if (bio == NULL) return fail(l, -ERR_NOT_FOUND, file, "cannot be opened");
    c->leaf = PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL);
    c->chain = sk_X509_new_null();
    X509 *next = NULL;
    while (c->leaf != NULL && c->chain != NULL &&
           (next = PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL)) != NULL) {
        if (sk_X509_push(c->chain, next) > 0) continue;
        X509_free(next);
        break;
    }
    BIO_free(bio);
    unsigned long last = ERR_peek_last_error();
    bool is_at_end = next == NULL && ERR_GET_LIB(last) == ERR_LIB_PEM &&
                     ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    if (c->leaf == NULL)
        return fail(l, -ERR_SYNTAX, file, "holds no certificate in PEM (BEGIN CERTIFICATE)");
    if (!is_at_end) return fail(l, -ERR_SYNTAX, file, "a certificate of the chain is damaged");
    ERR_clear_error();
    return 0;
}

static int read_key(struct loading *l, struct loaded *c, const char *file)
{
    BIO *bio = BIO_new_file(file, "r");
    if (bio == NULL) return fail(l, -ERR_NOT_FOUND, file, "cannot be opened");
    c->key = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL);
    BIO_free(bio);
    if (c->key == NULL)
        return fail(l, -ERR_SYNTAX, file, "holds no private key in PEM, or an encrypted one");
    switch (EVP_PKEY_get_base_id(c->key)) {
    case EVP_PKEY_EC:
        c->type = TLS_KEY_EC;
        return 0;
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS:
        c->type = TLS_KEY_RSA;
        return 0;
    case EVP_PKEY_ED25519:
    case EVP_PKEY_ED448:
        c->type = TLS_KEY_ED;
        return 0;
    default:
        return fail(l, -ERR_INVALID, file, "its type of key is not for servers; use ECDSA or RSA");
    }
}

/* --- names --- */

static void claim(struct loading *l, uint32_t certificate, const ASN1_STRING *text)
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, text);
    bool is_name =
        len > 0 && len <= TLS_SERVER_NAME_BYTES_MAX && memchr(utf8, '\0', (size_t)len) == NULL;
    if (is_name) {
        if (l->claim_count == l->claim_cap) {
            l->claim_cap = MAX(2 * l->claim_cap, (size_t)16);
            l->claims = xrealloc(l->claims, l->claim_cap * sizeof(*l->claims));
        }
        char *name = slice_to_cstr(slice_of(utf8, (size_t)len));
        for (char *c = name; *c != '\0'; c++)
            *c = ascii_lower(*c);
        l->claims[l->claim_count++] = (struct claim){name, certificate};
    }
    OPENSSL_free(utf8);
}

static void claim_common_name(struct loading *l, uint32_t certificate)
{
    X509_NAME *subject = X509_get_subject_name(l->certificates[certificate].leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return;
    claim(l, certificate, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

/* RFC 6125 section 6.4.4: the common name counts only when there is no DNS name. */
static void claim_names(struct loading *l, uint32_t certificate)
{
    GENERAL_NAMES *names =
        X509_get_ext_d2i(l->certificates[certificate].leaf, NID_subject_alt_name, NULL, NULL);
    int count = MIN(sk_GENERAL_NAME_num(names), NAMES_A_CERTIFICATE_MAX);
    bool has_dns_name = false;
    for (int i = 0; i < count; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        has_dns_name = true;
        claim(l, certificate, name->d.dNSName);
    }
    GENERAL_NAMES_free(names);
    if (!has_dns_name) claim_common_name(l, certificate);
}

/* --- checks --- */

/* The key must be that of the first certificate. Where it is another's, the file is the wrong way
 * round. */
static int check_key(struct loading *l, const struct loaded *c, const struct tls_certificate *from)
{
    if (X509_check_private_key(c->leaf, c->key) == 1) return 0;
    char what[300];
    for (int i = 0; i < sk_X509_num(c->chain); i++) {
        if (X509_check_private_key(sk_X509_value(c->chain, i), c->key) != 1) continue;
        snprintf(what, sizeof(what),
                 "the certificate of the key is number %d; it must be the first", i + 2);
        ERR_clear_error();
        return fail(l, -ERR_INVALID, from->chain_file, what);
    }
    ERR_clear_error();
    snprintf(what, sizeof(what), "is not the key of the certificate in %s", from->chain_file);
    return fail(l, -ERR_INVALID, from->key_file, what);
}

/* RFC 5246 section 7.4.2: each certifies the one before it. Many peers look no further. */
static int check_order(struct loading *l, const struct loaded *c, const char *file)
{
    X509 *subject = c->leaf;
    for (int i = 0; i < sk_X509_num(c->chain); i++) {
        X509 *issuer = sk_X509_value(c->chain, i);
        int result = X509_check_issued(issuer, subject);
        if (result != X509_V_OK) {
            char what[300];
            snprintf(what, sizeof(what),
                     "certificate number %d did not issue the one before it: %s", i + 2,
                     X509_verify_cert_error_string(result));
            return fail(l, -ERR_INVALID, file, what);
        }
        subject = issuer;
    }
    return 0;
}

/* False for a time that cannot be read. */
static bool to_seconds(const ASN1_TIME *time, int64_t *seconds_out)
{
    struct tm tm = {0};
    if (ASN1_TIME_to_tm(time, &tm) != 1) return false;
    *seconds_out = (int64_t)timegm(&tm);
    return true;
}

static int check_time(struct loading *l, const struct loaded *c, const char *file,
                      int64_t *not_after_s_out)
{
    int64_t before_s, now_s = (int64_t)time(NULL);
    bool is_read = to_seconds(X509_get0_notBefore(c->leaf), &before_s) &&
                   to_seconds(X509_get0_notAfter(c->leaf), not_after_s_out);
    if (!is_read) return fail(l, -ERR_SYNTAX, file, "the times of the certificate are damaged");
    bool is_over = *not_after_s_out < now_s;
    if ((before_s <= now_s && !is_over) || l->options->allows_expired) return 0;
    time_t seconds = (time_t)(is_over ? *not_after_s_out : before_s);
    struct tm tm;
    char date[40], what[100];
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
    snprintf(what, sizeof(what),
             is_over ? "the certificate expired at %s" : "the certificate is not valid before %s",
             date);
    return fail(l, -ERR_INVALID, file, what);
}

static int load(struct loading *l, const struct tls_certificate *from)
{
    uint32_t index = (uint32_t)l->certificate_count++;
    struct loaded *c = &l->certificates[index];
    struct tls_certificate_info *info = &l->infos[index];
    int err = read_chain(l, c, from->chain_file);
    if (err == 0) err = read_key(l, c, from->key_file);
    if (err == 0) err = check_key(l, c, from);
    if (err == 0) err = check_order(l, c, from->chain_file);
    if (err == 0) err = check_time(l, c, from->chain_file, &info->not_after_s);
    if (err != 0) return err;
    size_t claim_count = l->claim_count;
    claim_names(l, index);
    info->file = xstrdup(from->chain_file);
    info->name = xstrdup(l->claim_count > claim_count ? l->claims[claim_count].name : "");
    return 0;
}

/* --- sites --- */

static int site_make(struct loading *l, struct tls_sites *sites, const int32_t *by_type,
                     SSL_CTX **ctx_out)
{
    struct tls_site *site = &sites->sites[sites->site_count++];
    int err = l->make(l->data, &site->ctx, l->why, l->why_cap);
    if (err != 0) return err;
    memcpy(site->by_type, by_type, sizeof(site->by_type));
    for (int type = 0; type < TLS_KEY_TYPE_COUNT; type++) {
        if (by_type[type] < 0) continue;
        struct loaded *c = &l->certificates[by_type[type]];
        if (SSL_CTX_use_cert_and_key(site->ctx, c->leaf, c->key, c->chain, 1) != 1)
            return fail(l, -ERR_INVALID, "TLS", "a certificate is refused");
    }
    *ctx_out = site->ctx;
    return 0;
}

static int site_for(struct loading *l, struct tls_sites *sites, const int32_t *by_type,
                    SSL_CTX **ctx_out)
{
    for (size_t i = 0; i < sites->site_count; i++) {
        struct tls_site *site = &sites->sites[i];
        if (memcmp(site->by_type, by_type, sizeof(site->by_type)) != 0) continue;
        *ctx_out = site->ctx;
        return 0;
    }
    return site_make(l, sites, by_type, ctx_out);
}

static void choose(const struct loading *l, int32_t *by_type, uint32_t certificate)
{
    int32_t *chosen = &by_type[l->certificates[certificate].type];
    if (*chosen < 0) *chosen = (int32_t)certificate;
}

static int compare_claims(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order != 0) return order;
    return x->certificate < y->certificate ? -1 : x->certificate > y->certificate;
}

static int make_sites(struct loading *l, struct tls_sites *sites)
{
    int32_t by_type[TLS_KEY_TYPE_COUNT] = {-1, -1, -1};
    for (uint32_t i = 0; i < l->certificate_count; i++)
        choose(l, by_type, i);
    SSL_CTX *ctx;
    int err = site_for(l, sites, by_type, &ctx);

    if (l->claim_count > 0) qsort(l->claims, l->claim_count, sizeof(*l->claims), compare_claims);
    for (size_t at = 0; at < l->claim_count && err == 0;) {
        const char *name = l->claims[at].name;
        for (int type = 0; type < TLS_KEY_TYPE_COUNT; type++)
            by_type[type] = -1;
        for (; at < l->claim_count && strcmp(l->claims[at].name, name) == 0; at++)
            choose(l, by_type, l->claims[at].certificate);
        err = site_for(l, sites, by_type, &ctx);
        if (err == 0)
            sites->names[sites->name_count++] = (struct tls_site_name){xstrdup(name), ctx};
    }
    return err;
}

static void loading_finish(struct loading *l)
{
    for (size_t i = 0; i < l->certificate_count; i++) {
        X509_free(l->certificates[i].leaf);
        sk_X509_pop_free(l->certificates[i].chain, X509_free);
        EVP_PKEY_free(l->certificates[i].key);
    }
    for (size_t i = 0; i < l->claim_count; i++)
        free(l->claims[i].name);
    free(l->certificates);
    free(l->claims);
}

int tls_sites_load(struct tls_sites *sites, const struct tls_server_options *options,
                   tls_ctx_make *make, void *data, char *why, size_t why_cap)
{
    *sites = (struct tls_sites){0};
    uint32_t count = options->certificate_count;
    if (count == 0 || count > TLS_CERTIFICATE_COUNT_MAX) {
        snprintf(why, why_cap, "TLS: %u certificates; a server has from 1 to %d", count,
                 TLS_CERTIFICATE_COUNT_MAX);
        return -ERR_INVALID;
    }
    sites->infos = xcalloc(count, sizeof(*sites->infos));
    sites->info_count = count;
    struct loading l = {.options = options,
                        .infos = sites->infos,
                        .certificates = xcalloc(count, sizeof(*l.certificates)),
                        .make = make,
                        .data = data,
                        .why = why,
                        .why_cap = why_cap};
    int err = 0;
    for (uint32_t i = 0; i < count && err == 0; i++)
        err = load(&l, &options->certificates[i]);
    if (err == 0) {
        sites->sites = xcalloc(l.claim_count + 1, sizeof(*sites->sites));
        sites->names = xcalloc(l.claim_count + 1, sizeof(*sites->names));
        err = make_sites(&l, sites);
    }
    loading_finish(&l);
    return err;
}

void tls_sites_finish(struct tls_sites *sites)
{
    for (size_t i = 0; i < sites->site_count; i++)
        SSL_CTX_free(sites->sites[i].ctx);
    for (size_t i = 0; i < sites->name_count; i++)
        free(sites->names[i].name);
    for (uint32_t i = 0; i < sites->info_count; i++) {
        free((void *)(uintptr_t)sites->infos[i].name);
        free((void *)(uintptr_t)sites->infos[i].file);
    }
    free(sites->infos);
    free(sites->sites);
    free(sites->names);
}

/* --- finding --- */

static int compare_name(const void *key, const void *at)
{
    return strcmp(key, ((const struct tls_site_name *)at)->name);
}

static SSL_CTX *find_exactly(const struct tls_sites *sites, const char *name)
{
    if (sites->name_count == 0) return NULL;
    const struct tls_site_name *found =
        bsearch(name, sites->names, sites->name_count, sizeof(*sites->names), compare_name);
    return found == NULL ? NULL : found->ctx;
}

SSL_CTX *tls_sites_find(const struct tls_sites *sites, const char *name)
{
    char lower[TLS_SERVER_NAME_BYTES_MAX + 1];
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof(lower)) return NULL;
    for (size_t i = 0; i <= len; i++)
        lower[i] = ascii_lower(name[i]);
    SSL_CTX *ctx = find_exactly(sites, lower);
    if (ctx != NULL) return ctx;
    char *dot = strchr(lower, '.'); /* `*` stands for one whole label (RFC 6125 section 6.4.3) */
    if (dot == NULL || dot == lower) return NULL;
    dot[-1] = '*';
    return find_exactly(sites, dot - 1);
}
