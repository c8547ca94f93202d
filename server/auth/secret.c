/* secret.c - reading, writing, making and checking secrets. */
#include "server/auth/secret.h"

#include "ring/base/memory.h"
#include "server/auth/base64.h"

#include <crypt.h>
#include <gsasl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

#define SALT_BYTES 16 /* of the secrets made here */

_Static_assert(SECRET_PASSWORD_BYTES_MAX == CRYPT_MAX_PASSPHRASE_SIZE - 1,
               "what can be hashed by one form of secret can be hashed by all");

/* --- passwords --- */

static bool is_printable_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < ' ' || text.data[i] > '~') return false;
    }
    return true;
}

static void wipe_cstr(char *text)
{
    if (text == NULL) return;
    OPENSSL_cleanse(text, strlen(text));
    free(text);
}

/* The password in the form that is hashed (RFC 4013), terminated; NULL when it has none. To be
 * ended with wipe_cstr(). Printable ASCII is its own form. */
static char *prepare(struct slice password, Gsasl_saslprep_flags flags)
{
    if (memchr(password.data, '\0', password.len) != NULL) return NULL;
    char *text = slice_to_cstr(password), *prepared = NULL;
    if (is_printable_ascii(password)) return text;
    int rc = gsasl_saslprep(text, flags, &prepared, NULL);
    wipe_cstr(text);
    return rc == GSASL_OK ? prepared : NULL;
}

const char *secret_check_password(struct slice password)
{
    if (password.len == 0) return "the password is empty";
    if (password.len > SECRET_PASSWORD_BYTES_MAX) return "the password is longer than 511 bytes";
    char *prepared = prepare(password, (Gsasl_saslprep_flags)0);
    bool is_fine = prepared != NULL && prepared[0] != '\0';
    wipe_cstr(prepared);
    return is_fine ? NULL : "the password has control or other characters that SASLprep forbids";
}

/* --- SCRAM (RFC 5802 section 3) --- */

static void hmac_sha256(const uint8_t key[SCRAM_KEY_BYTES], struct slice text,
                        uint8_t out[SCRAM_KEY_BYTES])
{
    unsigned len = SCRAM_KEY_BYTES;
    const unsigned char *done = HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES,
                                     (const unsigned char *)text.data, text.len, out, &len);
    ASSERT(done != NULL && len == SCRAM_KEY_BYTES);
}

/* Makes the keys from `prepared` with the salt and the iterations that `scram` has. */
static void scram_derive(const char *prepared, struct scram_secret *scram)
{
    uint8_t salted[SCRAM_KEY_BYTES], client_key[SCRAM_KEY_BYTES];
    int is_done = PKCS5_PBKDF2_HMAC(prepared, (int)strlen(prepared), scram->salt, scram->salt_len,
                                    (int)scram->iterations, EVP_sha256(), sizeof(salted), salted);
    ASSERT(is_done == 1);
    hmac_sha256(salted, SLICE("Client Key"), client_key);
    hmac_sha256(salted, SLICE("Server Key"), scram->server_key);
    is_done =
        EVP_Digest(client_key, sizeof(client_key), scram->stored_key, NULL, EVP_sha256(), NULL);
    ASSERT(is_done == 1);
    OPENSSL_cleanse(salted, sizeof(salted));
    OPENSSL_cleanse(client_key, sizeof(client_key));
}

void secret_make_scram(struct slice password, uint32_t iterations, struct secret *out)
{
    ASSERT(iterations >= SCRAM_ITERATIONS_MIN && iterations <= SCRAM_ITERATIONS_MAX);
    *out = (struct secret){.kind = SECRET_SCRAM};
    out->of.scram.iterations = iterations;
    out->of.scram.salt_len = SALT_BYTES;
    int is_drawn = RAND_bytes(out->of.scram.salt, SALT_BYTES);
    ASSERT(is_drawn == 1);
    char *prepared = prepare(password, (Gsasl_saslprep_flags)0);
    ASSERT(prepared != NULL); /* secret_check_password() let it pass */
    scram_derive(prepared, &out->of.scram);
    wipe_cstr(prepared);
}

