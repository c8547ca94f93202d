/* auth_text.c - see auth_text.h. Base64 and HMAC are OpenSSL's. */
#include "bench/auth_text.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define CHALLENGE_BYTES_MAX 768
#define SECRETS_BYTES_MAX 700

void auth_write_base64(struct slice bytes, struct buf *out)
{
    size_t need = (bytes.len + 2) / 3 * 4 + 1; /* OpenSSL terminates what it writes */
    if (buf_room(out) < need) {
        out->is_short = true;
        return;
    }
    unsigned char *at = (unsigned char *)out->data + out->len;
    int len = EVP_EncodeBlock(at, (const unsigned char *)bytes.data, (int)bytes.len);
    out->len += (size_t)len;
}

void auth_write_plain(const char *user, const char *password, struct buf *out)
{
    char bytes[SECRETS_BYTES_MAX];
    struct buf text = {.data = bytes, .cap = sizeof(bytes)};
    buf_append_char(&text, '\0');
    buf_append_cstr(&text, user);
    buf_append_char(&text, '\0');
    buf_append_cstr(&text, password);
    if (text.is_short) {
        out->is_short = true;
        return;
    }
    auth_write_base64(buf_slice(&text), out);
}

/* The bytes of `text`, of which there is room for three in each four; -1 when it is no base64. */
static int decode_base64(struct slice text, unsigned char *out)
{
    if (text.len == 0 || text.len % 4 != 0) return -1;
    int len = EVP_DecodeBlock(out, (const unsigned char *)text.data, (int)text.len);
    if (len < 0) return -1;
    /* OpenSSL counts the padding as bytes. */
    if (text.data[text.len - 1] == '=') len--;
    if (text.data[text.len - 2] == '=') len--;
    return len;
}

bool auth_write_cram_md5(const char *user, const char *password, struct slice challenge,
                         struct buf *out)
{
    unsigned char decoded[CHALLENGE_BYTES_MAX], mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    if (challenge.len > CHALLENGE_BYTES_MAX) return false;
    int len = decode_base64(challenge, decoded);
    if (len < 0) return false;
    if (HMAC(EVP_md5(), password, (int)strlen(password), decoded, (size_t)len, mac, &mac_len) ==
        NULL)
        return false;

    char bytes[SECRETS_BYTES_MAX];
    struct buf text = {.data = bytes, .cap = sizeof(bytes)};
    buf_append_cstr(&text, user);
    buf_append_char(&text, ' ');
    for (unsigned i = 0; i < mac_len; i++) {
        buf_append_char(&text, "0123456789abcdef"[mac[i] >> 4]);
        buf_append_char(&text, "0123456789abcdef"[mac[i] & 15]);
    }
    auth_write_base64(buf_slice(&text), out);
    return !text.is_short && !out->is_short;
}
