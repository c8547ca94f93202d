/* cram_md5.c - HMAC-MD5 from the two states of MD5 that are kept.
 *
 * The functions of OpenSSL that take a digest by its name cannot begin in the middle of a hash; the
 * older ones, whose context is an open struct, can. They are marked as deprecated for new uses. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "server/auth/cram_md5.h"

#include <openssl/crypto.h>
#include <openssl/md5.h>

#define BLOCK_BYTES MD5_CBLOCK

static const char hex_digits[] = "0123456789abcdef";

static void state_get(const MD5_CTX *md5, uint32_t words[4])
{
    words[0] = (uint32_t)md5->A;
    words[1] = (uint32_t)md5->B;
    words[2] = (uint32_t)md5->C;
    words[3] = (uint32_t)md5->D;
}

/* Goes on after the first block. */
static void state_set(MD5_CTX *md5, const uint32_t words[4])
{
    MD5_Init(md5);
    md5->A = words[0];
    md5->B = words[1];
    md5->C = words[2];
    md5->D = words[3];
    md5->Nl = BLOCK_BYTES * 8; /* the bits hashed so far */
}

static void first_block(const unsigned char key[BLOCK_BYTES], unsigned char pad, uint32_t out[4])
{
    unsigned char block[BLOCK_BYTES];
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = key[i] ^ pad;
    MD5_CTX md5;
    MD5_Init(&md5);
    MD5_Update(&md5, block, sizeof(block));
    state_get(&md5, out);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(&md5, sizeof(md5));
}

void cram_md5_key_make(struct slice password, struct cram_md5_key *out)
{
    unsigned char key[BLOCK_BYTES] = {0};
    if (password.len > sizeof(key))
        MD5((const unsigned char *)password.data, password.len, key); /* RFC 2104 section 2 */
    else if (password.len > 0)
        memcpy(key, password.data, password.len);
    first_block(key, 0x5c, out->outer);
    first_block(key, 0x36, out->inner);
    OPENSSL_cleanse(key, sizeof(key));
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool cram_md5_key_parse(struct slice text, struct cram_md5_key *out)
{
    if (text.len != CRAM_MD5_KEY_TEXT) return false;
    uint32_t words[8] = {0};
    for (size_t i = 0; i < text.len; i += 2) {
        int high = hex_value(text.data[i]), low = hex_value(text.data[i + 1]);
        if (high < 0 || low < 0) return false;
        words[i / 8] |= (uint32_t)(high << 4 | low) << (i / 2 % 4 * 8);
    }
    memcpy(out->outer, words, sizeof(out->outer));
    memcpy(out->inner, words + 4, sizeof(out->inner));
    return true;
}

static void write_hex(unsigned byte, char out[2])
{
    out[0] = hex_digits[byte >> 4 & 15];
    out[1] = hex_digits[byte & 15];
}

void cram_md5_key_write(const struct cram_md5_key *key, struct buf *out)
{
    char text[CRAM_MD5_KEY_TEXT];
    for (unsigned i = 0; i < CRAM_MD5_KEY_TEXT / 2; i++) {
        const uint32_t *words = i < 16 ? key->outer : key->inner;
        write_hex(words[i % 16 / 4] >> (i % 4 * 8), text + (size_t)2 * i);
    }
    buf_append(out, text, sizeof(text));
}

void cram_md5_digest(const struct cram_md5_key *key, struct slice challenge,
                     char out[CRAM_MD5_DIGEST_TEXT])
{
    unsigned char digest[MD5_DIGEST_LENGTH];
    MD5_CTX md5;
    state_set(&md5, key->inner);
    MD5_Update(&md5, challenge.data, challenge.len);
    MD5_Final(digest, &md5);
    state_set(&md5, key->outer);
    MD5_Update(&md5, digest, sizeof(digest));
    MD5_Final(digest, &md5);
    for (size_t i = 0; i < sizeof(digest); i++)
        write_hex(digest[i], out + 2 * i);
}
