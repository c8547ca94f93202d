/* dsn.h - the text of a delivery status notification (RFC 3461 6, 3464, 6522, 6533):
 *
 *     header
 *     multipart/report --+-- text/plain                for people: one section for each kind
 *                        +-- message/delivery-status   for programs: one block for each recipient
 *                        +-- message/rfc822 or text/rfc822-headers: the original
 *
 * Pure. It is written in pieces of at most DSN_PIECE_BYTES_MAX, in the order of the functions here,
 * so that neither the recipients nor the original need memory. Lines end with CRLF and are not
 * dot-stuffed; dsn_copy.h does that, and brings the original. What came from outside (addresses,
 * the remote's words) cannot end a line: control bytes, and bytes above 127 where they may not
 * stand, are written as "\x{HEX}" (RFC 6533 section 3). */
#pragma once

#include "ring/base/buf.h"

#define DSN_PIECE_BYTES_MAX 16384 /* of one call */
#define DSN_ADDRESS_BYTES_MAX 512 /* of a recipient; what is beyond is cut off */
#define DSN_REPLY_BYTES_MAX 512   /* of the remote's words; what is beyond is cut off */
#define DSN_BOUNDARY_BYTES_MAX 70 /* RFC 2046 5.1.1 */
#define DSN_TEXT_RECIPIENTS_MAX                                                                    \
    50 /* of one kind in the part for people; that for programs has all */

/* What became of a recipient; in the order in which people read of it. */
enum dsn_kind {
    DSN_FAILED,    /* refused for good */
    DSN_EXPIRED,   /* tried until its time was over: "failed" with 4.4.7 */
    DSN_DELAYED,   /* still tried */
    DSN_DELIVERED, /* into a mailbox */
    DSN_RELAYED,   /* to a server that reports nothing itself */
    DSN_KIND_COUNT,
};

/* What is returned of the original. */
enum dsn_original { DSN_ORIGINAL_HEADER, DSN_ORIGINAL_MESSAGE };

struct dsn {
    struct slice hostname;    /* of this server */
    struct slice id;          /* of the notification */
    struct slice boundary;    /* nobody outside can guess it */
    struct slice sender;      /* whom it is for: printable, without angle brackets */
    struct slice original_id; /* of the message that it is about */
    struct slice envid;       /* ENVID= as given, xtext; empty: it was not given */
    uint64_t now_ms;          /* wall time */
    uint64_t arrival_ms;      /* of the original */
    unsigned kinds;           /* BITs of enum dsn_kind that it is about */
    enum dsn_original original;
    bool is_original_8bit; /* what is returned of it has bytes above 127 */
    bool is_utf8;          /* goes by SMTPUTF8: addresses are written in UTF-8 */
};

struct dsn_recipient {
    enum dsn_kind kind;
    struct slice address;  /* any bytes */
    struct slice orcpt;    /* ORCPT= as given; empty: it was not given */
    struct slice reply;    /* "550 5.1.1 words", or "5.1.1 words" of our own; any bytes, or empty */
    struct slice host;     /* "mx.example[192.0.2.1]:25", "192.0.2.1:25", "unix:/path"; or empty */
    uint64_t attempted_ms; /* wall time of the last attempt; 0: unknown */
    uint64_t retried_until_ms; /* of a delayed one; 0: unknown */
};

/* True when the notification as a whole has, or may have, bytes above 127. */
bool dsn_is_8bit(const struct dsn *dsn);

/* The header, and the first words of the part for people. */
void dsn_write_head(const struct dsn *dsn, struct buf *out);
/* Then for each kind: what happened and what to do ... */
void dsn_write_text_section(const struct dsn *dsn, enum dsn_kind kind, struct buf *out);
/* ... and its recipients, DSN_TEXT_RECIPIENTS_MAX at most ... */
void dsn_write_text_recipient(const struct dsn *dsn, const struct dsn_recipient *recipient,
                              struct buf *out);
/* ... and how many there are besides. */
void dsn_write_text_more(uint32_t count, struct buf *out);
/* The part for programs: the fields of the message ... */
void dsn_write_status_head(const struct dsn *dsn, struct buf *out);
/* ... and of each recipient. */
void dsn_write_status_recipient(const struct dsn *dsn, const struct dsn_recipient *recipient,
                                struct buf *out);
/* The head of the part with the original, which follows it. */
void dsn_write_original_head(const struct dsn *dsn, struct buf *out);
/* The end, behind the original. */
void dsn_write_end(const struct dsn *dsn, struct buf *out);

#define DSN_STATUS_BYTES_MAX 9 /* "5.999.999" */
/* Appends the status of a recipient (RFC 3463): the one in its reply when that is of the class of
 * the kind, else "5.0.0" and the like; 4.4.7 of an expired one. */
void dsn_write_status(const struct dsn_recipient *recipient, struct buf *out);
