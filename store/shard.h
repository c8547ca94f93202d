/* shard.h - one directory of the spool at work: its segments, its index, its committer.
 *
 * A core owns one shard, or several after the number of cores was lowered; new messages go to its
 * first. All runs on the core thread. */
#pragma once

#include "ring/timer.h"
#include "store/committer.h"
#include "store/disk_writer.h"
#include "store/queue.h"

#define SHARD_COUNT_MAX 256 /* 8 bits of an id */
#define SHARD_LAZY_MS 16
#define SHARD_LAZY_JOBS_MAX 1024

struct compactor;

struct shard {
    struct queue *queue;
    unsigned number;
    char *directory, *segments_directory;
    struct index *index; /* the committer's once that runs */
    struct committer *committer;
    struct committer_state state; /* as of the last batch */
    struct segments segments;
    struct disk_writer writer;
    struct compactor *compactor;
    struct job_list outbox; /* handed over at the end of the turn */
    /* Deletions, for which nobody waits: they go with the next other job, so that they ride in its
     * transaction, or on their own when they are many or SHARD_LAZY_MS old. */
    struct job_list lazy;
    uint32_t lazy_count;
    struct timer lazy_timer;
    uint32_t jobs_inflight;
    uint64_t last_tick; /* of ids: milliseconds and sequence */
    struct job tick_job;
    bool is_ticking;
    int fatal;
};

/* Recovers one shard and starts its committer. Blocking: turns the loop. */
MUST_USE int shard_open(struct queue *queue, unsigned number, struct shard **shard_out, char *why,
                        size_t why_cap);
/* Commits what waits, ends the thread. Blocking. NULL is allowed. */
void shard_close(struct shard *shard);

/* The next id: 42 bits of milliseconds since 2020, the shard, a sequence number. */
uint64_t shard_next_id(struct shard *shard);
/* Gives a job to the committer at the end of this turn; job->done() comes from a later one. */
void shard_submit(struct shard *shard, struct job *job);
/* The same for a job that may wait for company. A crash meanwhile only delivers its message once
 * more, which a crash just before the commit would do as well. */
void shard_submit_lazily(struct shard *shard, struct job *job);
/* Those wait no longer. */
void shard_hurry(struct shard *shard);
/* At the end of a turn: starts writes, hands over jobs. */
void shard_flush(struct shard *shard);
/* Once a second: a look at the disk, and what has to be tried again. */
void shard_tick(struct shard *shard);
/* A sync has failed. Safe to call again. */
void shard_set_fatal(struct shard *shard, int err);