static bool scram_matches(const struct scram_secret *scram, struct slice password)
{
    char *prepared = prepare(password, GSASL_ALLOW_UNASSIGNED);
    struct scram_secret made = *scram;
    /* What cannot be prepared takes as long as what can. */
    scram_derive(prepared != NULL ? prepared : "", &made);
    bool is_same = CRYPTO_memcmp(made.stored_key, scram->stored_key, SCRAM_KEY_BYTES) == 0;
    bool is_right = is_same && prepared != NULL;
    wipe_cstr(prepared);
    OPENSSL_cleanse(&made, sizeof(made));
    return is_right;
}

/* Cuts the field up to the next separator off `rest`. Dovecot writes commas. */
static struct slice next_field(struct slice *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->data[len] != ',' && rest->data[len] != '$')
        len++;
    struct slice field = slice_of(rest->data, len);
    *rest = slice_from(*rest, MIN(len + 1, rest->len));
    return field;
}

static bool decode_key(struct slice text, uint8_t out[SCRAM_KEY_BYTES])
{
    struct buf key = {(char *)out, 0, SCRAM_KEY_BYTES, false};
    return base64_decode(text, &key) && key.len == SCRAM_KEY_BYTES;
}

static const char *scram_parse(struct slice text, struct scram_secret *out)
{
    uint64_t iterations;
    if (!slice_to_u64(next_field(&text), SCRAM_ITERATIONS_MAX, &iterations) ||
        iterations < SCRAM_ITERATIONS_MIN)
        return "the iterations of {SCRAM-SHA-256} must be 4096 to 10000000";
    struct buf salt = {(char *)out->salt, 0, sizeof(out->salt), false};
    if (!base64_decode(next_field(&text), &salt) || salt.len == 0)
        return "the salt of {SCRAM-SHA-256} must be 1 to 64 bytes in base64";
    if (!decode_key(next_field(&text), out->stored_key) || !decode_key(text, out->server_key))
        return "{SCRAM-SHA-256} must be ITERATIONS,SALT,STOREDKEY,SERVERKEY with keys of 32 bytes "
               "in base64";
    out->iterations = (uint32_t)iterations;
    out->salt_len = (uint8_t)salt.len;
    return NULL;
}

static void scram_write(const struct scram_secret *scram, struct buf *out)
{
    buf_append_cstr(out, "{SCRAM-SHA-256}");
    buf_append_u64(out, scram->iterations);
    buf_append_char(out, ',');
    base64_encode(slice_of(scram->salt, scram->salt_len), out);
    buf_append_char(out, ',');
    base64_encode(slice_of(scram->stored_key, SCRAM_KEY_BYTES), out);
    buf_append_char(out, ',');
    base64_encode(slice_of(scram->server_key, SCRAM_KEY_BYTES), out);
}

/* --- crypt(3) --- */

/* Those that stand up to guessing today. The others that libcrypt knows (DES, MD5, NT hashes) do
 * not, and hash less than the whole password or without a cost that can be raised. */
static const struct slice crypt_methods[] = {
    {"$y$", 3},  {"$gy$", 4}, {"$7$", 3}, {"$2b$", 4},
    {"$2y$", 4}, {"$2a$", 4}, {"$6$", 3}, {"$5$", 3},
};

static bool is_known_method(struct slice text)
{
    for (size_t i = 0; i < ARRAY_LEN(crypt_methods); i++) {
        if (slice_starts_with_nocase(text, crypt_methods[i])) return true;
    }
    return false;
}

static const char *crypt_parse(struct slice text, char **out)
{
    if (!is_known_method(text))
        return "{CRYPT} takes yescrypt ($y$), gost-yescrypt ($gy$), scrypt ($7$), bcrypt ($2b$), "
               "SHA-512 ($6$) and SHA-256 ($5$) hashes";
    if (text.len >= CRYPT_OUTPUT_SIZE) return "the hash of {CRYPT} is too long";
    char *setting = slice_to_cstr(text);
    int known = crypt_checksalt(setting); /* legacy: SHA-256, which still serves */
    if (known == CRYPT_SALT_OK || known == CRYPT_SALT_METHOD_LEGACY) {
        *out = setting;
        return NULL;
    }
    free(setting);
    return "libcrypt does not take the hash of {CRYPT}";
}

