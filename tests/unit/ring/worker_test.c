/* worker_test.c - no wake is lost, a call returns after work that began after it. */
#include "ring/base/log.h"
#include "ring/worker.h"
#include "tests/support/test.h"

#include <pthread.h>

#define ROUNDS 20000
#define CALLERS 3

struct pile {
    uint64_t wanted; /* atomic: by everybody */
    uint64_t done;   /* atomic: by the worker */
    uint64_t works;  /* atomic */
    uint32_t inside; /* atomic: runs at this moment */
    uint32_t overlaps;
};

static void work(void *owner)
{
    struct pile *pile = owner;
    if (__atomic_add_fetch(&pile->inside, 1, __ATOMIC_SEQ_CST) != 1) pile->overlaps++;
    __atomic_add_fetch(&pile->works, 1, __ATOMIC_RELAXED);
    uint64_t wanted = __atomic_load_n(&pile->wanted, __ATOMIC_SEQ_CST);
    __atomic_store_n(&pile->done, wanted, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&pile->inside, 1, __ATOMIC_SEQ_CST);
}

static struct worker *start(struct pile *pile)
{
    struct worker *worker = NULL;
    struct worker_options options = {
        .name = "a name that is too long", .work = work, .owner = pile};
    CHECK_EQ("start", worker_start(&options, &worker), 0);
    return worker;
}

TEST(a_worker_that_nobody_wakes_does_nothing)
{
    struct pile pile = {0};
    worker_stop(start(&pile));
    worker_stop(NULL);
    CHECK_EQ("works", pile.works, 0);
}

TEST(what_was_woken_for_is_done_before_the_end)
{
    for (int i = 0; i < 200; i++) {
        struct pile pile = {0};
        struct worker *worker = start(&pile);
        __atomic_add_fetch(&pile.wanted, 1, __ATOMIC_SEQ_CST);
        worker_wake(worker);
        worker_stop(worker);
        CHECK_EQ("done", pile.done, 1);
    }
}

TEST(no_wake_is_lost)
{
    struct pile pile = {0};
    struct worker *worker = start(&pile);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        __atomic_store_n(&pile.wanted, i, __ATOMIC_SEQ_CST);
        worker_wake(worker);
        /* A lost wake would hang here, and the test's limit would end it. */
        if (i % 64 == 0) {
            while (__atomic_load_n(&pile.done, __ATOMIC_SEQ_CST) < i)
                ;
        }
    }
    worker_stop(worker);
    CHECK_EQ("done", pile.done, ROUNDS);
    CHECK_EQ("overlaps", pile.overlaps, 0);
}

struct caller {
    struct pile *pile;
    struct worker *worker;
    uint32_t late;
    pthread_t thread;
};

static void *call_often(void *argument)
{
    struct caller *caller = argument;
    for (int i = 0; i < ROUNDS / 10; i++) {
        uint64_t mine = __atomic_add_fetch(&caller->pile->wanted, 1, __ATOMIC_SEQ_CST);
        worker_call(caller->worker);
        if (__atomic_load_n(&caller->pile->done, __ATOMIC_SEQ_CST) < mine) caller->late++;
    }
    return NULL;
}

TEST(a_call_returns_after_its_work)
{
    struct pile pile = {0};
    struct worker *worker = start(&pile);
    struct caller callers[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.pile = &pile, .worker = worker};
        CHECK_EQ("thread", pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        CHECK_EQ("late", callers[i].late, 0);
    }
    worker_stop(worker);
    CHECK_EQ("overlaps", pile.overlaps, 0);
}
