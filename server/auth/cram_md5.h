/* cram_md5.h - CRAM-MD5 (RFC 2195): the key that is kept, and the digest of a challenge.
 *
 * HMAC-MD5 (RFC 2104) begins both of its hashes with one block that depends on the password alone.
 * The states of MD5 after these blocks are what is kept, as Dovecot does: they answer challenges of
 * CRAM-MD5, and are worth nothing elsewhere. As text: the outer state, then the inner one, each as
 * four little-endian words, in hexadecimal. */
#pragma once

#include "ring/base/buf.h"

#define CRAM_MD5_DIGEST_TEXT 32
#define CRAM_MD5_KEY_TEXT 64

struct cram_md5_key {
    uint32_t outer[4], inner[4];
};

void cram_md5_key_make(struct slice password, struct cram_md5_key *out);
/* False when it is no such text. */
MUST_USE bool cram_md5_key_parse(struct slice text, struct cram_md5_key *out);
void cram_md5_key_write(const struct cram_md5_key *key, struct buf *out);
/* The digest of `challenge` in lower-case hexadecimal, as a client sends it; not terminated. */
void cram_md5_digest(const struct cram_md5_key *key, struct slice challenge,
                     char out[CRAM_MD5_DIGEST_TEXT]);
