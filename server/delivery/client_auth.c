/* client_auth.c - the exchanges; SCRAM is libgsasl's. */
#include "server/delivery/client_auth.h"

#include "server/auth/base64.h"
#include "server/auth/cram_md5.h"

#include <gsasl.h>
#include <stdlib.h>

#define PLAIN_BYTES_MAX 2100 /* of user name, password and two NULs */

struct client_auth {
    const struct config_hop *settings;
    enum auth_mechanism mechanism;
    unsigned rounds;
    Gsasl *gsasl;
    Gsasl_session *session;
    bool is_proven; /* SCRAM: the server's signature was right */
};

static const char *const names[] = {
    [AUTH_SCRAM_SHA_256] = "SCRAM-SHA-256",
    [AUTH_CRAM_MD5] = "CRAM-MD5",
    [AUTH_PLAIN] = "PLAIN",
    [AUTH_LOGIN] = "LOGIN",
};

static bool begin_scram(struct client_auth *auth)
{
    if (gsasl_init(&auth->gsasl) != GSASL_OK) return false;
    if (gsasl_client_start(auth->gsasl, "SCRAM-SHA-256", &auth->session) != GSASL_OK) return false;
    gsasl_property_set(auth->session, GSASL_AUTHID, auth->settings->username);
    gsasl_property_set(auth->session, GSASL_PASSWORD, auth->settings->password);
    return true;
}

struct client_auth *client_auth_create(const struct config_hop *settings, uint32_t mechanisms)
{
    unsigned at = 0; /* the enum is in order of strength */
    while (at < AUTH_MECHANISM_COUNT && (mechanisms & BIT(at)) == 0)
        at++;
    if (at == AUTH_MECHANISM_COUNT) return NULL;
    struct client_auth *auth = calloc(1, sizeof(*auth));
    if (auth == NULL) return NULL;
    auth->settings = settings;
    auth->mechanism = (enum auth_mechanism)at;
    if (auth->mechanism == AUTH_SCRAM_SHA_256 && !begin_scram(auth)) {
        client_auth_destroy(auth);
        return NULL;
    }
    return auth;
}

void client_auth_destroy(struct client_auth *auth)
{
    if (auth == NULL) return;
    if (auth->session != NULL) gsasl_finish(auth->session);
    if (auth->gsasl != NULL) gsasl_done(auth->gsasl);
    free(auth);
}

const char *client_auth_mechanism(const struct client_auth *auth)
{
    return names[auth->mechanism];
}

static bool add_encoded(struct slice bytes, struct buf *line)
{
    return base64_encode(bytes, line);
}

static bool add_plain(const struct client_auth *auth, struct buf *line)
{
    char bytes[PLAIN_BYTES_MAX];
    struct buf text = {bytes, 0, sizeof(bytes), false};
    buf_append_char(&text, '\0');
    buf_append_cstr(&text, auth->settings->username);
    buf_append_char(&text, '\0');
    buf_append_cstr(&text, auth->settings->password);
    bool is_good = !text.is_short && add_encoded(buf_slice(&text), line);
    explicit_bzero(bytes, sizeof(bytes));
    return is_good;
}

/* One step of libgsasl, in base64 both ways. `challenge` is terminated. */
static bool add_scram(struct client_auth *auth, const char *challenge, struct buf *line)
{
    char *out = NULL;
    int rc = gsasl_step64(auth->session, challenge, &out);
    bool is_good = (rc == GSASL_OK || rc == GSASL_NEEDS_MORE) && out != NULL;
    if (is_good) is_good = buf_append_cstr(line, out);
    if (rc == GSASL_OK) auth->is_proven = true;
    gsasl_free(out);
    return is_good;
}

bool client_auth_begin(struct client_auth *auth, struct buf *line)
{
    buf_append_format(line, "AUTH %s", client_auth_mechanism(auth));
    bool is_good = true;
    if (auth->mechanism == AUTH_PLAIN || auth->mechanism == AUTH_SCRAM_SHA_256) {
        buf_append_char(line, ' ');
        is_good = auth->mechanism == AUTH_PLAIN ? add_plain(auth, line) : add_scram(auth, "", line);
    }
    return buf_append_cstr(line, "\r\n") && is_good && !line->is_short;
}

static bool add_cram(const struct client_auth *auth, struct slice challenge, struct buf *line)
{
    char bytes[PLAIN_BYTES_MAX], digest[CRAM_MD5_DIGEST_TEXT];
    struct buf text = {bytes, 0, sizeof(bytes), false};
    struct cram_md5_key key;
    cram_md5_key_make(slice_of_cstr(auth->settings->password), &key);
    cram_md5_digest(&key, challenge, digest);
    explicit_bzero(&key, sizeof(key));
    buf_append_cstr(&text, auth->settings->username);
    buf_append_char(&text, ' ');
    buf_append(&text, digest, sizeof(digest));
    return !text.is_short && add_encoded(buf_slice(&text), line);
}

/* The iterations that the server's first message asks for are few enough ("r=..,s=..,i=4096"). */
static bool is_cheap(struct slice challenge)
{
    const char *at = memmem(challenge.data, challenge.len, ",i=", 3);
    if (at == NULL) return true; /* another message, or none: libgsasl looks */
    struct slice digits = slice_from(challenge, (size_t)(at + 3 - challenge.data));
    size_t len = 0;
    while (len < digits.len && digits.data[len] >= '0' && digits.data[len] <= '9')
        len++;
    uint64_t iterations;
    return slice_to_u64(slice_of(digits.data, len), CLIENT_AUTH_ITERATIONS_MAX, &iterations);
}

static bool add_answer(struct client_auth *auth, struct slice words, struct slice challenge,
                       struct buf *line)
{
    switch (auth->mechanism) {
    case AUTH_PLAIN: /* the initial response was not taken */
        return add_plain(auth, line);
    case AUTH_LOGIN: /* the user first, whatever the server calls it */
        return add_encoded(
            slice_of_cstr(auth->rounds == 1 ? auth->settings->username : auth->settings->password),
            line);
    case AUTH_CRAM_MD5:
        return add_cram(auth, challenge, line);
    case AUTH_SCRAM_SHA_256:
        break;
    default:
        return false;
    }
    if (!is_cheap(challenge)) return false;
    char *text = slice_to_cstr(words);
    bool is_good = add_scram(auth, text, line);
    free(text);
    return is_good;
}

bool client_auth_answer(struct client_auth *auth, struct slice words, struct buf *line)
{
    char bytes[1024];
    struct buf challenge = {bytes, 0, sizeof(bytes), false};
    words = slice_trim(words);
    bool must_decode = auth->mechanism == AUTH_CRAM_MD5 || auth->mechanism == AUTH_SCRAM_SHA_256;
    if (++auth->rounds > CLIENT_AUTH_ROUNDS_MAX) return false;
    if (must_decode && !base64_decode(words, &challenge)) return false;
    bool is_good = add_answer(auth, words, buf_slice(&challenge), line);
    return buf_append_cstr(line, "\r\n") && is_good && !line->is_short;
}

bool client_auth_is_done(struct client_auth *auth, struct slice words)
{
    if (auth->mechanism != AUTH_SCRAM_SHA_256 || auth->is_proven) return true;
    /* Some servers put their last message behind the 235. */
    char bytes[CLIENT_AUTH_LINE_BYTES_MAX];
    struct buf line = {bytes, 0, sizeof(bytes), false};
    return client_auth_answer(auth, words, &line) && auth->is_proven;
}
