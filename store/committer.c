/* committer.c - the committer thread.
 *
 * Happy path: jobs wait in `waiting`; the thread takes all, commits the writes in one transaction,
 * runs the reads, posts the batch. When there is no room, the puts of the batch fail and the rest
 * is written without them; what cannot be written even so is kept and tried again with each tick,
 * since it says what became of messages that are no longer in memory. Any other failure of a
 * transaction is fatal: nothing is written any more, and everything is answered so. */
#include "store/committer.h"

#include "store/edit.h"

#include "ring/base/clock.h"
#include "ring/base/crash_point.h"
#include "ring/base/log.h"
#include "ring/base/memory.h"
#include "ring/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#define MAP_PAGES_MIN 64   /* the gate closes when puts have fewer left */
#define INODES_FREE_MIN 64 /* segments are files */

struct committer {
    struct committer_options options;
    struct index *index;
    struct worker *worker;

    pthread_mutex_t lock; /* of what stands up to the next empty line */
    struct job_list waiting, calls;
    bool is_stopping, gives_up;
    int fatal_outside;
    struct committer_state state;

    bool is_full;      /* atomic */
    uint32_t expected; /* atomic */

    /* The thread's own. */
    struct job_list kept; /* writes that found no room */
    int fatal;
    uint64_t map_pages_left;
    uint64_t commit_ns;
    uint32_t commit_messages;
};

static bool is_write(const struct job *job)
{
    return job->kind <= JOB_MOVE;
}

static bool is_want_of_room(int err)
{
    return err == -ERR_FULL || err == -ERR_TOO_LARGE || err == -ERR_MEMORY || err == -EDQUOT;
}

/* --- writing --- */

static int apply(struct committer *c, struct job *job)
{
    job->result = 0;
    switch (job->kind) {
    case JOB_PUT:
        return index_put(c->index, CONTAINER_OF(job, struct stored, job));
    case JOB_REPLACE:
        return index_replace(c->index, CONTAINER_OF(job, struct replacement, job), &job->result);
    case JOB_DELETE:
        return index_delete(c->index, CONTAINER_OF(job, struct stored, job), &job->result);
    case JOB_MOVE:
        return index_move(c->index, &CONTAINER_OF(job, struct move_job, job)->move, &job->result);
    default:
        ASSERT(!is_write(job));
        return 0;
    }
}

static int transact(struct committer *c, struct job *jobs)
{
    int err = index_begin(c->index);
    if (err != 0) return err;
    for (struct job *job = jobs; job != NULL; job = job->next) {
        err = apply(c, job);
        if (err != 0) {
            index_abort(c->index);
            return err;
        }
    }
    CRASH_POINT("commit");
    err = index_commit(c->index);
    CRASH_POINT("committed");
    return err;
}

static void fail_all(struct job_list *jobs, struct job_list *ended, int err)
{
    for (struct job *job = jobs->first; job != NULL; job = job->next)
        job->result = err;
    job_list_append(ended, jobs);
}

static void set_fatal(struct committer *c, int err)
{
    ASSERT(c->fatal == 0);
    c->fatal = err;
    log_text(LOG_ERROR, "commit_failed", "shard %u: %s; nothing is written any more",
             c->options.shard, err_str(err));
    pthread_mutex_lock(&c->lock);
    c->state.fatal = err;
    pthread_mutex_unlock(&c->lock);
}

/* Puts leave `jobs` for `ended`, failed. A move only asks for better order, so it goes as well. */
static void drop_puts(struct job_list *jobs, struct job_list *ended, int err)
{
    struct job_list rest;
    job_list_init(&rest);
    struct job *job;
    while ((job = job_list_pop(jobs)) != NULL) {
        bool is_dropped = job->kind == JOB_PUT || job->kind == JOB_MOVE;
        if (is_dropped) job->result = err;
        job_list_add(is_dropped ? ended : &rest, job);
    }
    *jobs = rest;
    if (jobs->first == NULL) job_list_init(jobs);
}

/* The second try, with what has to be written: the map grows for it when it must. */
static int transact_again(struct committer *c, struct job *jobs)
{
    int err;
    do {
        err = transact(c, jobs);
    } while (err == -ERR_FULL && index_is_map_full(c->index) && index_grow(c->index) == 0);
    return err;
}

