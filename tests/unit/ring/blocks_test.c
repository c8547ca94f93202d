/* blocks_test.c - the pool: bounds, reserve, waiters. */
#include "ring/blocks.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct blocks *make(uint32_t small_count, uint32_t large_count, uint32_t reserve_count)
{
    struct blocks *blocks;
    struct blocks_options options = {small_count, large_count, reserve_count};
    int err = blocks_create(&options, &blocks);
    CHECK_EQ("create", err, 0);
    ASSERT(err == 0);
    return blocks;
}

TEST(each_size_gives_all_its_blocks_and_no_more)
{
    static const size_t bytes[] = {BLOCK_SMALL_BYTES, BLOCK_LARGE_BYTES};
    struct blocks *blocks = make(70, 70, 0);
    void *got[2][70];
    for (enum block_size size = BLOCK_SMALL; size <= BLOCK_LARGE; size++) {
        CHECK_EQ("total", blocks_total(blocks, size), 70);
        for (size_t i = 0; i < 70; i++) {
            got[size][i] = block_get(blocks, size, BLOCK_FOR_INPUT);
            CHECK(got[size][i] != NULL);
            CHECK_EQ("align", (uintptr_t)got[size][i] % BLOCK_ALIGN, 0);
            CHECK_EQ("bytes", block_bytes(blocks, got[size][i]), bytes[size]);
            memset(got[size][i], (int)i, bytes[size]);
        }
        CHECK_EQ("used", blocks_used(blocks, size), 70);
        CHECK(block_get(blocks, size, BLOCK_FOR_INPUT) == NULL);
        CHECK(block_get(blocks, size, BLOCK_FOR_DELIVERY) == NULL);
    }
    for (enum block_size size = BLOCK_SMALL; size <= BLOCK_LARGE; size++) {
        for (size_t i = 0; i < 70; i++) {
            const unsigned char *block = got[size][i];
            CHECK(block[0] == i && block[bytes[size] - 1] == i); /* nobody else's */
            block_put(blocks, got[size][i]);
        }
        CHECK_EQ("used", blocks_used(blocks, size), 0);
    }
    block_put(blocks, NULL);
    blocks_destroy(blocks);
    blocks_destroy(NULL);
}

TEST(the_warm_block_comes_first)
{
    struct blocks *blocks = make(4, 4, 0);
    char *a = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    char *b = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    CHECK(b == a + BLOCK_LARGE_BYTES); /* fresh ones side by side */
    block_put(blocks, a);
    block_put(blocks, b);
    CHECK(block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT) == b);
    CHECK(block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT) == a);
    block_put(blocks, a);
    block_put(blocks, b);
    blocks_destroy(blocks);
}

TEST(a_pool_may_lack_a_size)
{
    struct blocks *blocks = make(0, 1, 1);
    CHECK(block_get(blocks, BLOCK_SMALL, BLOCK_FOR_DELIVERY) == NULL);
    CHECK(block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT) == NULL);
    void *block = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_DELIVERY);
    CHECK(block != NULL);
    block_put(blocks, block);
    blocks_destroy(blocks);
}

TEST(memory_that_the_system_does_not_have_is_a_failure)
{
    struct blocks *blocks;
    struct blocks_options options = {1, UINT32_MAX, 0}; /* 256 TiB: beyond the address space */
    CHECK_EQ("create", blocks_create(&options, &blocks) < 0, true);
    CHECK(blocks == NULL);
}

TEST(the_reserve_is_for_deliveries)
{
    struct blocks *blocks = make(0, 5, 2);
    void *input[3], *delivery[2];
    for (size_t i = 0; i < 3; i++) {
        input[i] = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
        CHECK(input[i] != NULL);
    }
    CHECK(block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT) == NULL);
    for (size_t i = 0; i < 2; i++) {
        delivery[i] = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_DELIVERY);
        CHECK(delivery[i] != NULL);
    }
    CHECK(block_get(blocks, BLOCK_LARGE, BLOCK_FOR_DELIVERY) == NULL);
    /* What an upload gives back fills the reserve first. */
    block_put(blocks, input[0]);
    block_put(blocks, input[1]);
    CHECK(block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT) == NULL);
    block_put(blocks, input[2]);
    input[0] = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    CHECK(input[0] != NULL);
    block_put(blocks, input[0]);
    block_put(blocks, delivery[0]);
    block_put(blocks, delivery[1]);
    blocks_destroy(blocks);
}

struct waiting {
    struct blocks_waiter waiter;
    struct blocks *blocks;
    void *block;
    uint32_t ready_count;
    bool takes;       /* takes the block it is told of */
    bool waits_again; /* instead */
};

static void waiting_on_ready(struct blocks_waiter *waiter)
{
    struct waiting *w = CONTAINER_OF(waiter, struct waiting, waiter);
    w->ready_count++;
    CHECK(!waiter->is_waiting);
    if (w->takes) {
        w->block = block_get(w->blocks, BLOCK_LARGE, waiter->use);
        CHECK(w->block != NULL);
    }
    if (w->waits_again) blocks_wait(w->blocks, waiter);
}

static void wait_for(struct waiting *w, struct blocks *blocks, enum block_use use)
{
    *w = (struct waiting){.blocks = blocks, .takes = true};
    w->waiter.ready = waiting_on_ready;
    w->waiter.use = use;
    blocks_wait(blocks, &w->waiter);
    CHECK(w->waiter.is_waiting);
}

