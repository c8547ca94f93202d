/* mark.h - the marks by which a message of the load is known again.
 *
 * Header fields that the load writes and the sink reads:
 *
 *     X-Load-Run: 0f1e2d3c4b5a6978                  16 hexadecimal digits, one run of the load
 *     X-Load-Id: 0f1e2d3c4b5a6978-000000000042      the run and the message's number in it
 *     X-Load-Digest: 89abcdef01234567 000000003587  XXH64 and length of the body, dots not stuffed
 *
 * All have one width, so that the load only patches digits. Pure. */
#pragma once

#include "ring/base/slice.h"

#define MARK_RUN_FIELD "X-Load-Run: "
#define MARK_ID_FIELD "X-Load-Id: "
#define MARK_DIGEST_FIELD "X-Load-Digest: "

#define MARK_HEX_BYTES 16
#define MARK_NUMBER_BYTES 12
#define MARK_NUMBER_MAX 999999999999ull
#define MARK_ID_BYTES (MARK_HEX_BYTES + 1 + MARK_NUMBER_BYTES)

struct message_id {
    uint64_t run, number;
};

/* Fixed widths: MARK_HEX_BYTES and MARK_NUMBER_BYTES, no terminator. */
void mark_write_hex(uint64_t n, char *out);
void mark_write_number(uint64_t n, char *out);
bool mark_parse_hex(struct slice text, uint64_t *out);
bool mark_parse_number(struct slice text, uint64_t *out);
/* MARK_ID_BYTES, no terminator. */
void mark_write_id(const struct message_id *id, char *out);
bool mark_parse_id(struct slice text, struct message_id *out);

/* Recipients are told apart by the number at the end of their local part: user1@bench.test is bit
 * 0, user2 bit 1. The bit of a recipient in a set of 64; without a number, or above 64: bit 0, or
 * MARK_RECIPIENT_OTHER. */
#define MARK_RECIPIENT_OTHER (1ull << 63)
uint64_t mark_recipient_bit(struct slice address);
