/* intake.h - reads the data of a message as it arrives and knows what the load wrote.
 *
 * Removes stuffed dots, finds the marks anywhere in the header section and the digest of the body
 * after it. The one end is CRLF "." CRLF. Constant memory; any split of the input. */
#pragma once

#include "bench/digest.h"
#include "bench/mark.h"

#define INTAKE_FIELD_BYTES_MAX 80 /* of a header line; what follows is passed over */

struct intake {
    uint8_t line; /* enum line_state in intake.c */
    bool is_body, is_counting_only;
    bool has_id, has_digest;
    uint8_t field_len;
    char field[INTAKE_FIELD_BYTES_MAX];
    struct message_id id;
    uint64_t want_digest, want_body_bytes; /* as the load wrote them */
    struct digest digest;                  /* of the body that came */
    uint64_t body_bytes, bytes;            /* dots not stuffed; `bytes` with the header section */
};

/* With `is_counting_only` nothing but the end is looked for. */
void intake_init(struct intake *in, bool is_counting_only);
/* Takes all of `bytes`, or up to and with the end of the data: then true. */
bool intake_take(struct intake *in, struct slice bytes, size_t *taken_out);
/* At the end: whether the body is not what the load sent. A message without a digest is altered. */
bool intake_is_altered(const struct intake *in);
