/* trace.h - what this server writes into a message about how it came. Internal to ingress/. */
#pragma once

#include "server/ingress/session.h"

/* "ESMTP", "ESMTPSA", "UTF8SMTPS" ...: the protocol of the present transaction, or of the session
 * when there is none, by its name in RFC 3848 and RFC 6531 4.3. Static. */
struct slice session_protocol(const struct session *s);
/* Puts the Received field where the body begins: it is stored, checked and relayed with it. The put
 * has just been begun. */
void trace_write(struct session *s);
