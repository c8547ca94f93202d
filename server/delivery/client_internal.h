/* client_internal.h - between the files of the client: client.c has the connection and its end,
 * client_set_up.c what is said before a transaction, client_dialog.c in it, client_choice.c for
 * whom, client_body.c how the message goes out.
 */
#pragma once

#include "server/delivery/attempt.h"
#include "server/delivery/client.h"
#include "server/delivery/delivery_internal.h"
#include "server/delivery/destination.h"

/* What is left to be told of a body that gets its dots on the way. */
struct client_stuffing {
    struct slice rest; /* of the reader's piece */
    struct stuffer stuffer;
};

/* Changes the state and arms its timer. */
void client_go(struct client *c, enum client_state next);
/* Appends to the output; fails the client when there is no room, which its own limits exclude. */
void client_say(struct client *c, struct slice bytes);
/* Ends the connection and answers for what it was doing: the host's fault before the client was set
 * up, else the attempt is deferred with `reason`. */
void client_fail(struct client *c, struct slice reason);
/* The same with the words for `status` and the state: "4.4.2 timeout while waiting for ...". */
void client_fail_waiting(struct client *c, const char *status, const char *what, int err);
/* As client_fail(), before the client was set up: for what time alone does not mend. */
void client_refuse_host(struct client *c, struct slice reason);
/* The handshake cannot be had: the same host in the clear when the route lets it, else
 * client_fail(). */
void client_fail_handshake(struct client *c, const char *why);
/* What the connection owes to TLS. */
enum tls_duty client_tls_duty(const struct client *c);
/* Ends the connection; what the attempt has no result for stays as it was. */
void client_close(struct client *c);
/* The connection is in order and has no attempt: more work, or rest. */
void client_rest(struct client *c);
/* Goes on with CLOSING when something that it waited for has ended. */
void client_teardown(struct client *c);

/* Settles what the next hop cannot take, and brings those recipients to the front that go in the
 * next transaction. Returns how many these are; 0: the attempt is over. Sets c->put_off_count and
 * *handover_out. */
uint32_t client_choose(struct client *c, struct attempt *attempt, struct handover *handover_out);
/* The result of all recipients of this transaction that have none yet. */
void client_settle_chosen(struct client *c, enum outcome outcome, struct slice reply);
/* The same for all of the attempt: those that are put off as well. */
void client_settle_all(struct client *c, enum outcome outcome, struct slice reply);
/* True while recipients of this transaction are without a result. */
bool client_has_undecided(const struct client *c);
/* Ends the attempt of a transaction in which all have results; c->attempt is taken already. */
void client_end_attempt(struct client *c, struct attempt *attempt);

/* TLS from here on: client_set_up.c goes on when the handshake is done. */
void client_begin_tls(struct client *c);
void client_on_secured(struct client *c);
/* The answers while a connection is set up. */
void client_on_set_up_reply(struct client *c, unsigned code);
/* A line of the answer to EHLO is in c->reply. */
void client_note_offer(struct client *c);

/* A whole reply is in c->reply. */
void client_on_reply(struct client *c);
/* LMTP, in DOT: how many answers are still to come. */
uint32_t client_lmtp_left(const struct client *c);
/* Writes the commands that may be sent now. */
void client_fill(struct client *c);

/* The next hop wants the message, or a recipient was accepted and it goes by BDAT: sends it. */
void client_body_start(struct client *c);
void client_body_on_sent(struct client *c);
void client_body_init(struct client *c);
/* The recipients of the transaction have their results: ends the attempt as soon as nothing names
 * the body. */
void client_finish_transaction(struct client *c);
/* Ends the transaction on the wire with RSET; the attempt is over. */
void client_reset(struct client *c);
/* True when the reader has let go of the message; else client_teardown() is called again. */
bool client_body_release(struct client *c);
