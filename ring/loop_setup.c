/* loop_setup.c - makes a loop and ends it.
 *
 * What a ring needs from the host: kernel 6.1 (DEFER_TASKRUN, provided-buffer rings), io_uring not
 * forbidden by seccomp or sysctl, and descriptors enough for the file table. Each refusal becomes
 * one line for people. */
#include "ring/loop.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "ring/loop_internal.h"
#include "ring/mailbox.h"
#include "ring/timer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Kernel threads for what would block: opens, renames, links, syncs, and the writes that a file
 * system does not take inline. Four keep a disk busy; without a cap a slow disk grows hundreds. */
#define WORKERS_BOUNDED_MAX 4
#define WORKERS_UNBOUNDED_MAX 2

#define SOCKET_COUNT_MAX (1u << 20) /* the kernel's bound on a file table */
#define INPUT_COUNT_MAX 32768u      /* and on a ring of provided buffers */

static bool is_power_of_two(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static int make_ring(struct loop *loop, uint32_t submission_count, char *why, size_t why_cap)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE,
        .cq_entries = submission_count * 4,
    };
    int err = io_uring_queue_init_params(submission_count, &loop->ring, &params);
    if (err != 0) {
        loop_explain_here(err, why, why_cap);
        return err;
    }
    loop->is_ring_made = true;
    /* Both are older than what the flags above need. */
    ASSERT((params.features & IORING_FEAT_NODROP) != 0);
    ASSERT((params.features & IORING_FEAT_SUBMIT_STABLE) != 0);

    /* Saves a look-up of the ring's descriptor in each system call. It fails only when the kernel
     * has no place for it, and then all works without. */
    (void)io_uring_register_ring_fd(&loop->ring);
    unsigned workers[2] = {WORKERS_BOUNDED_MAX, WORKERS_UNBOUNDED_MAX};
    err = io_uring_register_iowq_max_workers(&loop->ring, workers);
    if (err != 0) snprintf(why, why_cap, "io_uring worker limit refused: %s", err_str(err));
    return err;
}

/* The table counts against RLIMIT_NOFILE as a whole, per ring. */
static int make_file_table(struct loop *loop, uint32_t socket_count_max, char *why, size_t why_cap)
{
    uint32_t count = socket_count_max + LOOP_ACCEPTS_MAX;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* the registration below tells */
    }
    int err = io_uring_register_files_sparse(&loop->ring, count);
    if (err == 0) {
        loop->socket_count_max = socket_count_max;
        return 0;
    }
    if (err == -EMFILE) {
        snprintf(why, why_cap,
                 "%" PRIu32 " connections a core need a descriptor limit of %" PRIu32
                 ", and the hard limit is %" PRIu64
                 ": raise it (systemd: LimitNOFILE=, docker: --ulimit nofile=) or lower the "
                 "number of connections",
                 socket_count_max, count, (uint64_t)limit.rlim_max);
    } else {
        loop_explain_here(err, why, why_cap);
    }
    return err;
}

static void *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static size_t input_ring_bytes(const struct loop *loop)
{
    return loop->input_count * sizeof(struct io_uring_buf);
}

static int make_inputs(struct loop *loop, uint32_t input_count, char *why, size_t why_cap)
{
    loop->input_count = input_count;
    loop->input_memory = map_memory((size_t)input_count * LOOP_INPUT_BYTES);
    loop->inputs = map_memory(input_ring_bytes(loop));
    if (loop->input_memory == NULL || loop->inputs == NULL) {
        snprintf(why, why_cap, "no memory for %" PRIu32 " input buffers", input_count);
        return -ERR_MEMORY;
    }
    io_uring_buf_ring_init(loop->inputs);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)loop->inputs, .ring_entries = input_count, .bgid = 0};
    int err = io_uring_register_buf_ring(&loop->ring, &reg, 0);
    if (err != 0) {
        loop_explain_here(err, why, why_cap);
        return err;
    }
    for (uint32_t i = 0; i < input_count; i++)
        loop_input_release(loop, (uint16_t)i);
    return 0;
}

static int make_wake(struct loop *loop, char *why, size_t why_cap)
{
    loop->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        int err = -errno;
        snprintf(why, why_cap, "eventfd: %s", err_str(err));
        return err;
    }
    loop_watch_wake(loop);
    return 0;
}

static struct loop *make_empty(void)
{
    struct loop *loop = aligned_alloc(_Alignof(struct loop), sizeof(*loop));
    if (loop == NULL) return NULL;
    *loop = (struct loop){.wake_fd = -1};
    list_init(&loop->hooks);
    loop->scratch = xmalloc(LOOP_SCRATCH_BYTES);
    loop_read_clocks(loop);
    loop->turn_end_ns = loop->now_ns;
    loop->timers = timer_wheel_create(loop->now_ns);
    loop->mailbox = mailbox_create(loop);
    int err = pthread_getcpuclockid(pthread_self(), &loop->cpu_clock);
    ASSERT(err == 0);
    return loop;
}

int loop_create(const struct loop_options *options, struct loop **loop_out, char *why,
                size_t why_cap)
{
    ASSERT(is_power_of_two(options->submission_count));
    ASSERT(is_power_of_two(options->input_count) && options->input_count <= INPUT_COUNT_MAX);
    ASSERT(options->socket_count_max <= SOCKET_COUNT_MAX - LOOP_ACCEPTS_MAX);
    *loop_out = NULL;
    if (why_cap > 0) why[0] = '\0';

    struct loop *loop = make_empty();
    if (loop == NULL) {
        snprintf(why, why_cap, "out of memory");
        return -ERR_MEMORY;
    }
    int err = make_ring(loop, options->submission_count, why, why_cap);
    if (err == 0) err = make_file_table(loop, options->socket_count_max, why, why_cap);
    if (err == 0) err = make_inputs(loop, options->input_count, why, why_cap);
    if (err == 0) err = make_wake(loop, why, why_cap);
    if (err == 0) {
        *loop_out = loop;
        return 0;
    }
    loop_destroy(loop);
    return err;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL) return;
    ASSERT(loop->inflight == 0);
    /* The ring first: until it is gone the kernel may write to the buffers. */
    if (loop->is_ring_made) io_uring_queue_exit(&loop->ring);
    if (loop->wake_fd >= 0) close(loop->wake_fd);
    if (loop->inputs != NULL) munmap(loop->inputs, input_ring_bytes(loop));
    if (loop->input_memory != NULL)
        munmap(loop->input_memory, (size_t)loop->input_count * LOOP_INPUT_BYTES);
    mailbox_destroy(loop->mailbox);
    timer_wheel_destroy(loop->timers);
    free(loop->deferred.items);
    free(loop->deferred_now.items);
    free(loop->scratch);
    free(loop);
}
