/* param.h - parameters of MAIL and RCPT (RFC 5321 4.1.2; SIZE: RFC 1870; BODY: RFC 6152). */
#pragma once

#include "server/smtp/reply.h"

struct mail_params {
    uint64_t size; /* SIZE=, or 0 */
    bool has_size;
    bool is_8bit; /* BODY=8BITMIME */
};

/* `rest` is what follows the path. Returns REPLY_NONE, or the reply that refuses it: a parameter
 * that was not offered (`is_esmtp` is false after HELO) 555, a bad or repeated value 501, a SIZE
 * above size_max 552 (also one that would not fit in 64 bits). */
enum reply_id mail_params_parse(struct slice rest, bool is_esmtp, uint64_t size_max,
                                struct mail_params *out);
/* RCPT has no parameters yet: anything but blanks is 555 (501 when it is not one at all). */
enum reply_id rcpt_params_parse(struct slice rest, bool is_esmtp);
