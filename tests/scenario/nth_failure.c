/* nth_failure.c - the first, second, third ... change of a file, or allocation, fails.
 *
 *     nth_failure [--history SEED] [--actions N]
 *
 * The same history of the queue (store_history.h) runs again and again. Each time another one of
 * its changes of files (of the loop, of LMDB, of blocking code) fails with EIO or ENOSPC, or
 * another allocation, until a run comes to its end with none left to fail. However a run ends (it
 * goes on, the store gives up, the process leaves for want of memory), what is left is opened and
 * held against what was answered. */
#include "tests/scenario/store_check.h"

#include "ring/base/memory.h"
#include "tests/support/disk_model.h"
#include "tests/support/sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SANITIZED_STRIDE 20 /* a run costs ten times more there */

enum kind { FAIL_EIO, FAIL_ENOSPC, FAIL_ALLOCATION, KINDS };
static const char *const kind_names[] = {"change with EIO", "change with ENOSPC", "allocation"};

enum { END_WELL = 0, END_WITHOUT_MEMORY = 1, END_CLEAN = 3, END_WRONG = 4 };

static struct {
    uint64_t history, actions;
    enum kind kind;
    uint64_t nth, count;
    bool is_armed;
    char directory[96];
} here;

static struct shared {
    struct facts facts;
    bool has_failed; /* the one of this run */
    char what[512];
} * shared;

/* --- what fails --- */

static bool is_its_turn(void)
{
    if (!here.is_armed || ++here.count != here.nth) return false;
    shared->has_failed = true;
    return true;
}

static int on_change(enum disk_op op)
{
    (void)op;
    if (here.kind == FAIL_ALLOCATION || !is_its_turn()) return 0;
    return here.kind == FAIL_EIO ? EIO : ENOSPC;
}

#ifndef POSTERN_SANITIZED
/* In the place of the C library's, which has them under these names too. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

static bool is_allocation_refused(void)
{
    if (here.kind != FAIL_ALLOCATION || !is_its_turn()) return false;
    errno = ENOMEM;
    return true;
}

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
    return is_allocation_refused() ? NULL : __libc_malloc(bytes);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t bytes)
{
    return is_allocation_refused() ? NULL : __libc_calloc(count, bytes);
}

__attribute__((visibility("default"))) void *realloc(void *memory, size_t bytes)
{
    return is_allocation_refused() ? NULL : __libc_realloc(memory, bytes);
}
#endif

/* --- a run --- */

NORETURN void store_check_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(shared->what, sizeof(shared->what), format, arguments);
    va_end(arguments);
    _exit(END_WRONG);
}

NORETURN static void work(void)
{
    sim_begin(here.history, 0, 0);
    disk_model_hooks = (struct disk_model_hooks){.before = on_change};
    disk_model_begin(here.directory);
    here.is_armed = true;
    store_history_run(here.directory, (unsigned)here.actions);
    here.is_armed = false;
    _exit(shared->has_failed ? END_WELL : END_CLEAN);
}

NORETURN static void look(void)
{
    struct store_check check = {.seed = here.history + here.nth};
    store_check(&check, here.directory);
    _exit(END_WELL);
}

/* The exit status of `run` in a process of its own; -1: it died. */
static int in_child(void (*run)(void))
{
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        int log = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (log < 0 || dup2(log, STDERR_FILENO) < 0) abort();
        alarm(60);
        run();
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) abort();
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int remove_one(const char *path, const struct stat *stat_of, int type, struct FTW *walk)
{
    (void)stat_of;
    (void)type;
    (void)walk;
    return remove(path);
}

static void make_directory(void)
{
    bool has_memory = access("/dev/shm", W_OK) == 0;
    snprintf(here.directory, sizeof(here.directory), "%s/postern-nth-XXXXXX",
             has_memory ? "/dev/shm" : "/tmp");
    if (mkdtemp(here.directory) == NULL) {
        perror(here.directory);
        exit(2);
    }
}

/* False: wrong, and said so. *is_clean_out: there was none left to fail. */
static bool run_nth(bool *is_clean_out)
{
    memset(shared, 0, sizeof(*shared));
    make_directory();
    int status = in_child(work);
    *is_clean_out = status == END_CLEAN;
    bool is_good = status == END_WELL || status == END_CLEAN ||
                   (here.kind == FAIL_ALLOCATION && status == END_WITHOUT_MEMORY);
    if (!is_good) snprintf(shared->what, sizeof(shared->what), "the store died at work");
    if (is_good) {
        status = in_child(look);
        is_good = status == END_WELL;
        if (status == -1) snprintf(shared->what, sizeof(shared->what), "the recovery died");
    }
    nftw(here.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (is_good) return true;
    printf("VIOLATION: %s\n  when %s %" PRIu64 " failed; again: nth_failure --history %" PRIu64
           " --actions %" PRIu64 "\n",
           shared->what, kind_names[here.kind], here.nth, here.history, here.actions);
    return false;
}

static bool run_kind(enum kind kind, uint64_t stride)
{
    here.kind = kind;
    uint64_t runs = 0;
    bool is_clean = false;
    for (here.nth = 1; !is_clean; here.nth += stride, runs++)
        if (!run_nth(&is_clean)) return false;
    printf("%s: %" PRIu64 " runs, the last of them with none left to fail\n", kind_names[kind],
           runs);
    return true;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"history", required_argument, NULL, 'h'},
                                          {"actions", required_argument, NULL, 'a'},
                                          {NULL, 0, NULL, 0}};
    here.history = (uint64_t)time(NULL);
    here.actions = 60;
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (name == '?') return 2;
        *(name == 'h' ? &here.history : &here.actions) = strtoull(optarg, NULL, 10);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) abort();
    history.facts = &shared->facts;
    enum kind kinds = KINDS;
    uint64_t stride = 1;
#ifdef POSTERN_SANITIZED
    kinds = FAIL_ALLOCATION; /* the sanitizer's allocator stays */
    stride = SANITIZED_STRIDE;
#endif
    printf("history %" PRIu64 "\n", here.history);
    for (enum kind kind = 0; kind < kinds; kind++)
        if (!run_kind(kind, stride)) return 1;
    return 0;
}
