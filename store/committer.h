/* committer.h - the one thread of a shard that touches its LMDB environment.
 *
 * It takes every job that waits, makes one transaction of the writes, synced, then runs the reads,
 * and posts all of them back with one mail. While it commits, the next batch gathers; and it does
 * not begin while the bodies of others are on their way to the disk, for a short time: group
 * commit. It sleeps when nothing waits. */
#pragma once

#include "ring/base/counter.h"
#include "store/index.h"

struct committer;

#define COMMIT_JOBS_MAX 4096           /* writes in one transaction */
#define COMMIT_BYTES_MAX (64ull << 20) /* of records in one transaction */
#define COMMIT_GATHER_NS 300000        /* waited for announced puts before a transaction */
#define COMMIT_GATHER_MIN 4            /* so many announced puts are worth it */

struct committer_options {
    struct index *index; /* the committer's until committer_stop() */
    struct mailbox *mailbox;
    unsigned shard;
    const char *directory; /* whose file system is watched; must outlive the committer */
    uint64_t free_bytes_min;
    unsigned free_percent_min;
    /* Runs on the core for each batch that comes back, before the done() of its jobs. `first`
     * tells how long the commit took. */
    void (*on_batch)(void *owner, const struct job *first);
    void *owner;
};

/* What the committer last saw; any thread may read it. */
struct committer_state {
    uint64_t queued, held, corrupt, body_bytes; /* as of the last commit */
    uint64_t free_bytes;                        /* of the file system */
    struct index_oldest oldest;                 /* as of the last tick */
    bool is_disk_full, is_map_full;
    int fatal; /* 0, or why no write is done any more */
};

/* The first look at the disk and the map is done before it returns. */
MUST_USE int committer_start(const struct committer_options *options,
                             struct committer **committer_out);
/* Every job must be back. NULL is allowed. */
void committer_stop(struct committer *committer);

/* Hands over all of `jobs`, which is empty afterwards. Core thread. */
void committer_add(struct committer *committer, struct job_list *jobs);
/* Announces that `count` more puts are a disk write away. While there are COMMIT_GATHER_MIN, a
 * transaction waits COMMIT_GATHER_NS for them: a commit costs as much as six messages do. With
 * fewer, few sessions are busy, and each would only wait longer for its answer. Cheap. Core thread.
 */
void committer_expect(struct committer *committer, uint32_t count);
/* Hands over one job and waits for it. Any thread but the core's and the committer's. */
void committer_call(struct committer *committer, struct job *job);
/* From now on nothing is kept back for another try. */
void committer_give_up(struct committer *committer);
/* Nothing is written any more: a sync outside of it has failed. */
void committer_set_fatal(struct committer *committer, int err);
void committer_state(struct committer *committer, struct committer_state *state_out);
/* True while puts would be refused: the disk or the map is below its reserve. Cheap. */
bool committer_is_full(const struct committer *committer);

/* --- the jobs that are not in index.h --- */

struct lease_job {
    struct job job;
    uint64_t now_ms;
    uint32_t count_max;
    struct lease_result result;
};

struct move_job {
    struct job job;
    struct extent_move move;
};

struct scan_job {
    struct job job;
    struct extent_find find;
};

struct list_job {
    struct job job;
    uint64_t after_id;
    uint32_t count_max;
    struct list messages;
};
