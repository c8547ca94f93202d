/* exchange.c - the steps of each mechanism.
 *
 * Base64 is taken off every response in one place; what a mechanism sees are bytes. A response that
 * is not what the mechanism asks for ends the exchange, and nothing of it lives on in the next one
 * (CVE-2011-1720). */
#include "server/auth/exchange.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "server/auth/scram.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#define CRAM_RANDOM_BYTES 16

/* --- mechanisms --- */

static enum exchange_status plain_step(struct exchange *e, struct slice response);
static enum exchange_status login_step(struct exchange *e, struct slice response);
static enum exchange_status cram_md5_step(struct exchange *e, struct slice response);
static enum exchange_status scram_step(struct exchange *e, struct slice response);

static const struct {
    struct slice name;
    enum exchange_status (*step)(struct exchange *e, struct slice response);
} mechanisms[AUTH_MECHANISM_COUNT] = {
    [AUTH_SCRAM_SHA_256] = {{"SCRAM-SHA-256", 13}, scram_step},
    [AUTH_CRAM_MD5] = {{"CRAM-MD5", 8}, cram_md5_step},
    [AUTH_PLAIN] = {{"PLAIN", 5}, plain_step},
    [AUTH_LOGIN] = {{"LOGIN", 5}, login_step},
};

const char *exchange_mechanism_name(enum auth_mechanism mechanism)
{
    ASSERT(mechanism < AUTH_MECHANISM_COUNT);
    return mechanisms[mechanism].name.data;
}

bool exchange_mechanism_parse(struct slice name, enum auth_mechanism *out)
{
    for (unsigned i = 0; i < AUTH_MECHANISM_COUNT; i++) {
        if (!slice_eq_nocase(name, mechanisms[i].name)) continue;
        *out = (enum auth_mechanism)i;
        return true;
    }
    return false;
}

bool exchange_is_of_use(const struct users *users, enum auth_mechanism mechanism)
{
    switch (mechanism) {
    case AUTH_SCRAM_SHA_256:
        return users_have(users, SECRET_SCRAM);
    case AUTH_CRAM_MD5:
        return users_have(users, SECRET_CRAM_MD5);
    default:
        return true; /* a password can be compared with every kind of secret */
    }
}

/* --- what the mechanisms share --- */

/* A name that could be one: no control characters, and no longer than names in the file. */
static bool name_is_possible(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.data[i] < ' ' || name.data[i] == 0x7f) return false;
    }
    return name.len > 0 && name.len <= USERS_NAME_BYTES_MAX;
}

static void set_name(struct exchange *e, struct slice name)
{
    ASSERT(name.len <= sizeof(e->name));
    memcpy(e->name, name.data, name.len);
    e->name_len = (uint16_t)name.len;
    e->user = users_find(e->users, name);
}

/* A password that is longer than any in the file is as wrong as another one: it is cut, and
 * compared with what is no secret of the user, so that the answer takes as long. */
static void set_password(struct exchange *e, struct slice password)
{
    size_t len = MIN(password.len, sizeof(e->password));
    memcpy(e->password, password.data, len);
    e->password_len = (uint16_t)len;
    if (password.len > sizeof(e->password)) e->user = NULL;
}

static enum exchange_status challenge_with(struct exchange *e, struct slice bytes)
{
    struct buf out = {e->challenge, 0, sizeof(e->challenge), false};
    if (!base64_encode(bytes, &out)) return EXCHANGE_ERROR;
    e->challenge_len = (uint16_t)out.len;
    return EXCHANGE_CONTINUE;
}

/* Takes the part before the next `end` off `in`. False when there is none. */
static bool take_part(struct slice *in, char end, struct slice *part_out)
{
    const char *at = in->len > 0 ? memchr(in->data, end, in->len) : NULL;
    if (at == NULL) return false;
    *part_out = slice_of(in->data, (size_t)(at - in->data));
    *in = slice_from(*in, part_out->len + 1);
    return true;
}

/* --- PLAIN: [authzid] NUL authcid NUL passwd --- */

