/* schedule.c - leases due messages when there is room for them. */
#include "server/delivery/schedule.h"

#include "server/delivery/delivery_internal.h"
#include "server/delivery/parcel.h"

static void on_timer(struct timer *timer)
{
    struct schedule *schedule = CONTAINER_OF(timer, struct schedule, timer);
    schedule_step(schedule);
}

/* Wakes the schedule when something is due. */
static void arm(struct schedule *schedule)
{
    struct loop *loop = schedule->delivery->loop;
    uint64_t wall_ms = loop_wall_ms(loop), now_ns = loop_now_ns(loop);
    uint64_t wait_ms = schedule->due_ms > wall_ms ? schedule->due_ms - wall_ms : 0;
    if (schedule->not_before_ns > now_ns) {
        uint64_t apart_ms = (schedule->not_before_ns - now_ns) / NS_PER_MS + 1;
        wait_ms = MAX(wait_ms, apart_ms);
    }
    timer_arm(loop, &schedule->timer, MIN(wait_ms, (uint64_t)SCHEDULE_WAIT_MS_MAX));
}

static uint32_t room(const struct schedule *schedule)
{
    size_t used = schedule->delivery->parcels.count;
    return used < DELIVERY_MESSAGES_MAX ? (uint32_t)(DELIVERY_MESSAGES_MAX - used) : 0;
}

static void take_all(struct schedule *schedule)
{
    struct delivery *delivery = schedule->delivery;
    struct list *node;
    while ((node = list_pop_front(&schedule->lease.messages)) != NULL) {
        struct message *message = LIST_ENTRY(node, struct message, node);
        if (!schedule->is_running) {
            queue_return(delivery->queue, message);
        } else {
            parcel_begin(delivery, message);
        }
    }
}

static void on_lease(struct ring_op *op)
{
    struct schedule *schedule = CONTAINER_OF(op, struct schedule, lease.op);
    struct delivery *delivery = schedule->delivery;
    schedule->is_leasing = false;

    uint64_t wait_ms = SCHEDULE_WAIT_MS_MIN;
    if (op->result < 0) {
        log_text(LOG_WARN, "lease_failed", "cannot read due messages: %s", err_str(op->result));
        wait_ms = SCHEDULE_ERROR_WAIT_MS;
        schedule->due_ms = 0;
    } else {
        /* What was noted during the lease may be earlier than what the lease saw. */
        schedule->due_ms = MIN(schedule->due_ms, schedule->lease.next_due_ms);
        if ((uint32_t)op->result == schedule->lease.count_max) wait_ms = 0;
        take_all(schedule);
    }
    schedule->not_before_ns = loop_now_ns(delivery->loop) + wait_ms * NS_PER_MS;
    if (schedule->is_running) {
        schedule_step(schedule);
    } else {
        delivery_check_stopped(delivery);
    }
}

void schedule_init(struct schedule *schedule, struct delivery *delivery)
{
    *schedule = (struct schedule){.delivery = delivery};
    list_init(&schedule->lease.messages);
    schedule->lease.op.done = on_lease;
    timer_init(&schedule->timer, on_timer);
}

void schedule_start(struct schedule *schedule)
{
    ASSERT(!schedule->is_running);
    schedule->is_running = true;
    schedule->due_ms = 0; /* whatever an earlier run has left is due at once */
    schedule_step(schedule);
}

void schedule_stop(struct schedule *schedule)
{
    schedule->is_running = false;
    timer_disarm(&schedule->timer);
}

void schedule_note(struct schedule *schedule, uint64_t due_ms)
{
    if (due_ms >= schedule->due_ms) return;
    schedule->due_ms = due_ms;
    if (schedule->is_running && !schedule->is_leasing) schedule_step(schedule);
}

void schedule_step(struct schedule *schedule)
{
    if (!schedule->is_running || schedule->is_leasing) return;
    struct delivery *delivery = schedule->delivery;
    bool is_due = schedule->due_ms <= loop_wall_ms(delivery->loop) &&
                  schedule->not_before_ns <= loop_now_ns(delivery->loop);
    schedule->is_starved = is_due && room(schedule) < SCHEDULE_ROOM_MIN;
    if (!is_due) arm(schedule);
    if (!is_due || schedule->is_starved) return;

    timer_disarm(&schedule->timer);
    schedule->is_leasing = true;
    schedule->due_ms = UINT64_MAX;
    schedule->lease.count_max = MIN(room(schedule), SCHEDULE_BATCH_MAX);
    queue_lease(delivery->queue, &schedule->lease);
}
