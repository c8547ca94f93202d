/* verifier.h - threads that compare passwords, so that the cores need not wait for it.
 *
 * A job runs on one of them and then comes back as a mail to the core it came from. Jobs are taken
 * in their order; when VERIFIER_JOBS_MAX wait, further ones are refused. */
#pragma once

#include "ring/mailbox.h"

#define VERIFIER_JOBS_MAX 256 /* waiting, of all cores together */
#define VERIFIER_THREADS_MAX 16

struct auth_verifier;

/* Embedded in what is checked; it, and all that run() touches, belongs to the verifier from
 * auth_verifier_submit() until mail.deliver() runs. */
struct verify_job {
    struct mail mail; /* mail.deliver() runs on the core that submitted the job */
    struct list node;
    struct mailbox *reply_to;            /* of that core */
    void (*run)(struct verify_job *job); /* on a thread of the verifier */
    bool is_dropped;                     /* for deliver(): the verifier ended, run() did not run */
};

/* `thread_count` 0: two, or one where there is one CPU. The threads block all signals, and yield to
 * the cores where CPU time is short. Ends the process when a thread cannot be made. */
struct auth_verifier *auth_verifier_create(unsigned thread_count);
/* Waits for the jobs that run; those that wait are posted back as dropped. To be called before the
 * loops of the cores are destroyed: a thread may still be waking one whose mail is delivered
 * already. NULL is allowed. */
void auth_verifier_destroy(struct auth_verifier *verifier);
/* Any thread. False, and nothing was taken, when too many wait. */
MUST_USE bool auth_verifier_submit(struct auth_verifier *verifier, struct verify_job *job);
