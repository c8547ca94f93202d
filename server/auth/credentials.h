/* credentials.h - what the listeners of a configuration name in files: certificates, keys, users.
 *
 * They are read before anything is put in force, so that what is wrong with them can be told and
 * what is in force stays. Control thread only, but for the TLS contexts, each of which is then used
 * by one core. */
#pragma once

#include "ring/tls.h"
#include "server/auth/users.h"

struct credentials;

/* Reads everything that the listeners of `config` name, with one TLS context for each of
 * `core_count` cores, all of which share `tickets`. Returns 0, and *credentials_out is owned by the
 * caller; or -ERR_* with every problem added to `problems`. A certificate out of its time is no
 * problem here: see credentials_expired(). Nothing of `config` is borrowed. */
MUST_USE int credentials_load(const struct config *config, unsigned core_count,
                              struct tls_tickets *tickets, struct credentials **credentials_out,
                              struct config_problems *problems);
/* For each core that used them, credentials_release() has run. NULL is allowed. */
void credentials_destroy(struct credentials *credentials);
/* Gives the hold on the contexts of one core up; connections may still use them. Runs on the thread
 * of that core, where their users are counted. */
void credentials_release(struct credentials *credentials, unsigned core);

/* NULL: this listener has no TLS. */
struct tls_context *credentials_tls(const struct credentials *credentials, size_t listener,
                                    unsigned core);
/* NULL: this listener has no AUTH. */
const struct users *credentials_users(const struct credentials *credentials, size_t listener);
/* True when `next` may take the place of `now`, both of the same listeners: false, with a line for
 * each, when certificates out of their time would replace others. */
MUST_USE bool credentials_may_replace(const struct credentials *now, const struct credentials *next,
                                      struct config_problems *problems);
/* What is wrong with the time of this listener's certificates, a line for people; NULL: nothing, or
 * it has none. As of the time of credentials_load(). */
const char *credentials_expired(const struct credentials *credentials, size_t listener);
/* The certificates of all listeners, for those who watch when they end; the texts live as long as
 * the credentials. */
void credentials_each_certificate(const struct credentials *credentials,
                                  void (*visit)(void *owner,
                                                const struct tls_certificate_info *info),
                                  void *owner);
