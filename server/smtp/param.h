/* param.h - parameters of MAIL and RCPT (RFC 5321 4.1.2; SIZE: RFC 1870; BODY: RFC 6152, RFC 3030;
 * SMTPUTF8: RFC 6531; RET, ENVID, NOTIFY, ORCPT: RFC 3461; REQUIRETLS: RFC 8689; AUTH: RFC 4954).
 *
 * Pure. What is kept of ENVID and ORCPT is checked here, so that it may be sent on as it is: no
 * byte of it can end a line or a parameter. */
#pragma once

#include "server/smtp/reply.h"

#define DSN_ENVID_BYTES_MAX 100 /* of the value as given, RFC 3461 4.4 */
#define DSN_ORCPT_BYTES_MAX 500 /* of the value as given, RFC 3461 4.2 */

/* What was offered in the EHLO reply and may be refused. */
struct param_offer {
    bool is_esmtp;        /* false after HELO: there are no parameters */
    bool has_require_tls; /* TLS is on */
    bool has_auth;
    uint64_t size_max;
};

enum body_type { BODY_TYPE_7BIT, BODY_TYPE_8BITMIME, BODY_TYPE_BINARYMIME };

struct mail_params {
    uint64_t size; /* SIZE=, or 0 */
    bool has_size, has_body;
    bool is_utf8, requires_tls;
    uint8_t body;       /* enum body_type */
    uint8_t ret;        /* enum dsn_return of store/message.h: 0 unset, 1 FULL, 2 HDRS */
    struct slice envid; /* xtext as given; points into the line */
};

struct rcpt_params {
    uint8_t notify;     /* BITs of enum dsn_notify of store/message.h; 0: not given */
    struct slice orcpt; /* "type;xtext" as given; points into the line */
};

/* True when a word of `args`, all that follows "FROM:", is SMTPUTF8: the path must be read as UTF-8
 * although its parameters come behind it. A quoted local part may hold the word too: what counts is
 * is_utf8 of the parameters, when they have been read. */
bool mail_params_ask_utf8(struct slice args);
/* `rest` is what follows the path. Returns REPLY_NONE, or the reply that refuses it: a parameter
 * that was not offered 555, a bad or repeated value 501, a SIZE above size_max 552 (also one that
 * would not fit in 64 bits). AUTH= is checked and not kept: nobody here is trusted to say who
 * sent a message first (RFC 4954 5). */
enum reply_id mail_params_parse(struct slice rest, const struct param_offer *offer,
                                struct mail_params *out);
/* `is_utf8`: the transaction began with SMTPUTF8, so that an ORCPT of type utf-8 may hold UTF-8;
 * without it that type has "\x{HEX}" in its place (RFC 6533 3). */
enum reply_id rcpt_params_parse(struct slice rest, const struct param_offer *offer, bool is_utf8,
                                struct rcpt_params *out);
