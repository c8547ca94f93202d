/* digest.h - a 64-bit checksum of a stream of bytes: XXH64 with seed 0.
 *
 * It finds accidents, not forgeries. A digest may be copied in the middle of a stream, so that many
 * streams with one beginning cost that beginning once. */
#pragma once

#include "ring/base/slice.h"

#define DIGEST_STRIPE_BYTES 32
#define DIGEST_TEXT_BYTES 16 /* lower-case hexadecimal digits */

struct digest {
    uint64_t lanes[4];
    uint64_t bytes;
    unsigned char rest[DIGEST_STRIPE_BYTES]; /* bytes % DIGEST_STRIPE_BYTES that wait */
};

void digest_init(struct digest *d);
void digest_add(struct digest *d, struct slice bytes);
/* Of all bytes so far; more may be added afterwards. */
uint64_t digest_value(const struct digest *d);
