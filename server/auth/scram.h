/* scram.h - the server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), run by libgsasl.
 *
 *     C: n,,n=alice,r=CLIENTNONCE                   gs2-header, then client-first-message-bare
 *     S: r=CLIENTNONCESERVERNONCE,s=SALT,i=16384
 *     C: c=biws,r=CLIENTNONCESERVERNONCE,p=PROOF
 *     S: v=SIGNATURE
 *
 * The first message is read here, so that the secret of the user is at hand when libgsasl answers
 * it and so that what we do not take never gets there: channel binding, which is not offered, and
 * names and nonces of any length. No password is known to either side of this file. */
#pragma once

#include "server/auth/users.h"

#define SCRAM_NONCE_BYTES_MAX                                                                      \
    128 /* of a client; the answer is to fit into a line of 512 octets                             \
         */

struct scram; /* one exchange */

enum scram_status {
    SCRAM_OK,
    SCRAM_FAILED,    /* the proof is wrong, or the client asks for what is not offered */
    SCRAM_MALFORMED, /* no message of SCRAM */
    SCRAM_ERROR,     /* memory is out, or libgsasl failed */
};

/* Never NULL; memory that is out ends the process. Any thread may use it once it is made. */
struct scram_server *scram_server_create(void);
void scram_server_destroy(struct scram_server *server); /* NULL is allowed */

/* Reads the first message of a client and answers it. On SCRAM_OK *scram_out is owned by the
 * caller; the name of the user is appended to `name`, the answer to `out`. On SCRAM_FAILED the name
 * may be there. */
enum scram_status scram_begin(const struct users *users, struct slice message, struct buf *name,
                              struct buf *out, struct scram **scram_out);
/* Reads the last message; the answer to it is appended to `out` on SCRAM_OK: who it is is known. */
enum scram_status scram_end(struct scram *scram, struct slice message, struct buf *out);
void scram_destroy(struct scram *scram); /* NULL is allowed */
