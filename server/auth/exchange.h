/* exchange.h - one AUTH exchange (RFC 4954): from the mechanism to who the client is, or is not.
 *
 *     exchange_begin() --> CONTINUE: 334 and the challenge --> exchange_step() --+
 *            |                  ^                                                |
 *            |                  +------------------------------------------------+
 *            +--> CHECK --> exchange_check() --> OK or FAILED
 *
 * Pure: no input or output, and no clock but for a time in the challenge of CRAM-MD5. PLAIN
 * (RFC 4616), LOGIN (draft-murchison-sasl-login), CRAM-MD5 (RFC 2195), SCRAM-SHA-256 (RFC 7677).
 * A user who is not there, or has no secret for the mechanism, meets the same steps and the same
 * work as one who is, and fails.
 *
 * Passwords are inside of struct exchange and nowhere else; exchange_finish() wipes them. Memory
 * for it comes from vault.h. */
#pragma once

#include "server/auth/base64.h"
#include "server/auth/users.h"

#define EXCHANGE_RESPONSE_BYTES_MAX 12288 /* a line of a client, RFC 4954 section 4 */
#define EXCHANGE_HOSTNAME_BYTES_MAX 255
#define EXCHANGE_CHALLENGE_BYTES_MAX 504 /* in base64: "334 " and CRLF make it a reply line */

enum exchange_status {
    EXCHANGE_CONTINUE,  /* 334 with exchange_challenge(), then exchange_step() */
    EXCHANGE_CHECK,     /* the name and what proves it are there: exchange_check() */
    EXCHANGE_OK,        /* it is exchange_name() */
    EXCHANGE_FAILED,    /* 535 */
    EXCHANGE_MALFORMED, /* 501: no base64, or not what the mechanism asks for */
    EXCHANGE_CANCELED,  /* 501: "*" */
    EXCHANGE_ERROR,     /* 454: memory is out */
};

struct scram;

struct exchange {
    const struct users *users; /* counted */
    const struct user *user;   /* NULL: not known, or not yet */
    struct scram *scram;
    enum auth_mechanism mechanism;
    uint8_t step; /* responses taken */
    uint16_t name_len, password_len, challenge_len, cram_len;
    char name[USERS_NAME_BYTES_MAX];
    char password[SECRET_PASSWORD_BYTES_MAX]; /* of CRAM-MD5: the digest */
    char challenge[EXCHANGE_CHALLENGE_BYTES_MAX];
    char cram[EXCHANGE_CHALLENGE_BYTES_MAX / 4 * 3]; /* the challenge before base64 */
    char decoded[BASE64_DECODED_BYTES(EXCHANGE_RESPONSE_BYTES_MAX)];
};

/* "SCRAM-SHA-256" ...; static. */
const char *exchange_mechanism_name(enum auth_mechanism mechanism);
/* In any case. False when there is no such mechanism. */
MUST_USE bool exchange_mechanism_parse(struct slice name, enum auth_mechanism *out);
/* True when some user can succeed with it. */
bool exchange_is_of_use(const struct users *users, enum auth_mechanism mechanism);

/* Begins one. `initial` is what followed the mechanism's name, NULL when nothing did; `hostname` is
 * ours, for the challenge of CRAM-MD5. Every exchange ends with exchange_finish(), whatever this
 * returned. */
enum exchange_status exchange_begin(struct exchange *e, const struct users *users,
                                    enum auth_mechanism mechanism, struct slice hostname,
                                    const struct slice *initial);
/* Takes a line of the client, without its CRLF. Only after EXCHANGE_CONTINUE. */
enum exchange_status exchange_step(struct exchange *e, struct slice line);
/* In base64. Valid until the next call. */
struct slice exchange_challenge(const struct exchange *e);
/* Who the client says it is; empty while it has not. */
struct slice exchange_name(const struct exchange *e);

/* True when exchange_check() takes so long that it is not for the thread of a loop. */
bool exchange_is_slow(const struct exchange *e);
/* Compares with the secret: EXCHANGE_OK or EXCHANGE_FAILED. Once, after EXCHANGE_CHECK, on any one
 * thread. */
enum exchange_status exchange_check(struct exchange *e);
/* Wipes it. No effect on one that is all zero. */
void exchange_finish(struct exchange *e);
