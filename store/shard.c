/* shard.c - opening, closing and driving one shard. */
#include "store/shard.h"

#include "ring/base/log.h"
#include "store/compact.h"
#include "store/queue_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_EPOCH_MS 1577836800000ull /* 2020-01-01 */
#define ID_SHARD_BITS 8
#define ID_SEQUENCE_BITS 14

/* --- ids --- */

/* Time and sequence count as one number, so that a full sequence runs into the next millisecond
 * and a clock that steps back is waited for. */
uint64_t shard_next_id(struct shard *shard)
{
    uint64_t wall_ms = loop_wall_ms(shard->queue->loop);
    uint64_t tick = (wall_ms > ID_EPOCH_MS ? wall_ms - ID_EPOCH_MS : 0) << ID_SEQUENCE_BITS;
    shard->last_tick = MAX(tick, shard->last_tick + 1);

    uint64_t ms = shard->last_tick >> ID_SEQUENCE_BITS;
    uint64_t sequence = shard->last_tick & ((1u << ID_SEQUENCE_BITS) - 1);
    return ms << (ID_SHARD_BITS + ID_SEQUENCE_BITS) | (uint64_t)shard->number << ID_SEQUENCE_BITS |
           sequence;
}

static uint64_t tick_of_id(uint64_t id)
{
    uint64_t ms = id >> (ID_SHARD_BITS + ID_SEQUENCE_BITS);
    return ms << ID_SEQUENCE_BITS | (id & ((1u << ID_SEQUENCE_BITS) - 1));
}

/* --- jobs --- */

void shard_submit(struct shard *shard, struct job *job)
{
    ASSERT(job->done != NULL);
    shard->jobs_inflight++;
    job_list_add(&shard->outbox, job);
    queue_note_work(shard->queue);
}

void shard_hurry(struct shard *shard)
{
    job_list_append(&shard->outbox, &shard->lazy);
    shard->lazy_count = 0;
    timer_disarm(&shard->lazy_timer);
    queue_note_work(shard->queue);
}

static void on_lazy_timer(struct timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, lazy_timer);
    shard_hurry(shard);
}

void shard_submit_lazily(struct shard *shard, struct job *job)
{
    ASSERT(job->done != NULL);
    shard->jobs_inflight++;
    job_list_add(&shard->lazy, job);
    shard->lazy_count++;
    if (!timer_is_armed(&shard->lazy_timer))
        timer_arm(shard->queue->loop, &shard->lazy_timer, SHARD_LAZY_MS);
}

/* A batch has come back. */
static void on_batch(void *owner, const struct job *first)
{
    struct shard *shard = owner;
    struct queue_counters *counters = &shard->queue->counters;
    ASSERT(first != NULL);
    for (const struct job *job = first; job != NULL; job = job->next)
        shard->jobs_inflight--;
    if (first->commit_messages > 0) {
        counter_add(&counters->commits, 1);
        counter_add(&counters->commit_messages, first->commit_messages);
        histogram_add(&counters->commit_duration, first->commit_ns);
    }
    committer_state(shard->committer, &shard->state);
    queue_sum_state(shard->queue);
    if (shard->state.fatal != 0) queue_set_fatal(shard->queue, -ERR_FAILED_SYNC);
}

static void on_segments_change(void *owner)
{
    struct shard *shard = owner;
    queue_note_work(shard->queue);
}

static void on_segments_fatal(void *owner, int err)
{
    struct shard *shard = owner;
    queue_set_fatal(shard->queue, err);
}

void shard_flush(struct shard *shard)
{
    disk_writer_flush(&shard->writer);
    bool has_company = shard->outbox.first != NULL || shard->lazy_count >= SHARD_LAZY_JOBS_MAX;
    if (shard->lazy_count > 0 && (has_company || shard->queue->is_closing)) shard_hurry(shard);
    committer_expect(shard->committer, disk_writer_synced_count(&shard->writer));
    committer_add(shard->committer, &shard->outbox);
}

static void on_tick(struct job *job)
{
    struct shard *shard = CONTAINER_OF(job, struct shard, tick_job);
    shard->is_ticking = false;
}

void shard_tick(struct shard *shard)
{
    segments_prepare(&shard->segments);
    compactor_run(shard->compactor);
    if (shard->is_ticking) return;
    shard->is_ticking = true;
    shard->tick_job.kind = JOB_TICK;
    shard->tick_job.done = on_tick;
    shard_submit(shard, &shard->tick_job);
}

void shard_set_fatal(struct shard *shard, int err)
{
    if (shard->fatal != 0) return;
    shard->fatal = err;
    disk_writer_set_fatal(&shard->writer, err);
    committer_set_fatal(shard->committer, err);
    queue_note_work(shard->queue); /* the hook fails what waits */
}

/* --- opening --- */

/* The directory entries have to last as well: LMDB does not see to that. */
static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int err = fsync(fd) != 0 ? -errno : 0;
    close(fd);
    return err;
}

static char *join(const char *directory, const char *name)
{
    size_t cap = strlen(directory) + strlen(name) + 2;
    char *path = xmalloc(cap);
    snprintf(path, cap, "%s/%s", directory, name);
    return path;
}

static int make_directories(struct shard *shard)
{
    shard->directory = spool_shard_path(shard->queue->options.spool, shard->number);
    shard->segments_directory = join(shard->directory, "segments");
    if (mkdir(shard->segments_directory, 0700) != 0 && errno != EEXIST) return -errno;
    return 0;
}

