/* idna.h - internationalized domain names (RFC 5890 to 5893): U-labels and A-labels.
 *
 * Domains are stored and sent on as they were given; where two are compared, or one is looked up,
 * it is by what idna_to_ascii() makes of them. */
#pragma once

#include "ring/base/buf.h"

/* Appends `domain` (no trailing dot) as A-labels and in lower case: "xn--bcher-kva.example" for
 * "Bücher.example". Labels are not mapped but for NFC and the case of ASCII letters: what looks
 * like a dot or an at sign (U+3002, U+FF20) is refused and never becomes one; mapping is for the
 * program where a person types a name (RFC 5895). False, with nothing appended, when a label is no
 * U-label (IDNA2008), an "xn--" label is no Punycode, a name is too long, or `out` has no room. An
 * ASCII domain without "xn--" costs one pass; others allocate memory for the time of the call. */
bool idna_to_ascii(struct slice domain, struct buf *out);
/* idna_to_ascii() without its result: true for every domain that is plain ASCII. */
bool idna_is_valid(struct slice domain);
