/* blocks.c - one mapping a block size, and a stack of what is free in it.
 *
 * The stack holds numbers of blocks outside of the blocks, so that a block nobody ever used costs
 * no memory. A bit for each block says whether it is out: giving one back twice is found at once.
 * Under AddressSanitizer the free blocks are poisoned. A pool belongs to one thread. */
#include "ring/blocks.h"

#include "ring/base/err.h"
#include "ring/base/memory.h"
#include "ring/base/poison.h"

#include <stdlib.h>
#include <sys/mman.h>

#define SIZE_COUNT 2
#define USE_COUNT 2

struct region {
    char *start; /* NULL when count is 0 */
    size_t block_bytes;
    uint32_t count;
    uint32_t free_count;
    uint32_t reserve_count; /* of the free ones, for deliveries */
    uint32_t *free_numbers; /* a stack; the number on top is the last that came back */
    uint64_t *is_out;       /* a bit a block */
};

struct blocks {
    struct region regions[SIZE_COUNT];
    struct blocks_waiter waiting[USE_COUNT]; /* heads of rings; only their links are used */
    uint32_t waiting_count;
    bool is_waking;
};

static size_t region_bytes(const struct region *r)
{
    return r->block_bytes * r->count;
}

static int region_init(struct region *r, size_t block_bytes, uint32_t count, uint32_t reserve_count)
{
    *r =
        (struct region){.block_bytes = block_bytes, .count = count, .reserve_count = reserve_count};
    if (count == 0) return 0;

    void *start = mmap(NULL, region_bytes(r), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return -errno;
    r->start = start;
    r->free_numbers = xcalloc(count, sizeof(*r->free_numbers));
    r->is_out = xcalloc(ROUND_UP((size_t)count, 64) / 64, sizeof(*r->is_out));
    /* The first block on top, so that the used ones stay together at the start. */
    for (uint32_t i = 0; i < count; i++) {
        r->free_numbers[i] = count - 1 - i;
    }
    r->free_count = count;
    poison(r->start, region_bytes(r));
    return 0;
}

static void region_finish(struct region *r)
{
    if (r->start == NULL) return;
    ASSERT(r->free_count == r->count);
    unpoison(r->start, region_bytes(r));
    munmap(r->start, region_bytes(r));
    free(r->free_numbers);
    free(r->is_out);
}

static bool region_has_block(const struct region *r, enum block_use use)
{
    uint32_t kept = use == BLOCK_FOR_DELIVERY ? 0 : r->reserve_count;
    return r->free_count > kept;
}

static bool region_holds(const struct region *r, const void *block)
{
    uintptr_t at = (uintptr_t)block, start = (uintptr_t)r->start;
    return r->start != NULL && at >= start && at - start < region_bytes(r);
}

static void *region_get(struct region *r)
{
    ASSERT(r->free_count > 0);
    uint32_t number = r->free_numbers[--r->free_count];
    uint64_t bit = 1ull << (number % 64);
    ASSERT((r->is_out[number / 64] & bit) == 0);
    r->is_out[number / 64] |= bit;
    char *block = r->start + number * r->block_bytes;
    unpoison(block, r->block_bytes);
    return block;
}

static void region_put(struct region *r, void *block)
{
    size_t offset = (size_t)((char *)block - r->start);
    ASSERT(offset % r->block_bytes == 0);
    uint32_t number = (uint32_t)(offset / r->block_bytes);
    uint64_t bit = 1ull << (number % 64);
    ASSERT((r->is_out[number / 64] & bit) != 0);
    r->is_out[number / 64] &= ~bit;
    r->free_numbers[r->free_count++] = number;
    poison(block, r->block_bytes);
}

/* --- waiters --- */

static void blocks_unlink(struct blocks *blocks, struct blocks_waiter *waiter)
{
    ASSERT(blocks->waiting_count > 0);
    blocks->waiting_count--;
    waiter->prev->next = waiter->next;
    waiter->next->prev = waiter->prev;
    waiter->next = waiter->prev = NULL;
    waiter->is_waiting = false;
}

/* The next waiter that could get a block now; NULL when there is none. */
static struct blocks_waiter *blocks_next_waiter(struct blocks *blocks)
{
    static const enum block_use order[USE_COUNT] = {BLOCK_FOR_DELIVERY, BLOCK_FOR_INPUT};
    for (size_t i = 0; i < USE_COUNT; i++) {
        struct blocks_waiter *head = &blocks->waiting[order[i]];
        bool has_block = region_has_block(&blocks->regions[BLOCK_LARGE], order[i]);
        if (has_block && head->next != head) return head->next;
    }
    return NULL;
}

/* Wakes waiters while there are blocks for them: one that came for nothing must not keep the block
 * from the next. Each gets one try, so that one that waits again at once cannot hold the loop. */
static void blocks_wake(struct blocks *blocks)
{
    if (blocks->is_waking) return; /* ready() gave a block back; the loop below goes on */
    if (blocks_next_waiter(blocks) == NULL) return;
    blocks->is_waking = true;
    uint32_t tries_max = blocks->waiting_count;
    for (uint32_t i = 0; i < tries_max; i++) {
        struct blocks_waiter *waiter = blocks_next_waiter(blocks);
        if (waiter == NULL) break;
        blocks_unlink(blocks, waiter);
        waiter->ready(waiter);
    }
    blocks->is_waking = false;
}

/* --- the face --- */

int blocks_create(const struct blocks_options *options, struct blocks **blocks_out)
{
    ASSERT(options->large_reserve_count <= options->large_count);
    *blocks_out = NULL;
    struct blocks *blocks = xcalloc(1, sizeof(*blocks));
    for (size_t i = 0; i < USE_COUNT; i++) {
        blocks->waiting[i].next = blocks->waiting[i].prev = &blocks->waiting[i];
    }
    int err =
        region_init(&blocks->regions[BLOCK_SMALL], BLOCK_SMALL_BYTES, options->small_count, 0);
    if (err != 0) goto fail;
    err = region_init(&blocks->regions[BLOCK_LARGE], BLOCK_LARGE_BYTES, options->large_count,
                      options->large_reserve_count);
    if (err != 0) goto fail;
    *blocks_out = blocks;
    return 0;

fail:
    blocks_destroy(blocks);
    return err;
}

void blocks_destroy(struct blocks *blocks)
{
    if (blocks == NULL) return;
    ASSERT(blocks->waiting_count == 0);
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        region_finish(&blocks->regions[i]);
    }
    free(blocks);
}

