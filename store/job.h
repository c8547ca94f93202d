/* job.h - one piece of work for the committer thread of a shard.
 *
 * Embedded in the object that waits for it; from committer_add() until done() that object belongs
 * to the committer. done() runs on the core, or, for a job given with committer_call(), not at
 * all. */
#pragma once

#include "ring/mailbox.h"

struct committer;

enum job_kind {
    /* Writes: one transaction for all that wait. */
    JOB_PUT,     /* struct stored */
    JOB_REPLACE, /* struct replacement */
    JOB_DELETE,  /* struct stored */
    JOB_MOVE,    /* struct move */
    /* Reads, after the writes of the same batch. */
    JOB_LEASE, /* struct lease_job */
    JOB_SCAN,  /* struct scan_job */
    JOB_LIST,  /* struct list_job */
    JOB_EDIT,  /* struct edit_job: a transaction of its own; by committer_call() only */
    /* The state of the disk and the map; also tries again what could not be written. */
    JOB_TICK,
};

struct job {
    struct job *next;
    enum job_kind kind;
    int result; /* 0 or -ERR_* */
    void (*done)(struct job *job);
    /* A batch is posted to the core as one mail, that of its first job, which alone has these. */
    struct mail mail;
    struct committer *committer;
    uint64_t commit_ns;
    uint32_t commit_messages; /* 0: nothing was committed */
};

/* Jobs in the order in which they came. */
struct job_list {
    struct job *first, **last;
};

static inline void job_list_init(struct job_list *l)
{
    l->first = NULL;
    l->last = &l->first;
}
static inline void job_list_add(struct job_list *l, struct job *job)
{
    job->next = NULL;
    *l->last = job;
    l->last = &job->next;
}
static inline struct job *job_list_pop(struct job_list *l)
{
    struct job *job = l->first;
    if (job == NULL) return NULL;
    l->first = job->next;
    if (l->first == NULL) l->last = &l->first;
    job->next = NULL;
    return job;
}
/* Moves all of `from` behind `to`. */
static inline void job_list_append(struct job_list *to, struct job_list *from)
{
    if (from->first == NULL) return;
    *to->last = from->first;
    to->last = from->last;
    job_list_init(from);
}