bool secret_make_crypt(struct slice password, struct secret *out)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)) == NULL) return false;
    struct crypt_data *data = xcalloc(1, sizeof(*data));
    char *text = slice_to_cstr(password);
    const char *hash = crypt_r(text, setting, data);
    bool is_made = hash != NULL && hash[0] == '$';
    if (is_made) *out = (struct secret){.kind = SECRET_CRYPT, .of.crypt = xstrdup(hash)};
    wipe_cstr(text);
    OPENSSL_cleanse(data, sizeof(*data));
    free(data);
    return is_made;
}

static bool crypt_matches(const char *hash, struct slice password)
{
    struct crypt_data *data = xcalloc(1, sizeof(*data));
    bool has_nul = memchr(password.data, '\0', password.len) != NULL;
    char *text = slice_to_cstr(password);
    const char *made = crypt_r(text, hash, data);
    size_t len = strlen(hash);
    bool is_right =
        !has_nul && made != NULL && strlen(made) == len && CRYPTO_memcmp(made, hash, len) == 0;
    OPENSSL_cleanse(text, password.len);
    free(text);
    OPENSSL_cleanse(data, sizeof(*data));
    free(data);
    return is_right;
}

/* --- CRAM-MD5 --- */

void secret_make_cram_md5(struct slice password, struct secret *out)
{
    *out = (struct secret){.kind = SECRET_CRAM_MD5};
    cram_md5_key_make(password, &out->of.cram_md5);
}

static bool cram_md5_matches(const struct cram_md5_key *key, struct slice password)
{
    struct cram_md5_key made;
    cram_md5_key_make(password, &made);
    bool is_right = CRYPTO_memcmp(&made, key, sizeof(made)) == 0;
    OPENSSL_cleanse(&made, sizeof(made));
    return is_right;
}

/* --- all of them --- */

static const struct {
    struct slice scheme;
    enum secret_kind kind;
} schemes[] = {
    {{"{SCRAM-SHA-256}", 15}, SECRET_SCRAM}, {{"{CRYPT}", 7}, SECRET_CRYPT},
    {{"{SHA512-CRYPT}", 14}, SECRET_CRYPT},  {{"{SHA256-CRYPT}", 14}, SECRET_CRYPT},
    {{"{BLF-CRYPT}", 11}, SECRET_CRYPT},     {{"{CRAM-MD5}", 10}, SECRET_CRAM_MD5},
};

const char *secret_parse(struct slice text, struct secret *out)
{
    size_t at = 0;
    while (at < ARRAY_LEN(schemes) && !slice_starts_with_nocase(text, schemes[at].scheme))
        at++;
    if (at == ARRAY_LEN(schemes))
        return "a secret begins with {SCRAM-SHA-256}, {CRYPT} or {CRAM-MD5}; `postern passwd` "
               "makes one";
    struct slice rest = slice_from(text, schemes[at].scheme.len);
    *out = (struct secret){.kind = schemes[at].kind};
    switch (out->kind) {
    case SECRET_SCRAM:
        return scram_parse(rest, &out->of.scram);
    case SECRET_CRYPT:
        return crypt_parse(rest, &out->of.crypt);
    default:
        return cram_md5_key_parse(rest, &out->of.cram_md5)
                   ? NULL
                   : "{CRAM-MD5} must be 64 hexadecimal digits";
    }
}

void secret_write(const struct secret *secret, struct buf *out)
{
    switch (secret->kind) {
    case SECRET_SCRAM:
        scram_write(&secret->of.scram, out);
        break;
    case SECRET_CRYPT:
        buf_append_cstr(out, "{CRYPT}");
        buf_append_cstr(out, secret->of.crypt);
        break;
    default:
        buf_append_cstr(out, "{CRAM-MD5}");
        cram_md5_key_write(&secret->of.cram_md5, out);
        break;
    }
}

void secret_finish(struct secret *secret)
{
    if (secret->kind == SECRET_CRYPT) free(secret->of.crypt);
    OPENSSL_cleanse(secret, sizeof(*secret));
}

bool secret_matches(const struct secret *secret, struct slice password)
{
    switch (secret->kind) {
    case SECRET_SCRAM:
        return scram_matches(&secret->of.scram, password);
    case SECRET_CRYPT:
        return crypt_matches(secret->of.crypt, password);
    default:
        return cram_md5_matches(&secret->of.cram_md5, password);
    }
}
