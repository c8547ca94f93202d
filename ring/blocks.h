/* blocks.h - the core's pool of aligned blocks for message bodies.
 *
 * Two sizes: small, for the first bytes of any message, and large. Memory is reserved at start and
 * touched on first use; blocks are reused last-in first-out, so that the warm ones stay few. Part
 * of the large blocks is a reserve for deliveries: what was accepted can always be read back and
 * leave, however many uploads hold blocks. */
#pragma once

#include "ring/base/base.h"

enum block_size { BLOCK_SMALL, BLOCK_LARGE };
#define BLOCK_SMALL_BYTES 8192
#define BLOCK_LARGE_BYTES 65536
#define BLOCK_ALIGN 4096

enum block_use { BLOCK_FOR_INPUT, BLOCK_FOR_DELIVERY };

struct blocks;

struct blocks_options {
    uint32_t small_count, large_count;
    uint32_t large_reserve_count; /* large blocks that only BLOCK_FOR_DELIVERY gets */
};

MUST_USE int blocks_create(const struct blocks_options *options, struct blocks **blocks_out);
/* Every block must have been given back. */
void blocks_destroy(struct blocks *blocks);
/* NULL when none of that size is left for that use. Not zeroed; aligned to BLOCK_ALIGN. */
MUST_USE void *block_get(struct blocks *blocks, enum block_size size, enum block_use use);
/* NULL is allowed. The size is known from the address. */
void block_put(struct blocks *blocks, void *block);
size_t block_bytes(const struct blocks *blocks, const void *block);
/* Of all blocks of that size, how many are out, and how many there are. */
uint32_t blocks_used(const struct blocks *blocks, enum block_size size);
uint32_t blocks_total(const struct blocks *blocks, enum block_size size);
/* Runs when a large block comes back after block_get() had to refuse one; one at a time, in the
 * order of waiting, deliveries first. ready() runs inside the block_put() that brought the block,
 * with the waiter no longer waiting; it should take the block at once, or the next waiter may. The
 * waiter is the pool's until then or until blocks_wait_cancel(), which may be called when it does
 * not wait. */
struct blocks_waiter {
    struct blocks_waiter *next, *prev;
    void (*ready)(struct blocks_waiter *waiter);
    bool is_waiting;
    enum block_use use; /* what the large block is for */
};
void blocks_wait(struct blocks *blocks, struct blocks_waiter *waiter);
void blocks_wait_cancel(struct blocks *blocks, struct blocks_waiter *waiter);