/* One transaction of all `jobs`; they end up in `ended`, or in c->kept. */
static void commit_group(struct committer *c, struct job_list *jobs, struct job_list *ended)
{
    uint64_t start_ns = clock_monotonic_ns();
    int err = transact(c, jobs->first);
    if (is_want_of_room(err)) {
        drop_puts(jobs, ended, err);
        if (jobs->first == NULL) return;
        err = transact_again(c, jobs->first);
        if (is_want_of_room(err)) {
            job_list_append(&c->kept, jobs);
            return;
        }
    }
    if (err != 0) {
        set_fatal(c, err);
        fail_all(jobs, ended, -ERR_FAILED_SYNC);
        return;
    }
    for (struct job *job = jobs->first; job != NULL; job = job->next)
        c->commit_messages++;
    c->commit_ns += clock_monotonic_ns() - start_ns;
    job_list_append(ended, jobs);
}

static size_t job_bytes(const struct job *job)
{
    if (job->kind == JOB_PUT) return CONTAINER_OF(job, struct stored, job)->record_bytes;
    if (job->kind == JOB_REPLACE) return CONTAINER_OF(job, struct replacement, job)->record_bytes;
    return 0;
}

/* False when the map has no room for this put above its reserve. */
static bool admit(struct committer *c, const struct job *job)
{
    if (job->kind != JOB_PUT) return true;
    uint64_t pages = index_pages_for(job_bytes(job));
    if (pages > c->map_pages_left) return false;
    c->map_pages_left -= pages;
    return true;
}

/* Takes the jobs of one transaction from `writes`. */
static void take_group(struct committer *c, struct job_list *writes, struct job_list *group,
                       struct job_list *ended)
{
    size_t bytes = 0;
    for (uint32_t count = 0; count < COMMIT_JOBS_MAX && bytes < COMMIT_BYTES_MAX; count++) {
        struct job *job = job_list_pop(writes);
        if (job == NULL) return;
        bytes += job_bytes(job);
        if (!admit(c, job)) job->result = -ERR_FULL;
        job_list_add(job->kind == JOB_PUT && job->result == -ERR_FULL ? ended : group, job);
    }
}

static void run_writes(struct committer *c, struct job_list *writes, struct job_list *ended)
{
    struct job_list all = c->kept;
    if (all.first == NULL) job_list_init(&all);
    job_list_init(&c->kept);
    job_list_append(&all, writes);

    while (all.first != NULL) {
        struct job_list group;
        job_list_init(&group);
        take_group(c, &all, &group, ended);
        if (c->fatal != 0) {
            fail_all(&group, ended, -ERR_FAILED_SYNC);
        } else if (c->kept.first != NULL) {
            /* Order: nothing may overtake what is kept. */
            drop_puts(&group, ended, -ERR_FULL);
            job_list_append(&c->kept, &group);
        } else if (group.first != NULL) {
            commit_group(c, &group, ended);
        }
    }
    if (c->fatal != 0) fail_all(&c->kept, ended, -ERR_FAILED_SYNC);
}

static void publish(struct committer *c, bool looks_at_disk);

/* --- reading --- */

static void check_write(struct committer *c, int err)
{
    if (err != 0 && !is_want_of_room(err)) set_fatal(c, err);
}

static int lease(struct committer *c, struct lease_job *job)
{
    if (c->fatal == 0 && index_wants_rewind(c->index, job->now_ms))
        check_write(c, index_rewind(c->index, job->now_ms));
    return index_lease(c->index, job->now_ms, job->count_max, &job->result);
}

static void drop_edits(struct edit_job *job, int err)
{
    struct list *node;
    while ((node = list_pop_front(&job->removed)) != NULL)
        stored_free(stored_of(LIST_ENTRY(node, struct message, node)));
    job->is_due = false;
    for (size_t i = 0; i < job->count; i++) {
        if (job->edits[i].result == 0) job->edits[i].result = err;
    }
}

/* An operator's edits: all of this shard, or none. */
static int edit(struct committer *c, struct edit_job *job)
{
    if (c->fatal != 0) return c->fatal;
    int err = index_begin(c->index);
    bool has_begun = err == 0;
    for (size_t i = 0; i < job->count && err == 0; i++) {
        struct queue_edit *one = &job->edits[i];
        if (one->result != -ERR_NOT_FOUND) continue; /* of another shard */
        err = index_edit(c->index, job, one);
    }
    if (err == 0)
        err = index_commit(c->index);
    else if (has_begun)
        index_abort(c->index);
    if (err != 0) {
        drop_edits(job, err);
        check_write(c, err);
    }
    publish(c, false);
    return err;
}

