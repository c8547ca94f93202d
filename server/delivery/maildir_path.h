/* maildir_path.h - where a mailbox is, and what a message is called in it. Pure.
 *
 * The template comes from the administrator, the address from a peer. Of the address only bytes
 * that mean nothing to a file system are taken as they are; all others, and a dot in front, are
 * percent-encoded, so that no address can name a file outside of its place and no two addresses
 * share one. ASCII letters of both parts are taken in lower case, the local part without its quotes
 * ("joe"@x and joe@x are one mailbox, RFC 5321 4.1.2), and a domain in UTF-8 as its A-labels, which
 * name the same domain (RFC 5890 2.3.2.5). */
#pragma once

#include "ring/base/buf.h"

#define MAILDIR_PATH_BYTES_MAX 3072 /* leaves room for "/tmp/" and the name below PATH_MAX */
#define MAILDIR_NAME_BYTES_MAX 250  /* below NAME_MAX */

/* Appends `template` with {domain} and {local} replaced, without a terminator. `hostname` stands
 * for the domain of an address without one. False when a part would be empty, or a component or
 * the whole is too long: no such mailbox can exist. */
MUST_USE bool maildir_path_expand(const char *template, struct slice address, const char *hostname,
                                  struct buf *out);

/* Appends the message's name, "SECONDS.MID_RECIPIENT.HOST": the same for every attempt, so that a
 * copy from before a crash is recognised. False when it does not fit. */
MUST_USE bool maildir_name_write(uint64_t received_ms, uint64_t message_id, uint32_t recipient,
                                 const char *hostname, struct buf *out);
