/* scram.c - the first message, and libgsasl for the rest.
 *
 * libgsasl is given the salt, the iterations and the two keys of the user as properties before it
 * sees the message, so it never asks for anything: for a user who is not there these are made up
 * (users_decoy_scram()), and the proof cannot be right. */
#include "server/auth/scram.h"

#include "ring/base/memory.h"
#include "server/auth/base64.h"

#include <gsasl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

struct scram_server {
    Gsasl *library;
};

struct scram {
    Gsasl_session *session;
    bool is_known; /* the user has a SCRAM secret */
};

struct scram_server *scram_server_create(void)
{
    struct scram_server *server = xcalloc(1, sizeof(*server));
    int rc = gsasl_init(&server->library);
    ASSERT(rc == GSASL_OK); /* it fails for want of memory only */
    return server;
}

void scram_server_destroy(struct scram_server *server)
{
    if (server == NULL) return;
    gsasl_done(server->library);
    free(server);
}

/* --- the first message --- */

/* Takes `text` off the front of `in`. */
static bool take(struct slice *in, struct slice text)
{
    if (in->len < text.len || memcmp(in->data, text.data, text.len) != 0) return false;
    *in = slice_from(*in, text.len);
    return true;
}

/* What stands before the next comma, or the end; the comma goes too. */
static struct slice take_value(struct slice *in, bool *has_comma_out)
{
    const char *comma = in->len > 0 ? memchr(in->data, ',', in->len) : NULL;
    *has_comma_out = comma != NULL;
    size_t len = comma != NULL ? (size_t)(comma - in->data) : in->len;
    struct slice value = slice_of(in->data, len);
    *in = slice_from(*in, MIN(len + 1, in->len));
    return value;
}

/* saslname: "=2C" is a comma and "=3D" an equals sign; any other "=" is wrong. False for that, and
 * when there is no room. */
static bool append_saslname(struct slice text, struct buf *out)
{
    while (text.len > 0) {
        if (take(&text, SLICE("=2C"))) {
            buf_append_char(out, ',');
        } else if (take(&text, SLICE("=3D"))) {
            buf_append_char(out, '=');
        } else if (text.data[0] == '=') {
            return false;
        } else {
            buf_append_char(out, text.data[0]);
            text = slice_from(text, 1);
        }
    }
    return !out->is_short;
}

static bool is_nonce(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] <= ' ' || text.data[i] > '~') return false;
    }
    return text.len > 0 && text.len <= SCRAM_NONCE_BYTES_MAX;
}

/* The name in the message, as SASLprep (RFC 4013) has it, must not be empty: libgsasl would refuse
 * it too, but lose memory over it. */
static bool is_preparable(struct slice name)
{
    char *text = slice_to_cstr(name), *prepared = NULL;
    bool is_fine = gsasl_saslprep(text, GSASL_ALLOW_UNASSIGNED, &prepared, NULL) == GSASL_OK &&
                   prepared[0] != '\0';
    gsasl_free(prepared);
    free(text);
    return is_fine;
}

/* Appends the name to `name`. Extensions may follow the nonce and are passed over, as RFC 5802
 * section 5.1 has it; a mandatory one stands in the place of the name, and is refused so. */
static enum scram_status read_first(struct slice message, struct buf *name)
{
    if (memchr(message.data, '\0', message.len) != NULL) return SCRAM_MALFORMED;
    if (take(&message, SLICE("p="))) return SCRAM_FAILED; /* channel binding is not offered */
    if (!take(&message, SLICE("n,")) && !take(&message, SLICE("y,"))) return SCRAM_MALFORMED;
    bool has_comma;
    struct slice authzid = take_value(&message, &has_comma);
    if (!has_comma || (authzid.len > 0 && !take(&authzid, SLICE("a=")))) return SCRAM_MALFORMED;

    struct slice field = take_value(&message, &has_comma);
    if (!take(&field, SLICE("n=")) || field.len == 0 || !has_comma) return SCRAM_MALFORMED;
    if (!append_saslname(field, name)) return name->is_short ? SCRAM_FAILED : SCRAM_MALFORMED;
    struct slice nonce = take_value(&message, &has_comma);
    if (!take(&nonce, SLICE("r=")) || !is_nonce(nonce)) return SCRAM_MALFORMED;

    char text[USERS_NAME_BYTES_MAX];
    struct buf other = {text, 0, sizeof(text), false};
    if (authzid.len > 0 && !append_saslname(authzid, &other))
        return other.is_short ? SCRAM_FAILED : SCRAM_MALFORMED;
    if (authzid.len > 0 && !slice_eq(buf_slice(&other), buf_slice(name))) return SCRAM_FAILED;
    return is_preparable(buf_slice(name)) ? SCRAM_OK : SCRAM_FAILED;
}