static int open_index(struct shard *shard, char *why, size_t why_cap)
{
    uint64_t map_bytes = shard->queue->options.map_bytes_max;
    char *path = join(shard->directory, "queue.mdb");
    struct index_options options = {.path = path,
                                    .shard = shard->number,
                                    .map_bytes_max = map_bytes != 0 ? map_bytes : QUEUE_MAP_BYTES};
    char cause[200];
    int err = index_open(&options, &shard->index, cause, sizeof(cause));
    if (err != 0) snprintf(why, why_cap, "%s: %s", path, cause);
    free(path);
    if (err == 0) err = sync_directory(shard->directory);
    return err;
}

static uint64_t live_of(void *owner, uint32_t number)
{
    struct shard *shard = owner;
    return index_row(shard->index, number)->live;
}

/* The first free segment is waited for, so that the first message need not. */
static int wait_for_segment(struct shard *shard)
{
    struct segments *segments = &shard->segments;
    while (segments->free_count == 0) {
        segments_prepare(segments); /* anew when the one that was there could not be opened */
        int err = loop_turn(shard->queue->loop, true);
        if (err != 0) return err;
        int make_err = segments->make_err;
        if (make_err == 0 || segments->maker.segment != NULL) continue;
        /* A full disk is no reason not to start: what is queued can leave. New mail is refused, and
         * each tick tries again. */
        return make_err == -ERR_FULL || make_err == -EDQUOT ? 0 : make_err;
    }
    return 0;
}

static int open_segments(struct shard *shard)
{
    const struct queue_options *options = &shard->queue->options;
    uint64_t bytes = options->segment_bytes;
    struct segments_options segments = {
        .loop = shard->queue->loop,
        .directory = shard->segments_directory,
        .shard = shard->number,
        .segment_bytes = bytes != 0 ? bytes : QUEUE_SEGMENT_BYTES,
        .is_direct = spool_is_direct(options->spool),
        .on_change = on_segments_change,
        .on_fatal = on_segments_fatal,
        .owner = shard,
    };
    return segments_open(&shard->segments, &segments, live_of, index_row_count(shard->index));
}

static int start_committer(struct shard *shard)
{
    const struct queue_options *options = &shard->queue->options;
    struct committer_options committer = {
        .index = shard->index,
        .mailbox = mailbox_of(shard->queue->loop),
        .shard = shard->number,
        .directory = shard->directory,
        .free_bytes_min = options->free_bytes_min,
        .free_percent_min = options->free_percent_min,
        .on_batch = on_batch,
        .owner = shard,
    };
    int err = committer_start(&committer, &shard->committer);
    if (err == 0) committer_state(shard->committer, &shard->state);
    return err;
}

int shard_open(struct queue *queue, unsigned number, struct shard **shard_out, char *why,
               size_t why_cap)
{
    ASSERT(number < SHARD_COUNT_MAX);
    *shard_out = NULL;
    struct shard *shard = xcalloc(1, sizeof(*shard));
    shard->queue = queue;
    shard->number = number;
    shard->segments.directory_file = LOOP_FILE_NONE;
    job_list_init(&shard->outbox);
    job_list_init(&shard->lazy);
    timer_init(&shard->lazy_timer, on_lazy_timer);
    why[0] = '\0';

    int err = make_directories(shard);
    if (err == 0) err = open_index(shard, why, why_cap);
    if (err != 0) goto fail;
    shard->last_tick = tick_of_id(index_totals(shard->index)->last_id);
    err = open_segments(shard);
    if (err == 0) err = sync_directory(shard->segments_directory);
    if (err == 0) err = wait_for_segment(shard);
    if (err == 0) err = start_committer(shard);
    if (err != 0) goto fail;
    disk_writer_init(&shard->writer, queue->loop, &shard->segments,
                     spool_sync_method(queue->options.spool), &queue->counters.sync_duration);
    shard->compactor = compactor_create(shard);
    *shard_out = shard;
    return 0;

fail:
    if (why[0] == '\0') snprintf(why, why_cap, "%s: %s", shard->directory, err_str(err));
    shard_close(shard);
    return err;
}

/* --- closing --- */

static bool is_idle(struct shard *shard)
{
    if (shard->committer == NULL) return segments_stop(&shard->segments);
    /* First: a compaction that is not told to stop asks on for ever. */
    bool is_compacted = compactor_stop(shard->compactor);
    return segments_stop(&shard->segments) && is_compacted && shard->jobs_inflight == 0 &&
           disk_writer_is_idle(&shard->writer);
}

/* What memory and the table of segments count has to be the same at the end. */
static void check_counts(const struct shard *shard)
{
    for (uint32_t number = 0; number < index_row_count(shard->index); number++) {
        const struct segment *segment = segments_find(&shard->segments, number);
        uint64_t live = segment != NULL ? segment->live : 0;
        ASSERT(live == index_row(shard->index, number)->live);
    }
}

void shard_close(struct shard *shard)
{
    if (shard == NULL) return;
    struct loop *loop = shard->queue->loop;
    if (shard->committer != NULL) {
        committer_give_up(shard->committer);
        shard_tick(shard);
    }
    while (!is_idle(shard)) {
        if (shard->committer != NULL) shard_flush(shard);
        int err = loop_turn(loop, true);
        ASSERT(err == 0); /* a ring that cannot be waited on: what is in flight has no end */
    }
    if (shard->committer != NULL) {
        compactor_destroy(shard->compactor);
        committer_stop(shard->committer);
        disk_writer_finish(&shard->writer);
        if (shard->fatal == 0) check_counts(shard);
    }
    timer_disarm(&shard->lazy_timer);
    segments_close(&shard->segments);
    index_close(shard->index);
    free(shard->segments_directory);
    free(shard->directory);
    free(shard);
}
