/* header.h - counts what must be bounded in the header section of a message while it streams by.
 *
 * Fed with the same bytes as the data scanner; it stops looking at the first empty line. */
#pragma once

#include "ring/base/slice.h"

#define HEADER_RECEIVED_MAX 100 /* RFC 5321 6.3: loops; the hundredth is refused */
#define HEADER_BYTES_MAX (1u << 20)

struct header_scanner {
    uint8_t state;
    uint8_t matched; /* of "received:" at the start of this line */
    bool is_over;    /* the body has begun */
    uint32_t received_count;
    uint32_t bytes; /* of the header section, its empty line included; does not wrap */
};

void header_init(struct header_scanner *h);
void header_scan(struct header_scanner *h, struct slice in);
