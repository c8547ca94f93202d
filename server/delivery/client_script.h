/* client_script.h - the commands of one transaction, and two cursors over them.
 *
 * Commands up to `sent` are written, replies up to `answered` are read. With PIPELINING (RFC 2920)
 * `sent` runs ahead to DATA, which ends the group; without, by one. Pure: it writes into a buffer.
 *
 *     MAIL  RCPT ... RCPT  DATA
 *           ^ answered     ^ sent
 *
 * A message that goes by BDAT has no DATA: its chunk follows when a recipient is known to be taken,
 * since it would be sent for nothing otherwise. */
#pragma once

#include "ring/base/buf.h"
#include "server/delivery/client_offer.h"
#include "server/delivery/handover.h"
#include "store/message.h"

enum script_command { SCRIPT_MAIL, SCRIPT_RCPT, SCRIPT_DATA };

struct client_script {
    const struct envelope *envelope;
    uint64_t body_bytes;
    const uint32_t *recipients; /* indices into the envelope's */
    uint32_t recipient_count;
    uint32_t accepted_count; /* recipients that were accepted; the client counts */
    uint32_t sent, answered;
    uint32_t extensions; /* BITs of enum client_extension */
    struct handover handover;
};

/* Borrows what it names until the transaction is over. */
void client_script_init(struct client_script *script, const struct message *message,
                        const uint32_t *recipients, uint32_t recipient_count,
                        const struct client_offer *offer, const struct handover *handover);
/* Which command stands at `at`; *recipient_out is for RCPT the position in `recipients`. */
enum script_command client_script_command(const struct client_script *script, uint32_t at,
                                          uint32_t *recipient_out);
/* Appends the commands that may be sent now, as many as fit whole. */
void client_script_fill(struct client_script *script, struct buf *out);
/* True when every reply that will come has come. */
bool client_script_is_answered(const struct client_script *script);
/* True when the chunk of BDAT is next. */
bool client_script_waits_for_chunk(const struct client_script *script);
/* True when the answer to DATA is the next one. */
bool client_script_waits_for_data(const struct client_script *script);

/* True when `address` can stand between angle brackets: no control byte, and UTF-8 above 127 at
 * most when `is_utf8`, else none. What came in by SMTP always can; a record may hold anything (RFC
 * 5321 2.3.8, 4.1.2; RFC 6531 3.3). */
bool client_address_is_clean(struct slice address, bool is_utf8);
