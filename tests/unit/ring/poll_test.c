/* poll_test.c - descriptors that are not the loop's. */
#include "tests/unit/ring/ring_support.h"

struct watch {
    struct ring_op op;
    unsigned done;
};

static void on_done(struct ring_op *op)
{
    CONTAINER_OF(op, struct watch, op)->done++;
}

TEST(a_poll_ends_once_with_what_is_ready)
{
    struct loop *loop = support_loop(16, 4, 4);
    struct watch watch = {.op.done = on_done};
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    loop_poll(loop, ends[0], POLLIN, &watch.op);
    support_run_for(loop, 20);
    CHECK_EQ("nothing yet", watch.done, 0);
    support_write(ends[1], "x", 1);
    CHECK(support_run_until(loop, &watch.done, 1));
    CHECK_EQ("ready", watch.op.result, POLLIN);
    support_write(ends[1], "y", 1);
    support_run_for(loop, 20);
    CHECK_EQ("once", watch.done, 1);
    close(ends[1]);
    close(ends[0]);
    CHECK(support_run_idle(loop));
    loop_destroy(loop);
}

TEST(a_poll_can_be_canceled_after_its_descriptor_was_closed)
{
    struct loop *loop = support_loop(16, 4, 4);
    struct watch watch = {.op.done = on_done};
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    loop_poll(loop, ends[0], POLLIN, &watch.op);
    support_run_for(loop, 5);
    close(ends[0]);
    loop_cancel(loop, &watch.op);
    CHECK(support_run_until(loop, &watch.done, 1));
    CHECK_EQ("canceled", watch.op.result, -ERR_CANCELED);
    close(ends[1]);
    CHECK(support_run_idle(loop));
    loop_destroy(loop);
}
