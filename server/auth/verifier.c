/* verifier.c - a bounded queue under one lock, and the threads that empty it. */
#include "server/auth/verifier.h"

#include "ring/base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define THREAD_COUNT_DEFAULT 2
#define THREAD_NICE 5 /* a flood of passwords is not to slow the mail of others down */

struct auth_verifier {
    pthread_mutex_t lock; /* of what stands up to the next empty line */
    pthread_cond_t wake;
    struct list waiting;
    size_t waiting_count;
    bool is_stopping;

    pthread_t threads[VERIFIER_THREADS_MAX];
    unsigned thread_count;
};

/* The next job; NULL: the end. */
static struct verify_job *next_job(struct auth_verifier *v)
{
    pthread_mutex_lock(&v->lock);
    while (list_is_empty(&v->waiting) && !v->is_stopping)
        pthread_cond_wait(&v->wake, &v->lock);
    struct list *node = v->is_stopping ? NULL : list_pop_front(&v->waiting);
    if (node != NULL) v->waiting_count--;
    pthread_mutex_unlock(&v->lock);
    return node != NULL ? LIST_ENTRY(node, struct verify_job, node) : NULL;
}

static void *run(void *argument)
{
    struct auth_verifier *v = argument;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), THREAD_NICE); /* Linux: of this thread alone */
    for (struct verify_job *job = next_job(v); job != NULL; job = next_job(v)) {
        job->run(job);
        mailbox_post(job->reply_to, &job->mail); /* it may be gone from here on */
    }
    return NULL;
}

static unsigned default_thread_count(void)
{
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return 1;
    return CPU_COUNT(&cpus) > 1 ? THREAD_COUNT_DEFAULT : 1;
}

struct auth_verifier *auth_verifier_create(unsigned thread_count)
{
    ASSERT(thread_count <= VERIFIER_THREADS_MAX);
    struct auth_verifier *v = xcalloc(1, sizeof(*v));
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->wake, NULL);
    list_init(&v->waiting);
    v->thread_count = thread_count > 0 ? thread_count : default_thread_count();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < v->thread_count; i++) {
        int err = pthread_create(&v->threads[i], NULL, run, v);
        ASSERT(err == 0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return v;
}

void auth_verifier_destroy(struct auth_verifier *v)
{
    if (v == NULL) return;
    pthread_mutex_lock(&v->lock);
    v->is_stopping = true;
    pthread_cond_broadcast(&v->wake);
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < v->thread_count; i++)
        pthread_join(v->threads[i], NULL);
    struct list *node;
    while ((node = list_pop_front(&v->waiting)) != NULL) {
        struct verify_job *job = LIST_ENTRY(node, struct verify_job, node);
        job->is_dropped = true;
        mailbox_post(job->reply_to, &job->mail);
    }
    pthread_cond_destroy(&v->wake);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

bool auth_verifier_submit(struct auth_verifier *v, struct verify_job *job)
{
    ASSERT(job->run != NULL && job->mail.deliver != NULL && job->reply_to != NULL);
    job->is_dropped = false;
    pthread_mutex_lock(&v->lock);
    bool is_taken = v->waiting_count < VERIFIER_JOBS_MAX && !v->is_stopping;
    if (is_taken) {
        list_push_back(&v->waiting, &job->node);
        v->waiting_count++;
        pthread_cond_signal(&v->wake);
    }
    pthread_mutex_unlock(&v->lock);
    return is_taken;
}
