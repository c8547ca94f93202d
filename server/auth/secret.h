/* secret.h - what is kept of a password, in the forms that other servers keep it in:
 *
 *     {SCRAM-SHA-256}ITERATIONS,SALT,STOREDKEY,SERVERKEY   (RFC 5802, RFC 7677; base64)
 *     {CRYPT}$y$...                                        (crypt(5); also {SHA512-CRYPT},
 *                                                           {SHA256-CRYPT} and {BLF-CRYPT})
 *     {CRAM-MD5}64 hexadecimal digits                      (cram_md5.h)
 *
 * as Dovecot's users have them, so that they can be brought along. None is the password; the last
 * is enough to answer a CRAM-MD5 challenge with, so it is to be guarded like one. */
#pragma once

#include "ring/base/buf.h"
#include "server/auth/cram_md5.h"

#define SECRET_PASSWORD_BYTES_MAX 511 /* as much as crypt(3) takes */
#define SECRET_TEXT_BYTES_MAX 512     /* a secret in the file */
#define SCRAM_KEY_BYTES 32
#define SCRAM_SALT_BYTES_MAX 64
#define SCRAM_ITERATIONS_MIN 4096 /* RFC 7677 section 4 */
#define SCRAM_ITERATIONS_MAX 10000000

enum secret_kind { SECRET_SCRAM, SECRET_CRYPT, SECRET_CRAM_MD5, SECRET_KIND_COUNT };

struct scram_secret {
    uint32_t iterations;
    uint8_t salt_len;
    uint8_t salt[SCRAM_SALT_BYTES_MAX];
    uint8_t stored_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES];
};

struct secret {
    enum secret_kind kind;
    union {
        struct scram_secret scram;
        char *crypt; /* owned */
        struct cram_md5_key cram_md5;
    } of;
};

/* Reads one. Returns NULL, and `out` ends with secret_finish(); or what is wrong, static text, and
 * `out` holds nothing. */
MUST_USE const char *secret_parse(struct slice text, struct secret *out);
/* Appends it as secret_parse() reads it. */
void secret_write(const struct secret *secret, struct buf *out);
void secret_finish(struct secret *secret);

/* Make one from a password that secret_check_password() let pass; the salt is drawn. */
void secret_make_scram(struct slice password, uint32_t iterations, struct secret *out);
void secret_make_cram_md5(struct slice password, struct secret *out);
/* yescrypt, at the cost that libcrypt recommends. False when libcrypt fails. */
MUST_USE bool secret_make_crypt(struct slice password, struct secret *out);
/* NULL, or why no secret can be made of it: empty, too long, or not to be prepared with SASLprep
 * (RFC 4013), which clients do before they hash it. */
const char *secret_check_password(struct slice password);

/* True when it was made from `password`. Takes milliseconds, or as long as it was made to take:
 * not for the thread of a loop, but for CRAM-MD5 secrets. Any thread; wipes what it copies. */
MUST_USE bool secret_matches(const struct secret *secret, struct slice password);
