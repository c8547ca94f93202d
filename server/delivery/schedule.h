/* schedule.h - brings due messages from the disk: when, and how many.
 *
 * One lease at a time, only while there is room for a useful number, and not before something is
 * due. The time of the next look is the earliest of: what the queue said, what was settled with a
 * later time since, and a slow poll that makes up for steps of the wall clock. */
#pragma once

#include "ring/timer.h"
#include "store/queue.h"

#define SCHEDULE_BATCH_MAX 256  /* messages in one lease */
#define SCHEDULE_ROOM_MIN 64    /* less room than this is not worth a look at the disk */
#define SCHEDULE_WAIT_MS_MIN 20 /* between two leases when the last one was not full */
#define SCHEDULE_WAIT_MS_MAX 30000
#define SCHEDULE_ERROR_WAIT_MS 1000

struct delivery;

struct schedule {
    struct delivery *delivery;
    struct lease lease;
    struct timer timer;
    uint64_t due_ms; /* wall time at which something on disk is due; UINT64_MAX: nothing known */
    uint64_t not_before_ns; /* loop time: keeps leases apart */
    bool is_running;        /* between start and stop */
    bool is_leasing;
    bool is_starved; /* something is due and there is no room */
};

void schedule_init(struct schedule *schedule, struct delivery *delivery);
void schedule_start(struct schedule *schedule);
/* No lease is started any more; one in flight gives its messages back when it ends. */
void schedule_stop(struct schedule *schedule);
/* Something on disk is due at `due_ms` of the wall clock (0: now). */
void schedule_note(struct schedule *schedule, uint64_t due_ms);
/* Leases when something is due and there is room, else waits for both. */
void schedule_step(struct schedule *schedule);
/* A message has left: cheap unless room was what the schedule waited for. */
static inline void schedule_room_appeared(struct schedule *schedule)
{
    if (schedule->is_starved) schedule_step(schedule);
}
