/* load_envelope.h - one message of a session: its envelope, its data, its fate. Inside the load. */
#pragma once

#include "bench/load_session.h"

/* Sends what may be sent of the envelope of session->message. */
void load_envelope_start(struct load_session *session);
void load_envelope_on_reply(struct load_session *session, unsigned code);
/* The reply to the end of data. */
void load_body_on_reply(struct load_session *session, unsigned code);
/* All output has been sent. */
void load_message_on_sent(struct load_session *session);
/* Settles the message that the session has, if any, as lost. */
void load_session_settle_lost(struct load_session *session);

/* --- of load_session.c --- */

void load_session_go(struct load_session *session, enum load_session_state next);
/* Closes; what comes after depends on the session's back-off and the run. */
void load_session_close(struct load_session *session);
/* The same for a connection that failed: counted, and the next one waits longer. */
void load_session_lose(struct load_session *session);
