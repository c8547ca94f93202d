/* dsn_params.h - RET, ENVID, NOTIFY and ORCPT, as they are sent on (RFC 3461 section 5.2.1).
 *
 * For a next hop that offers DSN. What came in was checked then; it is decoded and encoded again
 * all the same, so that nothing but those parameters can leave, whatever a record holds. What is
 * none is left out. Pure. */
#pragma once

#include "ring/base/buf.h"
#include "store/message.h"

/* Each appends its parameters with a blank before every one; nothing when there are none. */
void dsn_params_write_mail(const struct envelope *envelope, struct buf *out);
/* `is_utf8`: the transaction has SMTPUTF8. Without it an ORCPT of type utf-8 goes with "\x{HEX}"
 * for its characters (RFC 6533 section 3). */
void dsn_params_write_rcpt(const struct recipient *recipient, bool is_utf8, struct buf *out);