/* --- libgsasl --- */

static bool set_base64(Gsasl_session *session, Gsasl_property property, const uint8_t *bytes,
                       size_t len)
{
    char text[BASE64_ENCODED_BYTES(SCRAM_SALT_BYTES_MAX) + 1];
    struct buf out = {text, 0, sizeof(text), false};
    base64_encode(slice_of(bytes, len), &out);
    buf_append_char(&out, '\0');
    ASSERT(!out.is_short);
    bool is_set = gsasl_property_set(session, property, text) == GSASL_OK;
    OPENSSL_cleanse(text, sizeof(text));
    return is_set;
}

static bool set_secret(Gsasl_session *session, const struct scram_secret *secret)
{
    char iterations[16];
    snprintf(iterations, sizeof(iterations), "%u", secret->iterations);
    return gsasl_property_set(session, GSASL_SCRAM_ITER, iterations) == GSASL_OK &&
           set_base64(session, GSASL_SCRAM_SALT, secret->salt, secret->salt_len) &&
           set_base64(session, GSASL_SCRAM_STOREDKEY, secret->stored_key, SCRAM_KEY_BYTES) &&
           set_base64(session, GSASL_SCRAM_SERVERKEY, secret->server_key, SCRAM_KEY_BYTES);
}

static enum scram_status status_of(int rc)
{
    switch (rc) {
    case GSASL_OK:
        return SCRAM_OK;
    case GSASL_MALLOC_ERROR:
    case GSASL_CRYPTO_ERROR:
        return SCRAM_ERROR;
    case GSASL_MECHANISM_PARSE_ERROR:
    case GSASL_BASE64_ERROR:
        return SCRAM_MALFORMED;
    default:
        return SCRAM_FAILED;
    }
}

/* One step; `wanted` is what it returns when all is well. */
static enum scram_status step(struct scram *scram, struct slice message, int wanted,
                              struct buf *out)
{
    char *answer = NULL;
    size_t len = 0;
    int rc = gsasl_step(scram->session, message.data, message.len, &answer, &len);
    bool is_fine = rc == wanted && buf_append(out, answer, len);
    gsasl_free(answer);
    if (is_fine) return SCRAM_OK;
    enum scram_status status = status_of(rc);
    return status == SCRAM_OK ? SCRAM_ERROR : status;
}

/* libgsasl reads the name once more; were it to read another one, that would be somebody else. */
static bool is_same_name(struct scram *scram, struct slice name)
{
    const char *read = gsasl_property_fast(scram->session, GSASL_AUTHID);
    return read != NULL && slice_eq(slice_of_cstr(read), name);
}

enum scram_status scram_begin(const struct users *users, struct slice message, struct buf *name,
                              struct buf *out, struct scram **scram_out)
{
    *scram_out = NULL;
    enum scram_status status = read_first(message, name);
    if (status != SCRAM_OK) return status;

    const struct user *user = users_find(users, buf_slice(name));
    struct scram_secret secret;
    users_decoy_scram(users, buf_slice(name),
                      &secret); /* for all, so that it takes the same time */
    if (user != NULL && user->scram != NULL) secret = user->scram->of.scram;
    struct scram *scram = xcalloc(1, sizeof(*scram));
    scram->is_known = user != NULL && user->scram != NULL;
    Gsasl *library = users_scram_server(users)->library;
    bool is_started = gsasl_server_start(library, "SCRAM-SHA-256", &scram->session) == GSASL_OK &&
                      set_secret(scram->session, &secret);
    OPENSSL_cleanse(&secret, sizeof(secret));
    status = is_started ? step(scram, message, GSASL_NEEDS_MORE, out) : SCRAM_ERROR;
    if (status == SCRAM_OK && !is_same_name(scram, buf_slice(name))) status = SCRAM_FAILED;
    if (status == SCRAM_OK)
        *scram_out = scram;
    else
        scram_destroy(scram);
    return status;
}

enum scram_status scram_end(struct scram *scram, struct slice message, struct buf *out)
{
    if (memchr(message.data, '\0', message.len) != NULL) return SCRAM_MALFORMED;
    enum scram_status status = step(scram, message, GSASL_OK, out);
    return status == SCRAM_OK && !scram->is_known ? SCRAM_FAILED : status;
}

void scram_destroy(struct scram *scram)
{
    if (scram == NULL) return;
    if (scram->session != NULL) gsasl_finish(scram->session);
    free(scram);
}
