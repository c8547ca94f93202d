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
    RECIPIENT_FAILED,    /* refused for good, or expired: kept until it can be reported */
};

struct recipient {
    struct slice address; /* the mailbox as given in RCPT TO, without the angle brackets */
    enum recipient_state state;
    uint32_t attempts;  /* ended so far */
    uint64_t next_ms;   /* wall time of the next attempt; 0: now */
    struct slice reply; /* last answer of the next hop or our own reason; raw bytes, may be empty */
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
    bool is_8bit; /* BODY=8BITMIME was declared, or 8-bit bytes were seen */
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
