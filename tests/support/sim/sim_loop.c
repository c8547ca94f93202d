/* sim_loop.c - ring/loop.h without a kernel: turns, completions, deferred operations. */
#include "tests/support/sim/sim_internal.h"

#include "ring/base/err.h"
#include "ring/base/memory.h"
#include "ring/mailbox.h"

#include <stdlib.h>

#define TURN_DELAY_NS_MAX 50000 /* completions that come close share a turn */

/* --- completions --- */

static void grow(struct sim_completion **items, size_t *cap, size_t count)
{
    if (count < *cap) return;
    *cap = MAX(*cap * 2, (size_t)64);
    *items = xrealloc(*items, *cap * sizeof(**items));
}

void sim_loop_due(struct loop *loop)
{
    if (sim.turning == loop) return; /* it looks again at its end */
    uint64_t at_ns = sim.now_ns + sim_below(TURN_DELAY_NS_MAX);
    if (loop->turn.place == 0 || loop->turn.at_ns > at_ns) sim_at(&loop->turn, at_ns);
}

static void make_ready(struct loop *loop, struct sim_completion completion)
{
    grow(&loop->ready, &loop->ready_cap, loop->ready_count);
    loop->ready[loop->ready_count++] = completion;
    sim_loop_due(loop);
}

static void on_time(struct sim_event *event)
{
    struct sim_pending *pending = CONTAINER_OF(event, struct sim_pending, event);
    if (sim_hooks.completion != NULL) sim_hooks.completion();
    pending->carry_out(pending);
}

struct sim_pending *sim_pend(struct loop *loop, struct ring_op *op,
                             void (*carry_out)(struct sim_pending *pending))
{
    struct sim_pending *pending = xcalloc(1, sizeof(*pending));
    pending->loop = loop;
    pending->op = op;
    pending->carry_out = carry_out;
    pending->event.run = on_time;
    list_push_back(&loop->pending, &pending->node);
    if (op != NULL) {
        loop->inflight++;
        op->has_more = op->has_input = false;
    }
    return pending;
}

static void end(struct sim_pending *pending, struct sim_completion completion)
{
    struct loop *loop = pending->loop;
    sim_cancel(&pending->event);
    list_remove(&pending->node);
    completion.op = pending->op;
    free(pending->path);
    free(pending->path_to);
    free(pending->owned);
    free(pending);
    if (completion.op != NULL) make_ready(loop, completion);
}

void sim_complete(struct sim_pending *pending, int result)
{
    end(pending, (struct sim_completion){.result = result});
}

void sim_complete_more(struct sim_pending *pending, int result, uint16_t input)
{
    make_ready(pending->loop, (struct sim_completion){.op = pending->op,
                                                      .result = result,
                                                      .input = input,
                                                      .has_input = true,
                                                      .has_more = true});
}

void sim_complete_input(struct sim_pending *pending, int result, uint16_t input)
{
    end(pending, (struct sim_completion){.result = result, .input = input, .has_input = true});
}

struct sim_pending *sim_find(struct loop *loop, const struct ring_op *op)
{
    struct sim_pending *pending;
    LIST_FOR_EACH(pending, &loop->pending, struct sim_pending, node)
    {
        if (pending->op == op) return pending;
    }
    return NULL;
}

void loop_cancel(struct loop *loop, struct ring_op *op)
{
    struct sim_pending *pending = sim_find(loop, op);
    if (pending != NULL && pending->cancel != NULL) pending->cancel(pending);
}

/* --- the turn --- */

static void run_completion(struct loop *loop, const struct sim_completion *completion)
{
    struct ring_op *op = completion->op;
    op->result = completion->result;
    op->input = completion->input;
    op->has_input = completion->has_input;
    op->has_more = completion->has_more;
    if (!op->has_more) {
        ASSERT(loop->inflight > 0);
        loop->inflight--;
    }
    op->done(op);
}

static void run_deferred(struct loop *loop)
{
    struct sim_completion *now = loop->deferred;
    size_t count = loop->deferred_count, cap = loop->deferred_cap;
    loop->deferred = loop->deferred_now;
    loop->deferred_cap = loop->deferred_now_cap;
    loop->deferred_count = 0;
    for (size_t i = 0; i < count; i++)
        run_completion(loop, &now[i]);
    loop->deferred_now = now;
    loop->deferred_now_cap = cap;
}

