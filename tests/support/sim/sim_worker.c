/* sim_worker.c - ring/worker.h without a thread: the work runs at a time of the world's choosing.
 */
#include "ring/worker.h"

#include "tests/support/sim/sim_internal.h"

#include "ring/base/memory.h"

#include <stdlib.h>

struct worker {
    struct worker_options options;
    struct sim_event event;
    bool is_working;
};

static void run(struct worker *worker)
{
    ASSERT(!worker->is_working);
    worker->is_working = true;
    if (sim_hooks.completion != NULL) sim_hooks.completion();
    worker->options.work(worker->options.owner);
    worker->is_working = false;
}

static void on_time(struct sim_event *event)
{
    run(CONTAINER_OF(event, struct worker, event));
}

int worker_start(const struct worker_options *options, struct worker **worker_out)
{
    struct worker *worker = xcalloc(1, sizeof(*worker));
    worker->options = *options;
    worker->event.run = on_time;
    *worker_out = worker;
    return 0;
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL) return;
    if (worker->event.place != 0) {
        sim_cancel(&worker->event);
        run(worker);
    }
    free(worker);
}

void worker_wake(struct worker *worker)
{
    if (worker->event.place != 0) return;
    sim_after(&worker->event, sim_between(sim_faults.worker_min_ns, sim_faults.worker_max_ns));
}

void worker_call(struct worker *worker)
{
    sim_cancel(&worker->event);
    run(worker);
}

void worker_pause(struct worker *worker, uint64_t ns)
{
    (void)worker;
    (void)ns;
}
