/* crash_states.c - every state that a loss of power may leave the store in, opened and checked.
 *
 *     crash_states [--states N] [--jobs N] [--history SEED [--op N]] [--mutate no-sync|ack-early]
 *                  [--loud]
 *
 * Histories of the queue (store_history.h) run on the disk model. Before some of the changes that
 * they make to files the process is copied, and the copy makes of the disk what a loss of power at
 * this moment may leave: nothing, all, or some of what was not synced yet, whole or torn at sectors
 * and pages. The real recovery opens it, and everything is read:
 *   - it opens without help, and after a crash within the recovery as well;
 *   - what was answered with success is there, once, whole, with the recipients' states as they
 *     were last answered; what was refused or ended is not;
 *   - the counters say what is there;
 *   - it can be worked with: all is delivered, a new message is put, and found by the next start.
 * In further states a byte of a body is wrong: it must be noticed, never delivered.
 *
 * A violation prints its history and change; with both given, exactly these states are made again.
 * The mutations, and the program without checksums, must be caught. */
#include "tests/scenario/store_check.h"

#include "ring/base/memory.h"
#include "tests/support/disk_model.h"
#include "tests/support/sim/sim.h"
#include "tests/support/sim/sim_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPS_APART 24     /* about so many changes of files lie between two that are looked at */
#define ACTIONS_MAX 400  /* of a history */
#define STATE_SECONDS 60 /* a recovery that takes longer does not end */
#define FLIP_TRIES 4000
#define MEMORY_BYTES_MIN (512ull << 20)

enum variant { KEEP_NOTHING, KEEP_ALL, KEEP_HALF, KEEP_SOME, FLIP_BYTE, VARIANTS };

struct totals {
    _Atomic uint64_t states, nested, flips, flips_noticed, histories, operations, messages, found;
    atomic_bool has_failed;
    char failure[1024];
};
static struct totals *totals;

static struct {
    uint64_t states, history, op;
    bool has_history, has_op, ignores_syncs;
    unsigned jobs;
    bool is_loud;
} options;

/* Of the process that runs a history, and of its copies. */
static struct {
    uint64_t seed, op;
    enum variant variant;
    char directory[96], state[128], nested[128];
    uint64_t random;
    uint64_t nested_at, nested_op; /* the recovery is cut there; 0: it is not */
} here;

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t below(uint64_t limit)
{
    here.random += 0x9e3779b97f4a7c15ull;
    return mix(here.random) % limit;
}