void *block_get(struct blocks *blocks, enum block_size size, enum block_use use)
{
    struct region *r = &blocks->regions[size];
    return region_has_block(r, use) ? region_get(r) : NULL;
}

/* The number of the region that `block` is in. */
static size_t blocks_region_of(const struct blocks *blocks, const void *block)
{
    bool is_small = region_holds(&blocks->regions[BLOCK_SMALL], block);
    ASSERT(is_small || region_holds(&blocks->regions[BLOCK_LARGE], block));
    return is_small ? BLOCK_SMALL : BLOCK_LARGE;
}

void block_put(struct blocks *blocks, void *block)
{
    if (block == NULL) return;
    size_t size = blocks_region_of(blocks, block);
    region_put(&blocks->regions[size], block);
    if (size == BLOCK_LARGE) blocks_wake(blocks);
}

size_t block_bytes(const struct blocks *blocks, const void *block)
{
    return blocks->regions[blocks_region_of(blocks, block)].block_bytes;
}

uint32_t blocks_used(const struct blocks *blocks, enum block_size size)
{
    return blocks->regions[size].count - blocks->regions[size].free_count;
}

uint32_t blocks_total(const struct blocks *blocks, enum block_size size)
{
    return blocks->regions[size].count;
}

void blocks_wait(struct blocks *blocks, struct blocks_waiter *waiter)
{
    ASSERT(!waiter->is_waiting);
    ASSERT(waiter->ready != NULL);
    struct blocks_waiter *head = &blocks->waiting[waiter->use];
    waiter->next = head;
    waiter->prev = head->prev;
    head->prev->next = waiter;
    head->prev = waiter;
    waiter->is_waiting = true;
    blocks->waiting_count++;
}

void blocks_wait_cancel(struct blocks *blocks, struct blocks_waiter *waiter)
{
    if (waiter->is_waiting) blocks_unlink(blocks, waiter);
}
