/* bounce.h - tells senders what became of their messages (RFC 3461, 3464, 6522, 6533).
 *
 *     what is to be reported -> one notification -> written into the queue -> the reports are done
 *
 * A notification is a message of its own, from the null reverse-path to the sender, and is durable
 * before the message that it is about forgets anything: a crash between the two sends it twice. It
 * is made when the attempts of a round have ended, and tells of all recipients of whom something is
 * to be told by then. Nothing is made for a message that came from the null reverse-path, that is a
 * notification itself, or whose sender did not want one; then it is logged and counted only.
 *
 * RET decides what of the original returns, delivery.bounces.message_size bounds it; a binary one
 * and one with REQUIRETLS (RFC 8689 5) return as their header. Belongs to one core.
 */
#pragma once

#include "ring/base/map.h"
#include "ring/op.h"
#include "store/message.h"

#define BOUNCES_MAX 256         /* being written at once on one core; others wait for their turn */
#define BOUNCE_TARGETS_MAX 4096 /* sender domains whose rate is counted */
#define BOUNCE_BURST 20         /* notifications that a domain may get at once */
#define BOUNCE_RETRY_MS 60000   /* after the queue refused one */

struct delivery;
struct bounces;

struct bounces *bounces_create(struct delivery *delivery);
/* Nothing may be under way. NULL is allowed. */
void bounces_destroy(struct bounces *bounces);
bool bounces_is_idle(const struct bounces *bounces);

/* What is to be reported about a recipient whose result is `report`, given what the sender asked
 * for (NOTIFY; without it: failures and delays) and from whom the message is: that, or REPORT_NONE
 * (RFC 3461 4.1, RFC 5321 4.5.5). Pure. */
enum recipient_report bounce_report_wanted(const struct envelope *envelope,
                                           const struct recipient *recipient,
                                           enum recipient_report report);
/* For a failed or expired recipient of which bounce_report_wanted() says that nothing is to be
 * reported: one line in the log says why. Counted, unless the sender wanted it so. */
void bounce_note_silence(struct bounces *bounces, const struct message *message,
                         const struct recipient *recipient);
/* True when something about the message is to be reported now: its time, `next_ms` for what is not
 * queued, has come by `due_ms`. */
bool bounce_is_due(const struct message *message, uint64_t due_ms);
/* Reports all that is to be reported: in the end op->done() runs, from the loop, with 0: each such
 * recipient has REPORT_NONE. Or with -ERR_*, logged: the reports stay, with `next_ms` (of
 * recipients that are not queued) BOUNCE_RETRY_MS later. With -ERR_CORRUPT: the body does not pass
 * its check. The message must not change meanwhile; who made it keeps it. */
void bounce_send(struct bounces *bounces, struct message *message, struct ring_op *op);