TEST(waiters_get_blocks_one_by_one_in_order)
{
    struct blocks *blocks = make(1, 2, 0);
    void *a = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    void *b = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    struct waiting w[4];
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        wait_for(&w[i], blocks, BLOCK_FOR_INPUT);
    }
    blocks_wait_cancel(blocks, &w[1].waiter);
    blocks_wait_cancel(blocks, &w[1].waiter);

    void *small = block_get(blocks, BLOCK_SMALL, BLOCK_FOR_INPUT);
    block_put(blocks, small); /* not what they wait for */
    CHECK_EQ("first", w[0].ready_count, 0);
    block_put(blocks, a);
    CHECK_EQ("first", w[0].ready_count, 1);
    CHECK(w[0].block == a);
    CHECK_EQ("third", w[2].ready_count, 0);
    block_put(blocks, b);
    CHECK(w[2].block == b);
    CHECK_EQ("cancelled", w[1].ready_count, 0);
    CHECK_EQ("last", w[3].ready_count, 0);
    block_put(blocks, w[0].block);
    CHECK(w[3].block == a);
    block_put(blocks, w[2].block);
    block_put(blocks, w[3].block);
    blocks_destroy(blocks);
}

TEST(a_waiter_that_does_not_take_leaves_the_block_to_the_next)
{
    struct blocks *blocks = make(0, 1, 0);
    void *block = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    struct waiting w[3];
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        wait_for(&w[i], blocks, BLOCK_FOR_INPUT);
    }
    w[0].takes = false;
    w[1].takes = false;
    w[1].waits_again = true;
    block_put(blocks, block);
    CHECK_EQ("gone", w[0].ready_count, 1);
    CHECK_EQ("again", w[1].ready_count, 1);
    CHECK(w[1].waiter.is_waiting);
    CHECK(w[2].block == block);
    w[1].takes = true;
    w[1].waits_again = false;
    block_put(blocks, w[2].block);
    CHECK(w[1].block == block);
    block_put(blocks, w[1].block);
    blocks_destroy(blocks);
}

TEST(a_waiter_that_waits_again_at_once_cannot_hold_the_caller)
{
    struct blocks *blocks = make(0, 1, 0);
    void *block = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    struct waiting w;
    wait_for(&w, blocks, BLOCK_FOR_INPUT);
    w.takes = false;
    w.waits_again = true;
    block_put(blocks, block);
    CHECK_EQ("one try", w.ready_count, 1);
    blocks_wait_cancel(blocks, &w.waiter);
    blocks_destroy(blocks);
}

TEST(deliveries_wait_for_the_reserve_and_uploads_for_more)
{
    struct blocks *blocks = make(0, 2, 1);
    void *input = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    void *delivery = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_DELIVERY);
    struct waiting for_input, for_delivery;
    wait_for(&for_input, blocks, BLOCK_FOR_INPUT);
    wait_for(&for_delivery, blocks, BLOCK_FOR_DELIVERY);
    block_put(blocks, input);
    CHECK_EQ("upload", for_input.ready_count, 0);
    CHECK(for_delivery.block == input);
    block_put(blocks, delivery); /* fills the reserve */
    CHECK_EQ("upload", for_input.ready_count, 0);
    block_put(blocks, for_delivery.block);
    CHECK_EQ("upload", for_input.ready_count, 1);
    block_put(blocks, for_input.block);
    blocks_destroy(blocks);
}

static struct waiting *nested_other;

static void nested_on_ready(struct blocks_waiter *waiter)
{
    struct waiting *w = CONTAINER_OF(waiter, struct waiting, waiter);
    void *block = block_get(w->blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    CHECK(block != NULL);
    block_put(w->blocks, block);
    CHECK_EQ("not from inside", nested_other->ready_count, 0);
}

TEST(a_block_given_back_inside_ready_goes_to_the_next_waiter_afterwards)
{
    struct blocks *blocks = make(0, 1, 0);
    void *block = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    struct waiting first, second;
    wait_for(&first, blocks, BLOCK_FOR_INPUT);
    first.waiter.ready = nested_on_ready;
    wait_for(&second, blocks, BLOCK_FOR_INPUT);
    nested_other = &second;
    block_put(blocks, block);
    CHECK(second.block == block);
    block_put(blocks, second.block);
    blocks_destroy(blocks);
}

/* Runs `bug` in a process of its own. True when it was found, by an assert or a sanitizer. */
static bool is_fatal(void (*bug)(void))
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        bug();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return child > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void give_back_twice(void)
{
    struct blocks *blocks = make(1, 1, 0);
    void *block = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    block_put(blocks, block);
    block_put(blocks, block);
}

static void give_back_the_middle(void)
{
    struct blocks *blocks = make(1, 1, 0);
    char *block = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    block_put(blocks, block + 4096);
}

static void give_back_what_is_not_ours(void)
{
    static char foreign[BLOCK_LARGE_BYTES];
    block_put(make(1, 1, 0), foreign);
}

static void destroy_while_in_use(void)
{
    struct blocks *blocks = make(1, 1, 0);
    void *block = block_get(blocks, BLOCK_LARGE, BLOCK_FOR_INPUT);
    CHECK(block != NULL);
    blocks_destroy(blocks);
}

TEST(misuse_is_found_at_once)
{
    CHECK(is_fatal(give_back_twice));
    CHECK(is_fatal(give_back_the_middle));
    CHECK(is_fatal(give_back_what_is_not_ours));
    CHECK(is_fatal(destroy_while_in_use));
}
