/* message.h - a message that the queue owns, as it stands in memory.
 *
 * The envelope's slices point into one block of memory that ends with the message. A message is
 * owned by exactly one of: the store, the delivery half (from queue_put_take() or a lease until
 * queue_settle()). The body is in memory, on disk, or both. */
#pragma once

#include "ring/base/list.h"
#include "ring/base/slice.h"

#define MESSAGE_RECIPIENTS_MAX 10000 /* in one record; listeners allow less */
#define MESSAGE_REPLY_BYTES_MAX 512  /* kept of the last reply of a next hop */

/* RFC 5321 has no word for these states; Postfix calls the last "bounced". */
enum recipient_state {
    RECIPIENT_QUEUED,    /* to be tried at `next_ms` */
    RECIPIENT_DELIVERED, /* done */
    RECIPIENT_FAILED,    /* refused for good, or expired */
};

/* What the sender is still to be told about a recipient (RFC 3464 2.3.3). A message stays in the
 * queue while something is. */
enum recipient_report {
    REPORT_NONE,
    REPORT_FAILED,    /* refused for good */
    REPORT_EXPIRED,   /* given up after the time of delivery.retry.expire: "failed" too */
    REPORT_DELAYED,   /* still tried; the recipient is RECIPIENT_QUEUED */
    REPORT_DELIVERED, /* into a mailbox */
    REPORT_RELAYED,   /* to a hop that does not report itself */
};

/* NOTIFY= of RFC 3461 4.1, as bits; none of them: it was not given. */
enum dsn_notify {
    DSN_NOTIFY_NEVER = BIT(0),
    DSN_NOTIFY_SUCCESS = BIT(1),
    DSN_NOTIFY_FAILURE = BIT(2),
    DSN_NOTIFY_DELAY = BIT(3),
};

/* RET= of RFC 3461 4.3. */
enum dsn_return { DSN_RETURN_UNSET, DSN_RETURN_FULL, DSN_RETURN_HEADERS };

struct recipient {
    struct slice address; /* the mailbox as given in RCPT TO, without the angle brackets */
    struct slice orcpt;   /* ORCPT= as given, "rfc822;" and xtext; empty: it was not given */
    uint8_t notify;       /* BITs of enum dsn_notify */
    enum recipient_state state;
    enum recipient_report report;
    bool is_warned;     /* that it is delayed: once is enough */
    uint32_t attempts;  /* ended so far */
    uint64_t next_ms;   /* wall time of the next attempt, or of the next try to report; 0: now */
    struct slice reply; /* last answer of the next hop or our own reason; raw bytes, may be empty */
    struct slice host;  /* whose answer that is, "name" or an address; not kept in the record */
};

/* How the body's bytes are kept, which is how they came. */
enum body_form {
    BODY_DATA, /* as DATA carries it: dot-stuffed lines, without the final ".CRLF" */
    BODY_RAW,  /* as BDAT carries it (RFC 3030) */
};

struct envelope {
    struct slice sender;   /* empty: the null reverse-path */
    struct slice helo;     /* of the client, for logs and traces */
    struct slice client;   /* its address as text */
    struct slice listener; /* the listener's name */
    uint64_t received_ms;  /* wall time of the end of the data */
    uint32_t trace_bytes;  /* of the body's front that are ours (the Received field) */
    enum body_form form;
    struct slice user;  /* that authenticated itself; empty: nobody did */
    struct slice envid; /* ENVID= as given, xtext; empty: it was not given */
    enum dsn_return ret;
    bool is_8bit;         /* 8-bit bytes were seen: what was only declared needs nothing of a hop */
    bool is_binary;       /* BODY=BINARYMIME, and the content is no text: DATA cannot carry it */
    bool is_utf8;         /* SMTPUTF8 was declared (RFC 6531) */
    bool has_utf8_header; /* 8-bit bytes in the header section */
    bool requires_tls;    /* REQUIRETLS (RFC 8689): may only leave under TLS that keeps the duty */
    bool is_own;          /* written by ourselves: a delivery status notification */
    struct recipient *recipients;
    uint32_t recipient_count;
};

/* Bytes of the body on disk: at most one large block of them. */
struct extent {
    uint32_t segment; /* number of the segment file */
    uint32_t at;      /* offset in units of BLOCK_ALIGN */
    uint32_t bytes;
    uint32_t crc32c;
};

struct message {
    struct list node;     /* for the owner */
    uint64_t id;          /* unique over shards and restarts, ordered by time */
    uint64_t body_bytes;  /* trace field included */
    uint64_t accepted_ns; /* loop time of the 250; 0 when it was read from disk */
    struct envelope envelope;
    struct extent *extents;
    uint32_t extent_count;
    void **blocks;       /* block i holds the bytes of extent i; NULL: not in memory */
    struct shard *shard; /* the store's */
    void *memory;        /* the store's: what the slices point into */
    void *owner;         /* free for the delivery half */
};

#define MESSAGE_ID_TEXT 13

/* The id as 13 characters of Crockford's base 32, most significant first: sorts as the number. */
void message_id_write(uint64_t id, char out[MESSAGE_ID_TEXT]);
/* False when `text` is not an id. */
bool message_id_parse(struct slice text, uint64_t *id_out);