NORETURN void store_check_fail(const char *format, ...)
{
    if (!atomic_exchange(&totals->has_failed, true)) {
        char what[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(what, sizeof(what), format, arguments);
        va_end(arguments);
        snprintf(totals->failure, sizeof(totals->failure),
                 "VIOLATION: %s\n  in variant %d; again: crash_states --history %" PRIu64
                 " --op %" PRIu64 " --loud",
                 what, here.variant, here.seed, here.op);
    }
    _exit(1);
}

static int remove_one(const char *path, const struct stat *stat_of, int kind, struct FTW *walk)
{
    (void)stat_of;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- a state --- */

static void check_state(const char *directory)
{
    sim_hooks = (struct sim_hooks){0};
    struct store_check check = {.seed = mix(here.random),
                                .may_be_corrupt = here.variant == FLIP_BYTE};
    sim_end(); /* the world before is let lie as it was */
    store_check(&check, directory);
    atomic_fetch_add(&totals->found, check.found);
    atomic_fetch_add(&totals->flips_noticed, check.corrupt);
}

static void make_directory(char *path, size_t cap, const char *suffix)
{
    snprintf(path, cap, "%s-%" PRIu64 "-%d%s", here.directory, here.op, here.variant, suffix);
    if (mkdir(path, 0700) != 0) store_check_fail("cannot make %s: %s", path, strerror(errno));
}

/* One byte of a body that is there is another one now. False: there is none. */
static bool flip_byte(const char *directory)
{
    char path[256], *names[64];
    unsigned count = 0;
    snprintf(path, sizeof(path), "%s/shards/00/segments", directory);
    DIR *segments = opendir(path);
    if (segments == NULL) return false;
    for (struct dirent *at; (at = readdir(segments)) != NULL && count < ARRAY_LEN(names);) {
        if (strstr(at->d_name, ".seg") != NULL) names[count++] = xstrdup(at->d_name);
    }
    closedir(segments);
    for (unsigned tries = 0; count > 0 && tries < FLIP_TRIES; tries++) {
        char file[512], byte;
        snprintf(file, sizeof(file), "%s/%s", path, names[below(count)]);
        int fd = open(file, O_RDWR | O_CLOEXEC);
        off_t at = (off_t)below(1u << 20);
        bool is_used = pread(fd, &byte, 1, at) == 1 && byte != 0;
        byte = (char)(byte ^ (1 << below(8)));
        if (is_used && pwrite(fd, &byte, 1, at) != 1) abort();
        close(fd);
        if (is_used) return true;
    }
    return false;
}

/* In the copy of the process: the recovery itself is cut. */
static int cut_recovery(enum disk_op op)
{
    (void)op;
    if (++here.nested_op < here.nested_at) return 0;
    disk_model_hooks.before = NULL;
    make_directory(here.nested, sizeof(here.nested), "-again");
    disk_model_crash(here.nested, below, (unsigned)below(101));
    disk_model_end();
    atomic_fetch_add(&totals->nested, 1);
    check_state(here.nested);
    _exit(0);
}

NORETURN static void run_state(void)
{
    static const unsigned shares[] = {0, 100, 50, 0, 100};
    disk_model_hooks.before = NULL;
    sim_hooks = (struct sim_hooks){0};
    alarm(STATE_SECONDS);
    here.random = mix(here.seed * 31 + here.op) + (uint64_t)here.variant;
    make_directory(here.state, sizeof(here.state), "");
    if (here.variant != KEEP_NOTHING && history.loop != NULL && below(2) == 0)
        sim_file_crash(history.loop);
    unsigned share = here.variant == KEEP_SOME ? (unsigned)below(101) : shares[here.variant];
    disk_model_crash(here.state, below, share);
    disk_model_end();
    disk_model_hooks.ignores_syncs = false;
    if (here.variant == FLIP_BYTE) {
        if (flip_byte(here.state)) atomic_fetch_add(&totals->flips, 1);
    } else if (below(4) == 0) {
        here.nested_at = 1 + below(1ull << (1 + below(8)));
        disk_model_begin(here.state);
        disk_model_hooks.before = cut_recovery;
    }
    check_state(here.state);
    _exit(0);
}

static void remove_states(enum variant variant)
{
    static const char *const suffixes[] = {"", "-again"};
    for (unsigned i = 0; i < ARRAY_LEN(suffixes); i++) {
        char path[sizeof(here.nested)];
        snprintf(path, sizeof(path), "%s-%" PRIu64 "-%d%s", here.directory, here.op, variant,
                 suffixes[i]);
        remove_tree(path);
    }
}

static void look_at_state(enum variant variant)
{
    here.variant = variant;
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) run_state();
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) abort();
    }
    if (WIFSIGNALED(status) || (WEXITSTATUS(status) != 0 && !totals->has_failed))
        store_check_fail("the recovery %s: %s %d",
                         WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "does not end"
                                                                            : "died",
                         WIFSIGNALED(status) ? "signal" : "exit status",
                         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    remove_states(variant);
    atomic_fetch_add(&totals->states, 1);
    if (totals->has_failed) {
        remove_tree(here.directory);
        _exit(1);
    }
}

/* --- histories --- */

static bool has_faults(void)
{
    return mix(here.seed + 5) % 4 == 0;
}

static int some_fault(enum disk_op op)
{
    static const unsigned apart[] = {
        [DISK_WRITE] = 300, [DISK_SIZE] = 30, [DISK_NAME] = 60, [DISK_SYNC] = 400};
    uint64_t random = mix(here.seed * 13 + here.op);
    if (!has_faults() || random % apart[op] != 0) return 0;
    return (random >> 40) % 4 == 0 ? EIO : ENOSPC;
}

static int on_change(enum disk_op op)
{
    here.op++;
    bool is_looked_at =
        options.has_op ? here.op == options.op : mix(here.seed * 7 + here.op) % OPS_APART == 0;
    if (is_looked_at && (options.has_op || totals->states < options.states)) {
        for (enum variant variant = KEEP_NOTHING; variant < FLIP_BYTE; variant++)
            look_at_state(variant);
        if (options.has_op || mix(here.op) % 4 == 0) look_at_state(FLIP_BYTE);
    }
    return some_fault(op);
}

