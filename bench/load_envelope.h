/* load_envelope.h - one message of a session: its envelope, its data, its fate. Inside the load. */
#pragma once

#include "bench/load_session.h"

/* Sends what may be sent of the envelope of session->message. */
void load_envelope_start(struct load_session *session);
/* A reply to one of its commands, or to the end of data. */
void load_envelope_on_reply(struct load_session *session, unsigned code, struct slice line);
/* All that was given to the connection has been sent. */
void load_envelope_on_sent(struct load_session *session);
/* Settles the message that the session has, if any, as lost, or as refused when it was. */
void load_envelope_settle_lost(struct load_session *session);
