/* users.h - who may authenticate: the users file, read once and const afterwards.
 *
 * One user a line, "#" begins a comment line:
 *
 *     NAME SECRET [SECRET...] [sender=PATTERN...]
 *
 *     alice {SCRAM-SHA-256}16384,c2FsdA==,STOREDKEY,SERVERKEY sender=*@example.test
 *
 * Names are compared byte for byte. A user has at most one secret of a kind (secret.h); the first
 * is what PLAIN and LOGIN are checked against. A pattern is an address, "@domain" or "*@domain"
 * for all of a domain, or "*" for any; a name that is an address itself is its user's too.
 *
 * The users are counted: an exchange that began before a reload ends with those it began with. */
#pragma once

#include "server/auth/secret.h"
#include "server/config/config.h"

#define USERS_NAME_BYTES_MAX 255          /* RFC 4616 section 2 asks for as much */
#define USERS_LINE_BYTES_MAX 8192         /* of the file */
#define USERS_FILE_BYTES_MAX (256u << 20) /* some million users */

struct users;
struct scram_server;

struct user {
    struct slice name;
    const struct secret *password; /* the first of its secrets; never NULL */
    const struct secret *scram;    /* NULL: has none */
    const struct secret *cram_md5; /* NULL: has none */
};

/* Reads the file at `path`, which blocks: for the control thread. Returns 0, and *users_out is
 * owned by the caller, who ends it with users_unref(); or -ERR_SYNTAX, with every problem added to
 * `problems` as "path:line: message" (at most 100, then one line that says so); or -ERR_* when the
 * file cannot be read or may be read by everybody (one problem says why). *users_out is NULL on
 * failure. What `problems` holds already is kept. */
MUST_USE int users_load(const char *path, const struct users **users_out,
                        struct config_problems *problems);
/* The same from text; `name` stands for the file. */
MUST_USE int users_parse(struct slice text, const char *name, const struct users **users_out,
                         struct config_problems *problems);
/* One more owner, on any thread. Returns `users`. */
const struct users *users_ref(const struct users *users);
/* Gives one up, on any thread; the last frees them. NULL is allowed. */
void users_unref(const struct users *users);

size_t users_count(const struct users *users);
/* True when some user has a secret of this kind. */
bool users_have(const struct users *users, enum secret_kind kind);
/* NULL: there is no such user. It lives as long as the users. */
const struct user *users_find(const struct users *users, struct slice name);

/* What is checked in the place of a user who is not there, or who has no secret of the kind: what a
 * client sees and how long it waits are as for one who is. The same name gets the same answer, also
 * after a restart and in another process with the same file, as long as the first user with a
 * SCRAM secret stays the same. */
const struct secret *users_decoy_password(const struct users *users, struct slice name);
void users_decoy_scram(const struct users *users, struct slice name, struct scram_secret *out);

/* What runs SCRAM for these users. */
struct scram_server *users_scram_server(const struct users *users);

/* True when `user` may send mail as `sender` (local@domain, without brackets), compared without
 * regard to the case of ASCII letters; the null sender is everybody's. False when there is no such
 * user. */
bool users_owns_sender(const struct users *users, struct slice user, struct slice sender);