static void run_turn(struct loop *loop)
{
    struct loop *outer = sim.turning;
    ASSERT(outer != loop);
    sim.turning = loop;
    /* What handlers start completes later, but a cancellation may be ready at once: that is for the
     * next turn. */
    size_t count = loop->ready_count;
    for (size_t i = 0; i < count; i++) {
        struct sim_completion completion = loop->ready[i];
        run_completion(loop, &completion);
    }
    loop->ready_count -= count;
    for (size_t i = 0; i < loop->ready_count; i++)
        loop->ready[i] = loop->ready[count + i];
    timer_wheel_advance(loop->timers, sim.now_ns);
    mailbox_drain(loop->mailbox);
    run_deferred(loop);
    struct loop_hook *hook;
    LIST_FOR_EACH(hook, &loop->hooks, struct loop_hook, node)
    {
        hook->run(hook);
    }
    loop->turns++;
    sim.turning = outer;
    bool is_due =
        loop->ready_count > 0 || loop->deferred_count > 0 || mailbox_has_mail(loop->mailbox);
    uint64_t wait_ns = is_due ? 0 : timer_wheel_wait_ns(loop->timers, sim.now_ns);
    if (wait_ns != UINT64_MAX) sim_after(&loop->turn, wait_ns);
}

static void on_turn(struct sim_event *event)
{
    run_turn(CONTAINER_OF(event, struct loop, turn));
}

int loop_turn(struct loop *loop, bool may_wait)
{
    uint64_t turns = loop->turns;
    if (!may_wait) {
        sim_cancel(&loop->turn);
        run_turn(loop);
    }
    /* A timer may have been armed outside of a turn. */
    uint64_t wait_ns = timer_wheel_wait_ns(loop->timers, sim.now_ns);
    if (wait_ns != UINT64_MAX && loop->turn.place == 0) sim_after(&loop->turn, wait_ns);
    while (loop->turns == turns) {
        bool goes_on = sim_step();
        ASSERT(goes_on); /* else the loop waits for something that never comes */
    }
    return 0;
}

int loop_run(struct loop *loop)
{
    while (!loop->is_stopping) {
        int err = loop_turn(loop, true);
        if (err != 0) return err;
    }
    loop->is_stopping = false;
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

void loop_wake(struct loop *loop)
{
    sim_loop_due(loop);
}

void loop_defer(struct loop *loop, struct ring_op *op, int result)
{
    grow(&loop->deferred, &loop->deferred_cap, loop->deferred_count);
    loop->deferred[loop->deferred_count++] = (struct sim_completion){.op = op, .result = result};
    op->has_more = op->has_input = false;
    loop->inflight++;
    sim_loop_due(loop);
}

/* --- the rest --- */

int loop_create(const struct loop_options *options, struct loop **loop_out, char *why,
                size_t why_cap)
{
    (void)why;
    (void)why_cap;
    struct loop *loop = xcalloc(1, sizeof(*loop));
    loop->options = *options;
    loop->timers = timer_wheel_create(sim.now_ns);
    loop->mailbox = mailbox_create(loop);
    loop->turn.run = on_turn;
    list_init(&loop->hooks);
    list_init(&loop->pending);
    list_init(&loop->sockets);
    loop->inputs = xmalloc((size_t)options->input_count * LOOP_INPUT_BYTES);
    loop->free_inputs = xcalloc(options->input_count, sizeof(loop->free_inputs[0]));
    for (uint32_t i = 0; i < options->input_count; i++)
        loop->free_inputs[loop->free_input_count++] = (uint16_t)i;
    *loop_out = loop;
    return 0;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL) return;
    ASSERT(loop->inflight == 0 && loop->ready_count == 0 && loop->deferred_count == 0);
    while (!list_is_empty(&loop->pending)) /* closes that nobody waits for */
    {
        struct sim_pending *pending = LIST_ENTRY(loop->pending.next, struct sim_pending, node);
        pending->carry_out(pending);
    }
    sim_cancel(&loop->turn);
    timer_wheel_destroy(loop->timers);
    mailbox_destroy(loop->mailbox);
    free(loop->ready);
    free(loop->deferred);
    free(loop->deferred_now);
    free(loop->inputs);
    free(loop->free_inputs);
    free(loop);
}

uint32_t loop_inflight(const struct loop *loop)
{
    return loop->inflight;
}

uint64_t loop_now_ns(const struct loop *loop)
{
    (void)loop;
    return sim.now_ns;
}

uint64_t loop_wall_ms(const struct loop *loop)
{
    (void)loop;
    return sim_wall_ms();
}

uint64_t loop_busy_ns(const struct loop *loop)
{
    (void)loop;
    return 0;
}

uint64_t loop_take_stall_ns(struct loop *loop)
{
    (void)loop;
    return 0;
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
    list_push_back(&loop->hooks, &hook->node);
}

void loop_hook_remove(struct loop_hook *hook)
{
    list_remove(&hook->node);
}

struct timer_wheel *loop_timers(struct loop *loop)
{
    return loop->timers;
}

struct mailbox *loop_mailbox(struct loop *loop)
{
    return loop->mailbox;
}