NORETURN static void run_history(uint64_t seed)
{
    here.seed = seed;
    if (!options.is_loud) {
        int log = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (log < 0 || dup2(log, STDERR_FILENO) < 0) abort();
    }
    sim_begin(seed, 0, 0);
    disk_model_hooks =
        (struct disk_model_hooks){.before = on_change, .ignores_syncs = options.ignores_syncs};
    disk_model_begin(here.directory);
    store_history_run(here.directory, ACTIONS_MAX / 4 + (unsigned)sim_below(ACTIONS_MAX));
    disk_model_hooks.before = NULL;
    atomic_fetch_add(&totals->histories, 1);
    atomic_fetch_add(&totals->operations, here.op);
    atomic_fetch_add(&totals->messages, history.facts->count);
    _exit(0);
}

static void make_root(void)
{
    /* In memory, where there is enough of it: containers may have very little. */
    struct statvfs memory;
    bool has_memory = access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &memory) == 0 &&
                      (uint64_t)memory.f_bavail * memory.f_frsize >= MEMORY_BYTES_MIN;
    char path[64];
    const char *base = has_memory ? "/dev/shm" : getcwd(path, sizeof(path));
    if (base == NULL) exit(2);
    snprintf(here.directory, sizeof(here.directory), "%.60s/postern-states-XXXXXX", base);
    if (mkdtemp(here.directory) == NULL) {
        perror(here.directory);
        exit(2);
    }
}

static void run_in_child(uint64_t seed)
{
    make_root();
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) run_history(seed);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) abort();
    }
    here.seed = seed;
    if ((WIFSIGNALED(status) || WEXITSTATUS(status) != 0) &&
        !atomic_exchange(&totals->has_failed, true))
        snprintf(totals->failure, sizeof(totals->failure),
                 "VIOLATION: the store died at work: %s %d; again: crash_states --history %" PRIu64
                 " --loud",
                 WIFSIGNALED(status) ? "signal" : "exit status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), seed);
    remove_tree(here.directory);
}

static void work(uint64_t first)
{
    for (uint64_t i = 0; !totals->has_failed; i++) {
        run_in_child(options.has_history ? options.history : mix(first + i) >> 16);
        if (options.has_history || totals->states >= options.states) return;
    }
}

/* --- the program --- */

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {{"states", required_argument, NULL, 's'},
                                          {"history", required_argument, NULL, 'h'},
                                          {"op", required_argument, NULL, 'o'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"mutate", required_argument, NULL, 'm'},
                                          {"loud", no_argument, NULL, 'l'},
                                          {NULL, 0, NULL, 0}};
    options.states = 2000;
    options.jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (name) {
        case 's':
            options.states = strtoull(optarg, NULL, 10);
            break;
        case 'h':
            options.history = strtoull(optarg, NULL, 10);
            options.has_history = true;
            options.jobs = 1;
            break;
        case 'o':
            options.op = strtoull(optarg, NULL, 10);
            options.has_op = true;
            break;
        case 'j':
            options.jobs = (unsigned)MAX(1L, strtol(optarg, NULL, 10));
            break;
        case 'm':
            options.ignores_syncs = strcmp(optarg, "no-sync") == 0;
            history.acks_early = strcmp(optarg, "ack-early") == 0;
            if (!options.ignores_syncs && !history.acks_early) exit(2);
            break;
        case 'l':
            options.is_loud = true;
            break;
        default:
            exit(2);
        }
    }
    if (options.has_history) options.states = UINT64_MAX;
}

int main(int argc, char **argv)
{
    static struct facts facts;
    history.facts = &facts;
    read_options(argc, argv);
    totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (totals == MAP_FAILED) abort();
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t fresh = mix((uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec);
    for (unsigned i = 0; i < options.jobs; i++) {
        pid_t pid = fork();
        if (pid < 0) abort();
        if (pid > 0) continue;
        work(fresh + i * 1000000000ull);
        exit(0);
    }
    int status, worst = 0;
    while (wait(&status) > 0)
        worst |= status;
    if (totals->has_failed) printf("%s\n", totals->failure);
    printf("%" PRIu64 " crash states (%" PRIu64 " after a crash within the recovery) of %" PRIu64
           " histories with %" PRIu64 " changes of files and %" PRIu64 " messages; %" PRIu64
           " messages found and delivered\n"
           "%" PRIu64 " states with a wrong byte, %" PRIu64
           " of these in a message that was left\n",
           totals->states, totals->nested, totals->histories, totals->operations, totals->messages,
           totals->found, totals->flips, totals->flips_noticed);
    return totals->has_failed ? 1 : worst != 0 ? 2 : 0;
}
