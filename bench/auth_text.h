/* auth_text.h - what a client says in SMTP authentication (RFC 4954): the texts of PLAIN (RFC
 * 4616), LOGIN and CRAM-MD5 (RFC 2195), in base64. Pure. */
#pragma once

#include "ring/base/buf.h"

/* Of one answer, when name and password have 256 bytes at most. */
#define AUTH_TEXT_BYTES_MAX 1024

/* Appends `bytes` in base64. */
void auth_write_base64(struct slice bytes, struct buf *out);
/* The response of PLAIN: no authorization identity, the name, the password. */
void auth_write_plain(const char *user, const char *password, struct buf *out);
/* The answer to the challenge of CRAM-MD5, as it came after "334 ". False when that is no base64 or
 * too long. */
MUST_USE bool auth_write_cram_md5(const char *user, const char *password, struct slice challenge,
                                  struct buf *out);
