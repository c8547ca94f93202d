/* digest.c - XXH64 as its specification has it (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
 *
 * Both ends of a comparison run this code, on machines of one byte order or not: words are read as
 * little-endian. Pure; any thread. */
#include "bench/digest.h"

#include <endian.h>

#define PRIME_1 0x9E3779B185EBCA87u
#define PRIME_2 0xC2B2AE3D27D4EB4Fu
#define PRIME_3 0x165667B19E3779F9u
#define PRIME_4 0x85EBCA77C2B2AE63u
#define PRIME_5 0x27D4EB2F165667C5u

static inline uint64_t rotate(uint64_t n, unsigned bits)
{
    return (n << bits) | (n >> (64 - bits));
}

static inline uint64_t word64(const unsigned char *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof(n));
    return le64toh(n);
}

static inline uint32_t word32(const unsigned char *at)
{
    uint32_t n;
    memcpy(&n, at, sizeof(n));
    return le32toh(n);
}

static inline uint64_t lane_round(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * PRIME_2, 31) * PRIME_1;
}

void digest_init(struct digest *d)
{
    d->lanes[0] = PRIME_1 + PRIME_2;
    d->lanes[1] = PRIME_2;
    d->lanes[2] = 0;
    d->lanes[3] = 0 - PRIME_1;
    d->bytes = 0;
}

/* Takes whole stripes; returns how many bytes that were. */
static size_t take_stripes(struct digest *d, const unsigned char *at, size_t len)
{
    uint64_t a = d->lanes[0], b = d->lanes[1], c = d->lanes[2], e = d->lanes[3];
    size_t taken = 0;
    for (; len - taken >= DIGEST_STRIPE_BYTES; taken += DIGEST_STRIPE_BYTES) {
        a = lane_round(a, word64(at + taken));
        b = lane_round(b, word64(at + taken + 8));
        c = lane_round(c, word64(at + taken + 16));
        e = lane_round(e, word64(at + taken + 24));
    }
    d->lanes[0] = a;
    d->lanes[1] = b;
    d->lanes[2] = c;
    d->lanes[3] = e;
    return taken;
}

void digest_add(struct digest *d, struct slice bytes)
{
    if (bytes.len == 0) return;
    const unsigned char *at = (const unsigned char *)bytes.data;
    size_t left = bytes.len;
    size_t waiting = d->bytes % DIGEST_STRIPE_BYTES;
    d->bytes += left;
    if (waiting > 0) {
        size_t fill = MIN(DIGEST_STRIPE_BYTES - waiting, left);
        memcpy(d->rest + waiting, at, fill);
        at += fill;
        left -= fill;
        if (waiting + fill < DIGEST_STRIPE_BYTES) return;
        take_stripes(d, d->rest, DIGEST_STRIPE_BYTES);
    }
    size_t taken = take_stripes(d, at, left);
    memcpy(d->rest, at + taken, left - taken);
}

static uint64_t merge_lanes(const struct digest *d)
{
    uint64_t hash = rotate(d->lanes[0], 1) + rotate(d->lanes[1], 7) + rotate(d->lanes[2], 12) +
                    rotate(d->lanes[3], 18);
    for (size_t i = 0; i < ARRAY_LEN(d->lanes); i++) {
        hash = (hash ^ lane_round(0, d->lanes[i])) * PRIME_1 + PRIME_4;
    }
    return hash;
}

uint64_t digest_value(const struct digest *d)
{
    uint64_t hash = d->bytes >= DIGEST_STRIPE_BYTES ? merge_lanes(d) : PRIME_5;
    hash += d->bytes;

    const unsigned char *at = d->rest;
    size_t left = d->bytes % DIGEST_STRIPE_BYTES;
    for (; left >= 8; left -= 8, at += 8) {
        hash = rotate(hash ^ lane_round(0, word64(at)), 27) * PRIME_1 + PRIME_4;
    }
    if (left >= 4) {
        hash = rotate(hash ^ (word32(at) * PRIME_1), 23) * PRIME_2 + PRIME_3;
        left -= 4;
        at += 4;
    }
    for (; left > 0; left--, at++) {
        hash = rotate(hash ^ (*at * PRIME_5), 11) * PRIME_1;
    }
    hash = (hash ^ (hash >> 33)) * PRIME_2;
    hash = (hash ^ (hash >> 29)) * PRIME_3;
    return hash ^ (hash >> 32);
}
