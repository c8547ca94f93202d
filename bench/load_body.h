/* load_body.h - sends the header section and the body of a session's message, or a part of them: at
 * once, or as slowly as the session is. Inside the load. */
#pragma once

#include "bench/load_session.h"

/* How long the message is on the wire: the header section, the body, and the end of DATA's. */
uint64_t load_body_bytes(const struct load_session *session);
/* Sends the bytes from `from` to `to` of it; what was written before goes first. */
void load_body_send(struct load_session *session, uint64_t from, uint64_t to);
/* All of the part was given to the connection, and nothing is unsent. A slow session that has more
 * to send says no, and goes on by its timer. */
bool load_body_is_sent(const struct load_session *session);
/* Sends what a slow session has left, at once: the message is already refused, or the run ends. */
void load_body_hurry(struct load_session *session);
/* Of session->slow_timer. */
void load_body_on_timer(struct timer *timer);
