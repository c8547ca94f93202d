/* header.h - what must be known of the header section of a message while it streams by: how long
 * it is, how many hops it has seen, whether it is ASCII, and which fields it lacks.
 *
 * Fed with the same bytes as the data scanner; it stops looking at the first empty line. Names of
 * fields are taken in any case, with blanks before the colon as RFC 5322 4.5 still allows.
 *
 * On a listener for submission the section is also completed (RFC 6409 8): Date and Message-ID are
 * put at its end when it lacks them. To that purpose the caller asks, before it takes input, how
 * much of it surely belongs to the section (header_inside()). There the section also ends at a line
 * that can be no field, since that is where most readers let the body begin. */
#pragma once

#include "ring/base/slice.h"

#define HEADER_RECEIVED_MAX 100 /* RFC 5321 6.3: loops; the hundredth is refused */
#define HEADER_BYTES_MAX (1u << 20)
/* By then a line is decided on: a name that is longer is one. */
#define HEADER_LOOK_BYTES_MAX 32

struct header_scanner {
    uint8_t state;
    uint8_t name, matched; /* the name that this line may begin with, and how much of it it has */
    bool is_over;          /* the body has begun */
    bool has_8bit;         /* a byte above 127 in the section */
    bool has_date, has_message_id;
    uint32_t received_count;
    uint32_t bytes; /* of the header section, its empty line included; does not wrap */

    /* The caller's, while it completes the section. */
    bool wants_fields; /* it is to be completed, and its end has not come */
    uint8_t held_len;  /* of a line on which a chunk ended before it was decided on */
    char held[HEADER_LOOK_BYTES_MAX];
    struct slice pending; /* content that goes out before any more input is taken */
};

void header_init(struct header_scanner *h);
/* Takes all of `in`, or up to and with the empty line that ends the section. */
void header_scan(struct header_scanner *h, struct slice in);
/* True where the next byte is the first of a line. */
bool header_is_at_line_start(const struct header_scanner *h);

enum header_line {
    HEADER_LINE_UNKNOWN, /* more bytes are needed to tell; never with HEADER_LOOK_BYTES_MAX bytes */
    HEADER_LINE_INSIDE,  /* a field, or goes on with one */
    HEADER_LINE_END,     /* the empty line, the end of the data, or no field */
};
/* `line` begins a line. `is_stuffed`: as DATA carries it, where a dot in front means nothing and
 * "." CRLF is the end of the data. */
enum header_line header_line_of(struct slice line, bool is_stuffed);
/* How many bytes of `in`, which come next, surely belong to the header section. `*is_end_out`: it
 * ends right behind them. Else what follows them is undecided yet. Changes nothing. */
size_t header_inside(const struct header_scanner *h, struct slice in, bool is_stuffed,
                     bool *is_end_out);
