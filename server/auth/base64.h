/* base64.h - base64 as RFC 4648 section 4 writes it, and nothing else. Pure.
 *
 * What a client sends is credentials: the decoder takes one form of each byte string, so that no
 * two readers can disagree about what was said. */
#pragma once

#include "ring/base/buf.h"

#define BASE64_ENCODED_BYTES(bytes) (((bytes) + 2) / 3 * 4)
#define BASE64_DECODED_BYTES(bytes) ((bytes) / 4 * 3)

/* Appends the bytes that `text` stands for. False, with `out` as it was, for a length that is no
 * multiple of 4, a byte outside of the alphabet (blanks and line ends too), a "=" that is not at
 * the end, bits set that belong to no byte, or when there is no room. */
MUST_USE bool base64_decode(struct slice text, struct buf *out);
/* Appends `bytes` as text, with padding. False, with `out` as it was, when there is no room. */
bool base64_encode(struct slice bytes, struct buf *out);
