/* client_auth.h - a client proves who it is: AUTH (RFC 4954) with SCRAM-SHA-256 (RFC 7677),
 * CRAM-MD5 (RFC 2195), PLAIN (RFC 4616), LOGIN.
 *
 *     C: AUTH mechanism [initial]    S: 334 challenge    C: response ...    S: 235
 *
 * What is sent and taken is text in base64; the client sends the lines. Nothing here waits. With
 * SCRAM the server proves that it knows the password too: a 235 without that is no success. */
#pragma once

#include "server/config/config.h"

#include "ring/base/buf.h"

#define CLIENT_AUTH_ROUNDS_MAX 8          /* challenges that are answered */
#define CLIENT_AUTH_ITERATIONS_MAX 100000 /* of SCRAM: the core computes no more for a stranger */
#define CLIENT_AUTH_LINE_BYTES_MAX 4096   /* that is sent */

struct client_auth;

/* Takes the strongest of `mechanisms` (BITs of enum auth_mechanism). Borrows the settings. NULL:
 * there is none of them, or no memory. */
MUST_USE struct client_auth *client_auth_create(const struct config_hop *settings,
                                                uint32_t mechanisms);
void client_auth_destroy(struct client_auth *auth); /* wipes; NULL is allowed */
const char *client_auth_mechanism(const struct client_auth *auth);
/* Appends the command, with CRLF. False: it cannot be made. */
MUST_USE bool client_auth_begin(struct client_auth *auth, struct buf *line);
/* Answers the words of a 334. False: the challenge is not one. */
MUST_USE bool client_auth_answer(struct client_auth *auth, struct slice words, struct buf *line);
/* After 235 with these words: true when the server is who it should be. */
MUST_USE bool client_auth_is_done(struct client_auth *auth, struct slice words);