static enum exchange_status plain_step(struct exchange *e, struct slice response)
{
    struct slice authzid, name;
    if (!take_part(&response, '\0', &authzid) || !take_part(&response, '\0', &name))
        return EXCHANGE_MALFORMED;
    bool has_nul = memchr(response.data, '\0', response.len) != NULL;
    if (has_nul || name.len == 0 || response.len == 0) return EXCHANGE_MALFORMED;
    if (!name_is_possible(name)) return EXCHANGE_FAILED;
    set_name(e, name);
    /* Nobody may act for somebody else. */
    if (authzid.len > 0 && !slice_eq(authzid, name)) return EXCHANGE_FAILED;
    set_password(e, response);
    return EXCHANGE_CHECK;
}

/* --- LOGIN: the name, then the password --- */

static enum exchange_status login_step(struct exchange *e, struct slice response)
{
    bool has_nul = response.len > 0 && memchr(response.data, '\0', response.len) != NULL;
    if (response.len == 0 || has_nul) return EXCHANGE_MALFORMED;
    if (e->name_len > 0) {
        set_password(e, response);
        return EXCHANGE_CHECK;
    }
    if (!name_is_possible(response)) return EXCHANGE_FAILED;
    set_name(e, response);
    return challenge_with(e, SLICE("Password:"));
}

/* --- CRAM-MD5: NAME BLANK DIGEST, for <random.seconds@hostname> --- */

static enum exchange_status cram_md5_challenge(struct exchange *e, struct slice hostname)
{
    ASSERT(hostname.len <= EXCHANGE_HOSTNAME_BYTES_MAX);
    unsigned char random[CRAM_RANDOM_BYTES];
    if (RAND_bytes(random, sizeof(random)) != 1) return EXCHANGE_ERROR;
    struct buf out = {e->cram, 0, sizeof(e->cram), false};
    buf_append_char(&out, '<');
    for (size_t i = 0; i < sizeof(random); i += 8) {
        uint64_t number;
        memcpy(&number, random + i, sizeof(number));
        buf_append_u64(&out, number);
    }
    buf_append_char(&out, '.');
    buf_append_u64(&out, clock_wall_ms() / 1000);
    buf_append_char(&out, '@');
    buf_append_slice(&out, hostname);
    buf_append_char(&out, '>');
    ASSERT(!out.is_short);
    e->cram_len = (uint16_t)out.len;
    return challenge_with(e, buf_slice(&out));
}

static bool is_digest(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.data[i]);
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return false;
    }
    return text.len == CRAM_MD5_DIGEST_TEXT;
}

static enum exchange_status cram_md5_step(struct exchange *e, struct slice response)
{
    const char *blank = response.len > 0 ? memrchr(response.data, ' ', response.len) : NULL;
    if (blank == NULL || blank == response.data) return EXCHANGE_MALFORMED;
    struct slice name = slice_of(response.data, (size_t)(blank - response.data));
    struct slice digest = slice_from(response, name.len + 1);
    if (!is_digest(digest) || memchr(name.data, '\0', name.len) != NULL) return EXCHANGE_MALFORMED;
    if (!name_is_possible(name)) return EXCHANGE_FAILED;
    set_name(e, name);
    for (size_t i = 0; i < digest.len; i++)
        e->password[i] = ascii_lower(digest.data[i]);
    e->password_len = CRAM_MD5_DIGEST_TEXT;
    return EXCHANGE_CHECK;
}

static enum exchange_status cram_md5_check(const struct exchange *e)
{
    static const struct cram_md5_key decoy = {.outer = {1}, .inner = {2}};
    bool has_key = e->user != NULL && e->user->cram_md5 != NULL;
    char digest[CRAM_MD5_DIGEST_TEXT];
    cram_md5_digest(has_key ? &e->user->cram_md5->of.cram_md5 : &decoy,
                    slice_of(e->cram, e->cram_len), digest);
    bool is_same = CRYPTO_memcmp(digest, e->password, sizeof(digest)) == 0;
    return is_same && has_key ? EXCHANGE_OK : EXCHANGE_FAILED;
}

/* --- SCRAM-SHA-256 --- */

static enum exchange_status status_of(enum scram_status status)
{
    return status == SCRAM_FAILED      ? EXCHANGE_FAILED
           : status == SCRAM_MALFORMED ? EXCHANGE_MALFORMED
           : status == SCRAM_ERROR     ? EXCHANGE_ERROR
                                       : EXCHANGE_OK;
}