static bool is_disk_full(const struct committer *c, uint64_t *free_bytes_out)
{
    struct statvfs stat;
    *free_bytes_out = 0;
    if (statvfs(c->options.directory, &stat) != 0) return true;
    uint64_t free_bytes = (uint64_t)stat.f_bavail * stat.f_frsize;
    uint64_t part = (uint64_t)stat.f_blocks * stat.f_frsize / 100 * c->options.free_percent_min;
    *free_bytes_out = free_bytes;
    if (stat.f_files > 0 && stat.f_favail < INODES_FREE_MIN) return true;
    return free_bytes < MAX(c->options.free_bytes_min, part);
}

/* What the gate and the metrics see. */
static void publish(struct committer *c, bool looks_at_disk)
{
    bool is_disk = false;
    uint64_t free_bytes = 0;
    if (looks_at_disk) {
        is_disk = is_disk_full(c, &free_bytes);
        if (!is_disk) index_reserve_disk(c->index);
    }
    struct index_oldest oldest;
    bool knows_oldest = looks_at_disk && index_oldest(c->index, &oldest) == 0;
    int err = index_pages_left(c->index, &c->map_pages_left);
    if (err != 0) c->map_pages_left = 0;
    const struct index_totals *totals = index_totals(c->index);

    pthread_mutex_lock(&c->lock);
    struct committer_state *state = &c->state;
    if (looks_at_disk) {
        state->is_disk_full = is_disk;
        state->free_bytes = free_bytes;
    }
    if (knows_oldest) state->oldest = oldest;
    state->is_map_full = c->map_pages_left < MAP_PAGES_MIN;
    state->queued = totals->queued;
    state->held = totals->held;
    state->corrupt = totals->corrupt;
    state->body_bytes = totals->body_bytes;
    __atomic_store_n(&c->is_full, state->is_disk_full || state->is_map_full, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&c->lock);
}

static void run_read(struct committer *c, struct job *job)
{
    switch (job->kind) {
    case JOB_LEASE:
        job->result = lease(c, CONTAINER_OF(job, struct lease_job, job));
        break;
    case JOB_SCAN:
        job->result = index_find(c->index, &CONTAINER_OF(job, struct scan_job, job)->find);
        break;
    case JOB_LIST: {
        struct list_job *list = CONTAINER_OF(job, struct list_job, job);
        job->result = index_list(c->index, list->after_id, list->count_max, &list->messages);
        break;
    }
    case JOB_EDIT:
        job->result = edit(c, CONTAINER_OF(job, struct edit_job, job));
        break;
    default:
        ASSERT(job->kind == JOB_TICK);
        publish(c, true);
        job->result = 0;
    }
}

static void run_calls(struct committer *c, struct job_list *calls)
{
    struct job *job;
    while ((job = job_list_pop(calls)) != NULL)
        run_read(c, job);
}

/* --- the thread --- */

static void deliver_batch(struct mail *mail)
{
    struct job *job = CONTAINER_OF(mail, struct job, mail);
    struct committer *c = job->committer;
    c->options.on_batch(c->options.owner, job);
    while (job != NULL) {
        struct job *next = job->next; /* done() may end the job */
        job->done(job);
        job = next;
    }
}

static void post(struct committer *c, struct job_list *ended)
{
    struct job *first = ended->first;
    if (first == NULL) return;
    first->committer = c;
    first->commit_ns = c->commit_ns;
    first->commit_messages = c->commit_messages;
    first->mail.deliver = deliver_batch;
    mailbox_post(c->options.mailbox, &first->mail);
}

static void run_batch(struct committer *c, struct job_list *jobs)
{
    struct job_list writes, reads, ended;
    job_list_init(&writes);
    job_list_init(&reads);
    job_list_init(&ended);
    struct job *job;
    while ((job = job_list_pop(jobs)) != NULL)
        job_list_add(is_write(job) ? &writes : &reads, job);

    c->commit_ns = 0;
    c->commit_messages = 0;
    run_writes(c, &writes, &ended);
    if (c->commit_messages > 0) publish(c, false);
    while ((job = job_list_pop(&reads)) != NULL) {
        run_read(c, job);
        job_list_add(&ended, job);
    }
    if (c->fatal == 0 && index_has_bad(c->index)) {
        check_write(c, index_set_bad_aside(c->index));
        publish(c, false);
    }
    post(c, &ended);
}

