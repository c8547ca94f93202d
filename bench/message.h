/* message.h - makes the messages of a load, cheaply.
 *
 * For every size there are a few bodies, made once, in the form they have on the wire (dots
 * stuffed). A message is one of them between a header section and a last line that carry its id: to
 * make one costs two copies and the digest of that last line.
 *
 *     header section, blank line      message_write_header()
 *     text of the template            shared by its messages; a large one is one chunk, repeated
 *     "id RUN-NUMBER" CRLF            the last line of the body, so that no two bodies are equal
 *     "." CRLF                        the end of the data; not with is_unstuffed
 *
 * The id at both ends of the body shows when two messages were mixed up. A chunk is no multiple of
 * a disk block, so that swapped blocks show too. */
#pragma once

#include "bench/digest.h"
#include "bench/mark.h"
#include "ring/base/buf.h"

#include <sys/uio.h>

#define MESSAGE_SIZES_MAX 16
#define MESSAGE_BYTES_MAX (1ull << 30)
#define MESSAGE_HEADER_BYTES_MAX 1024
#define MESSAGE_ADDRESS_BYTES_MAX 254
#define MESSAGE_LINE_BYTES_MAX 998 /* RFC 5322 2.1.1, without the CRLF */
#define MESSAGE_TAIL_BYTES (3 + MARK_ID_BYTES + 2)
#define MESSAGE_END_BYTES 3

/* One part of a mix: this size for `weight` of all messages. */
struct message_size {
    uint64_t bytes; /* header section and body, dots not stuffed */
    uint32_t weight;
};

struct message_options {
    uint64_t run, seed;
    const char *from, *to; /* addresses without angle brackets; borrowed */
    struct message_size sizes[MESSAGE_SIZES_MAX];
    size_t size_count;
    bool is_plain;     /* only plain lines: no dots, long lines or bytes above 127 */
    bool is_unstuffed; /* for BDAT: dots as they are, and no "." at the end */
};

struct message_template;

struct message {
    struct message_id id;
    const struct message_template *body;
    uint64_t digest;
    uint64_t body_bytes, bytes; /* dots not stuffed */
    bool is_8bit;
    uint32_t tail_len;
    char tail[MESSAGE_TAIL_BYTES + MESSAGE_END_BYTES]; /* last line and end of the data */
};

struct message_maker;

/* Makes the bodies; `options` is copied. */
struct message_maker *message_maker_create(const struct message_options *options);
void message_maker_destroy(struct message_maker *maker); /* NULL is allowed */

/* Message `number` of the run; the same for the same seed. A 7-bit body when `may_be_8bit` is not
 * set. A size below that of the header section gives an empty body. */
void message_make(const struct message_maker *maker, uint64_t number, bool may_be_8bit,
                  struct message *out);
/* Appends the header section and the blank line. */
void message_write_header(const struct message_maker *maker, const struct message *message,
                          struct buf *out);
/* At most so many pieces does any message of this maker have. */
uint32_t message_pieces_max(const struct message_maker *maker);
/* The length of the header section with its blank line, and of what follows it on the wire: the
 * body and the end of the data. */
size_t message_header_bytes(const struct message_maker *maker);
uint64_t message_rest_bytes(const struct message *message);
/* `bytes` from `from` on of what follows the header section: the count of the pieces. They name
 * memory of the maker and of `message`. */
uint32_t message_pieces(const struct message *message, uint64_t from, uint64_t bytes,
                        struct iovec *pieces);