static enum exchange_status scram_first(struct exchange *e, struct slice response, struct buf *out)
{
    struct buf name = {e->name, 0, sizeof(e->name), false};
    enum scram_status status = scram_begin(e->users, response, &name, out, &e->scram);
    if (status == SCRAM_OK && !name_is_possible(buf_slice(&name))) status = SCRAM_FAILED;
    if (status == SCRAM_OK) set_name(e, buf_slice(&name));
    return status_of(status);
}

/* The signature of the server goes out in a challenge, which the client answers with an empty line
 * (RFC 4954 section 4): the proof was right before that. */
static enum exchange_status scram_step(struct exchange *e, struct slice response)
{
    if (e->step == 3) return response.len == 0 ? EXCHANGE_OK : EXCHANGE_MALFORMED;
    char text[BASE64_DECODED_BYTES(EXCHANGE_CHALLENGE_BYTES_MAX)];
    struct buf out = {text, 0, sizeof(text), false};
    enum exchange_status status = e->step == 1 ? scram_first(e, response, &out)
                                               : status_of(scram_end(e->scram, response, &out));
    return status == EXCHANGE_OK ? challenge_with(e, buf_slice(&out)) : status;
}

/* --- all of them --- */

/* A response as text: "=" stands for an empty one behind AUTH alone. */
static enum exchange_status take_response(struct exchange *e, struct slice text)
{
    struct buf decoded = {e->decoded, 0, sizeof(e->decoded), false};
    if (!base64_decode(text, &decoded)) return EXCHANGE_MALFORMED;
    e->step++;
    return mechanisms[e->mechanism].step(e, buf_slice(&decoded));
}

/* What is said to a client that sent no initial response. */
static enum exchange_status first_challenge(struct exchange *e, struct slice hostname)
{
    switch (e->mechanism) {
    case AUTH_CRAM_MD5:
        return cram_md5_challenge(e, hostname);
    case AUTH_LOGIN:
        return challenge_with(e, SLICE("Username:"));
    default:
        return challenge_with(e, SLICE(""));
    }
}

enum exchange_status exchange_begin(struct exchange *e, const struct users *users,
                                    enum auth_mechanism mechanism, struct slice hostname,
                                    const struct slice *initial)
{
    ASSERT(mechanism < AUTH_MECHANISM_COUNT);
    memset(e, 0, offsetof(struct exchange, name)); /* the texts have lengths of their own */
    e->users = users_ref(users);
    e->mechanism = mechanism;
    if (initial == NULL) return first_challenge(e, hostname);
    /* RFC 4954 section 4: the server speaks first, so there is nothing to respond to. */
    if (mechanism == AUTH_CRAM_MD5) return EXCHANGE_MALFORMED;
    return take_response(e, slice_eq(*initial, SLICE("=")) ? SLICE("") : *initial);
}

enum exchange_status exchange_step(struct exchange *e, struct slice line)
{
    ASSERT(e->users != NULL);
    if (slice_eq(line, SLICE("*"))) return EXCHANGE_CANCELED;
    if (line.len > EXCHANGE_RESPONSE_BYTES_MAX) return EXCHANGE_MALFORMED;
    return take_response(e, line);
}

struct slice exchange_challenge(const struct exchange *e)
{
    return slice_of(e->challenge, e->challenge_len);
}

struct slice exchange_name(const struct exchange *e)
{
    return slice_of(e->name, e->name_len);
}

bool exchange_is_slow(const struct exchange *e)
{
    return e->mechanism == AUTH_PLAIN || e->mechanism == AUTH_LOGIN;
}

enum exchange_status exchange_check(struct exchange *e)
{
    ASSERT(e->name_len > 0);
    if (e->mechanism == AUTH_CRAM_MD5) return cram_md5_check(e);
    ASSERT(exchange_is_slow(e));
    const struct secret *secret =
        e->user != NULL ? e->user->password : users_decoy_password(e->users, exchange_name(e));
    bool is_same = secret_matches(secret, slice_of(e->password, e->password_len));
    OPENSSL_cleanse(e->password, sizeof(e->password));
    return is_same && e->user != NULL ? EXCHANGE_OK : EXCHANGE_FAILED;
}

void exchange_finish(struct exchange *e)
{
    if (e->users == NULL) return;
    scram_destroy(e->scram);
    users_unref(e->users);
    OPENSSL_cleanse(e, sizeof(*e));
}