/* Lets announced puts join, when there is no hurry. */
static void gather(struct committer *c)
{
    if (__atomic_load_n(&c->expected, __ATOMIC_RELAXED) < COMMIT_GATHER_MIN) return;
    pthread_mutex_lock(&c->lock);
    bool is_urgent = c->is_stopping || c->gives_up || c->calls.first != NULL;
    bool is_worth_it = c->waiting.first != NULL && !is_urgent;
    pthread_mutex_unlock(&c->lock);
    if (is_worth_it) worker_pause(c->worker, COMMIT_GATHER_NS);
}

/* False when nothing waits. */
static bool take_jobs(struct committer *c, struct job_list *jobs, struct job_list *calls,
                      bool *gives_up_out)
{
    job_list_init(jobs);
    job_list_init(calls);
    pthread_mutex_lock(&c->lock);
    job_list_append(jobs, &c->waiting);
    job_list_append(calls, &c->calls);
    if (c->fatal == 0) c->fatal = c->fatal_outside;
    *gives_up_out = c->gives_up;
    pthread_mutex_unlock(&c->lock);
    return jobs->first != NULL || calls->first != NULL;
}

static void work(void *owner)
{
    struct committer *c = owner;
    struct job_list jobs, calls, ended;
    bool gives_up;
    gather(c);
    while (take_jobs(c, &jobs, &calls, &gives_up)) {
        run_batch(c, &jobs);
        run_calls(c, &calls);
        if (gives_up && c->kept.first != NULL) {
            job_list_init(&ended);
            fail_all(&c->kept, &ended, -ERR_FULL);
            post(c, &ended);
        }
        gather(c);
    }
}

/* --- the outside --- */

int committer_start(const struct committer_options *options, struct committer **committer_out)
{
    ASSERT(options->index != NULL);
    ASSERT(options->on_batch != NULL);
    *committer_out = NULL;
    struct committer *c = xcalloc(1, sizeof(*c));
    c->options = *options;
    c->index = options->index;
    pthread_mutex_init(&c->lock, NULL);
    job_list_init(&c->waiting);
    job_list_init(&c->calls);
    job_list_init(&c->kept);
    publish(c, true);

    char name[16];
    snprintf(name, sizeof(name), "commit-%02u", options->shard);
    int err =
        worker_start(&(struct worker_options){.name = name, .work = work, .owner = c}, &c->worker);
    if (err != 0) {
        pthread_mutex_destroy(&c->lock);
        free(c);
        return err;
    }
    *committer_out = c;
    return 0;
}

void committer_stop(struct committer *c)
{
    if (c == NULL) return;
    pthread_mutex_lock(&c->lock);
    ASSERT(c->waiting.first == NULL);
    c->is_stopping = true;
    pthread_mutex_unlock(&c->lock);
    worker_stop(c->worker);
    ASSERT(c->kept.first == NULL);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void committer_add(struct committer *c, struct job_list *jobs)
{
    if (jobs->first == NULL) return;
    pthread_mutex_lock(&c->lock);
    ASSERT(!c->is_stopping);
    job_list_append(&c->waiting, jobs);
    pthread_mutex_unlock(&c->lock);
    worker_wake(c->worker);
}

void committer_expect(struct committer *c, uint32_t count)
{
    __atomic_store_n(&c->expected, count, __ATOMIC_RELAXED);
}

void committer_call(struct committer *c, struct job *job)
{
    ASSERT(!is_write(job));
    pthread_mutex_lock(&c->lock);
    ASSERT(!c->is_stopping);
    job_list_add(&c->calls, job);
    pthread_mutex_unlock(&c->lock);
    worker_call(c->worker);
}

void committer_give_up(struct committer *c)
{
    pthread_mutex_lock(&c->lock);
    c->gives_up = true;
    pthread_mutex_unlock(&c->lock);
}

void committer_set_fatal(struct committer *c, int err)
{
    ASSERT(err != 0);
    pthread_mutex_lock(&c->lock);
    if (c->fatal_outside == 0) c->fatal_outside = err;
    if (c->state.fatal == 0) c->state.fatal = err;
    pthread_mutex_unlock(&c->lock);
}

void committer_state(struct committer *c, struct committer_state *state_out)
{
    pthread_mutex_lock(&c->lock);
    *state_out = c->state;
    pthread_mutex_unlock(&c->lock);
}

bool committer_is_full(const struct committer *c)
{
    return __atomic_load_n(&c->is_full, __ATOMIC_RELAXED);
}
