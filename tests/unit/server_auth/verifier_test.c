#include "server/auth/verifier.h"

#include "server/auth/vault.h"
#include "tests/support/test.h"

#include <pthread.h>
#include <unistd.h>

struct job {
    struct verify_job job;
    pthread_t ran_on;
    bool has_run, is_back;
};

static struct loop *loop;
static unsigned back_count;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* jobs run while it is open */

static void run(struct verify_job *job)
{
    struct job *j = CONTAINER_OF(job, struct job, job);
    pthread_mutex_lock(&gate);
    j->ran_on = pthread_self();
    j->has_run = true;
    pthread_mutex_unlock(&gate);
}

static void deliver(struct mail *mail)
{
    struct verify_job *job = CONTAINER_OF(mail, struct verify_job, mail);
    struct job *j = CONTAINER_OF(job, struct job, job);
    CHECK(!j->is_back);
    j->is_back = true;
    back_count++;
}

static void start(void)
{
    char why[512];
    struct loop_options options = {.submission_count = 64, .socket_count_max = 8, .input_count = 8};
    int err = loop_create(&options, &loop, why, sizeof(why));
    if (err != 0) printf("%s\n", why);
    CHECK(err == 0);
    back_count = 0;
}

static bool submit(struct auth_verifier *verifier, struct job *j)
{
    j->job = (struct verify_job){.mail.deliver = deliver, .reply_to = mailbox_of(loop), .run = run};
    return auth_verifier_submit(verifier, &j->job);
}

static void wait_for(unsigned count)
{
    while (back_count < count)
        CHECK(loop_turn(loop, true) == 0);
}

TEST(jobs_run_elsewhere_and_come_back_here)
{
    start();
    struct auth_verifier *verifier = auth_verifier_create(2);
    struct job jobs[100] = {0};
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        CHECK(submit(verifier, &jobs[i]));
    wait_for(ARRAY_LEN(jobs));
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        CHECK(jobs[i].has_run && jobs[i].is_back && !jobs[i].job.is_dropped);
        CHECK(!pthread_equal(jobs[i].ran_on, pthread_self()));
    }
    auth_verifier_destroy(verifier);
    loop_destroy(loop);
}

TEST(too_many_are_refused_and_those_that_wait_come_back_at_the_end)
{
    enum { THREADS = 2, COUNT = VERIFIER_JOBS_MAX + THREADS + 10 };
    static struct job jobs[COUNT];
    start();
    struct auth_verifier *verifier = auth_verifier_create(THREADS);
    pthread_mutex_lock(&gate);
    unsigned taken = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (submit(verifier, &jobs[i])) taken++;
    }
    /* The threads have taken up to one each, and wait at the gate. */
    CHECK(taken >= VERIFIER_JOBS_MAX && taken <= VERIFIER_JOBS_MAX + THREADS);
    CHECK(!jobs[COUNT - 1].has_run);
    pthread_mutex_unlock(&gate);
    wait_for(1);
    auth_verifier_destroy(verifier);
    wait_for(taken);
    unsigned dropped = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (!jobs[i].is_back) continue;
        CHECK_EQ("either", jobs[i].has_run, !jobs[i].job.is_dropped);
        if (jobs[i].job.is_dropped) dropped++;
    }
    CHECK(dropped < taken);
    CHECK_EQ("back", back_count, taken);
    loop_destroy(loop);
}

TEST(an_idle_one_ends)
{
    auth_verifier_destroy(auth_verifier_create(0));
    auth_verifier_destroy(NULL);
}

/* What the kernel says of the mapping: "dd" is "do not include in a core dump". */
static bool is_left_out_of_dumps(const void *memory)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    CHECK(maps != NULL);
    if (maps == NULL) return false;
    char line[512];
    bool is_here = false, is_left_out = false;
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            is_here = (uintptr_t)memory >= from && (uintptr_t)memory < to;
        if (is_here && strncmp(line, "VmFlags:", 8) == 0) is_left_out = strstr(line, " dd") != NULL;
    }
    fclose(maps);
    return is_left_out;
}

TEST(a_vault_is_left_out_of_core_dumps)
{
    size_t bytes = 10000;
    char *memory = vault_alloc(bytes);
    CHECK(memory != NULL);
    for (size_t i = 0; i < bytes; i++)
        CHECK(memory[i] == 0);
    memset(memory, 'p', bytes);
    CHECK(is_left_out_of_dumps(memory));
    vault_free(memory, bytes);
    vault_free(NULL, bytes);
}
