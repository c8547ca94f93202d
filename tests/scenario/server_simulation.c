/* server_simulation.c - the whole server in a simulated world, life after life, from one seed.
 *
 *     server_simulation [--hours N] [--seed N] [--jobs N] [--loud] [--disk-faults] [--twice]
 *                       [--lying-disk] [--no-sync]
 *
 * A run of a seed is some lives that end with a crash, a failed sync or a drain, at any completion,
 * and a last one in which all is well, until the queue is empty. Then every message that got 250
 * must have been delivered or its sender told, every one that was refused must not, and copies must
 * be explained by crashes and cut connections. A violation prints its seed; --seed runs it again,
 * the same in every step, and --loud shows the server's log. */
#include "tests/scenario/life.h"
#include "tests/scenario/world.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIVES_MAX 12
#define MEMORY_BYTES_MIN (1ull << 30)
#define START_NS (1000 * NS_PER_S)
#ifndef POSTERN_COMMIT
#define POSTERN_COMMIT "unknown"
#endif

struct ledger *ledger;

struct totals {
    uint64_t seeds, lives, crashes, fatals, completions, messages, acked, refused, delivered,
        copies, bounced;
    double hours, hours_wanted;
    uint64_t failed_seed;
    bool has_failed;
    char failure[1100];
};

struct options {
    double hours;
    uint64_t seed;
    bool has_seed, is_loud, has_disk_faults, has_lying_disk, ignores_syncs, is_checked_twice;
    unsigned jobs;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* --- one run of a seed --- */

static struct life_plan plan_life(uint64_t seed, unsigned nth, unsigned count,
                                  const struct options *options)
{
    uint64_t random = mix(seed * 1000003 + nth);
    struct life_plan plan = {
        .seed = random,
        .is_last = nth + 1 == count,
        .is_loud = options->is_loud,
        .ignores_syncs = options->ignores_syncs,
        .has_lying_disk = options->has_lying_disk,
        .has_disk_faults = options->has_disk_faults || mix(seed) % 4 == 0,
        .client_count = (unsigned)(mix(random) % 30),
        .span_ns = NS_PER_S << mix(random + 1) % 15, /* to nine hours */
    };
    /* A crash at any completion, the early ones, of the recovery itself, as likely as late ones. */
    if (!plan.is_last && mix(random + 2) % 4 != 0)
        plan.crash_after = 1 + mix(random + 3) % (1ull << (3 + mix(random + 4) % 12));
    return plan;
}

static enum life_end live(const struct life_plan *plan)
{
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) life_run(plan);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) abort();
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) < LIFE_ENDS)
        return (enum life_end)WEXITSTATUS(status);
    snprintf(ledger->failure, sizeof(ledger->failure), "the server died: %s %d",
             WIFSIGNALED(status) ? "signal" : "exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return LIFE_VIOLATED;
}

static bool check_rcpt(const struct message_fact *message, uint32_t number, unsigned index)
{
    const struct rcpt_fact *rcpt = &message->rcpts[index];
    const char *domain = world_domain_names[rcpt->domain];
    unsigned most = 1 + rcpt->doubts + (unsigned)(ledger->crashes + ledger->fatals);
    const char *wrong = NULL;
    bool is_owed = message->fate == FATE_ACKED && rcpt->is_accepted;
    if (is_owed && rcpt->delivered == 0 && rcpt->bounced == 0 && message->has_sender)
        wrong = "LOST: neither delivered nor bounced";
    bool must_arrive = rcpt->domain == DOMAIN_GOOD || rcpt->domain == DOMAIN_BOX;
    if (is_owed && rcpt->delivered == 0 && must_arrive && rcpt->bounced == 0)
        wrong = "LOST: not delivered";
    if (message->fate == FATE_REFUSED && rcpt->delivered + rcpt->bounced > 0)
        wrong = "refused, and delivered or bounced";
    if (rcpt->delivered > most) wrong = "too many copies";
    if (wrong == NULL) return true;
    snprintf(ledger->failure, sizeof(ledger->failure),
             "message %08x (%s, %u bytes) to r%u@%s: %s; delivered %u, in doubt %u, bounced %u, "
             "crashes %" PRIu64,
             number, message->fate == FATE_ACKED ? "250" : "no 250", message->bytes, index, domain,
             wrong, rcpt->delivered, rcpt->doubts, rcpt->bounced, ledger->crashes);
    return false;
}

static bool check_ledger(struct totals *totals)
{
    for (uint32_t i = 0; i < ledger->message_count; i++) {
        const struct message_fact *message = &ledger->messages[i];
        totals->acked += message->fate == FATE_ACKED;
        totals->refused += message->fate == FATE_REFUSED;
        for (unsigned j = 0; j < message->rcpt_count; j++) {
            const struct rcpt_fact *rcpt = &message->rcpts[j];
            if (!check_rcpt(message, i, j)) return false;
            totals->delivered += rcpt->delivered > 0;
            totals->copies += rcpt->delivered > 1 ? rcpt->delivered - 1u : 0;
            totals->bounced += rcpt->bounced > 0;
        }
    }
    totals->messages += ledger->message_count;
    return true;
}

static int remove_one(const char *path, const struct stat *stat_of, int kind, struct FTW *walk)
{
    (void)stat_of;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void make_directory(void)
{
    /* In memory, where there is enough of it: containers may have very little. */
    struct statvfs memory;
    bool has_memory = access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &memory) == 0 &&
                      (uint64_t)memory.f_bavail * memory.f_frsize >= MEMORY_BYTES_MIN;
    char here[128];
    const char *base = has_memory ? "/dev/shm" : getcwd(here, sizeof(here));
    if (base == NULL) exit(2);
    snprintf(ledger->directory, sizeof(ledger->directory), "%s/postern-simulation-XXXXXX", base);
    if (mkdtemp(ledger->directory) == NULL) {
        perror(ledger->directory);
        exit(2);
    }
}

/* The fingerprint of the run, for comparing two. False: a violation, in ledger->failure. */
static bool run_seed(uint64_t seed, const struct options *options, struct totals *totals)
{
    memset(ledger, 0, sizeof(*ledger));
    make_directory();
    ledger->now_ns = START_NS;
    unsigned count = 2 + (unsigned)(mix(seed + 7) % (LIVES_MAX - 1));
    enum life_end end = LIFE_DRAINED;
    for (unsigned i = 0; i < count && end != LIFE_VIOLATED; i++) {
        struct life_plan plan = plan_life(seed, i, count, options);
        char before[sizeof(ledger->directory)];
        memcpy(before, ledger->directory, sizeof(before));
        end = live(&plan);
        if (strcmp(before, ledger->directory) != 0)
            nftw(before, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        ledger->lives++;
        ledger->crashes += end == LIFE_CRASHED;
        ledger->fatals += end == LIFE_FATAL;
        /* The world goes on while nobody serves. */
        ledger->now_ns += NS_PER_S;
        ledger->wall_ms += 1000;
    }
    bool is_good = end == LIFE_DRAINED && check_ledger(totals);
    if (is_good == false && ledger->failure[0] == '\0')
        snprintf(ledger->failure, sizeof(ledger->failure), "the last life did not end by itself");
    totals->lives += ledger->lives;
    totals->crashes += ledger->crashes;
    totals->fatals += ledger->fatals;
    totals->completions += ledger->completions;
    totals->hours += (double)(ledger->now_ns - START_NS) / 3600e9;
    totals->seeds++;
    nftw(ledger->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return is_good;
}

static bool run_and_compare(uint64_t seed, const struct options *options, struct totals *totals)
{
    if (!run_seed(seed, options, totals)) return false;
    if (!options->is_checked_twice) return true;
    uint64_t hash = ledger->hash;
    struct totals again = {0};
    if (!run_seed(seed, options, &again)) return false;
    if (ledger->hash == hash) return true;
    snprintf(ledger->failure, sizeof(ledger->failure), "two runs of the seed differ");
    return false;
}

/* --- many --- */

static void work(struct totals *totals, uint64_t first, const struct options *options)
{
    ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ledger == MAP_FAILED) abort();
    for (uint64_t i = 0; totals->hours < totals->hours_wanted || i == 0; i++) {
        uint64_t seed = options->has_seed ? options->seed : mix(first + i) >> 16;
        if (!run_and_compare(seed, options, totals)) {
            totals->has_failed = true;
            totals->failed_seed = seed;
            memcpy(totals->failure, ledger->failure, sizeof(ledger->failure));
            return;
        }
        if (options->has_seed) return;
    }
}

static int report(const struct totals *of, const struct options *options)
{
    unsigned jobs = options->jobs;
    struct totals all = {0};
    int status = 0;
    for (unsigned i = 0; i < jobs; i++) {
        const struct totals *t = &of[i];
        all.seeds += t->seeds;
        all.lives += t->lives;
        all.crashes += t->crashes;
        all.fatals += t->fatals;
        all.completions += t->completions;
        all.messages += t->messages;
        all.acked += t->acked;
        all.refused += t->refused;
        all.delivered += t->delivered;
        all.copies += t->copies;
        all.bounced += t->bounced;
        all.hours += t->hours;
        if (!t->has_failed) continue;
        printf("VIOLATION: %s\n  commit %s; again: server_simulation --seed %" PRIu64
               "%s%s --loud\n",
               t->failure, POSTERN_COMMIT, t->failed_seed,
               options->has_disk_faults ? " --disk-faults" : "",
               options->has_lying_disk  ? " --lying-disk"
               : options->ignores_syncs ? " --no-sync"
                                        : "");
        status = 1;
    }
    printf("%.0f simulated hours, %" PRIu64 " seeds, %" PRIu64 " lives, %" PRIu64
           " crashes, %" PRIu64 " failed syncs, %" PRIu64 " completions\n"
           "%" PRIu64 " messages: %" PRIu64 " got 250, %" PRIu64
           " were refused or cut; recipients: "
           "%" PRIu64 " delivered, %" PRIu64 " copies, %" PRIu64 " bounced\n",
           all.hours, all.seeds, all.lives, all.crashes, all.fatals, all.completions, all.messages,
           all.acked, all.refused, all.delivered, all.copies, all.bounced);
    return status;
}

static struct options read_options(int argc, char **argv)
{
    struct options options = {.hours = 100, .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    static const struct option names[] = {{"hours", required_argument, NULL, 'h'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"loud", no_argument, NULL, 'l'},
                                          {"disk-faults", no_argument, NULL, 'd'},
                                          {"twice", no_argument, NULL, 't'},
                                          {"lying-disk", no_argument, NULL, 'y'},
                                          {"no-sync", no_argument, NULL, 'n'},
                                          {NULL, 0, NULL, 0}};
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (name) {
        case 'h':
            options.hours = strtod(optarg, NULL);
            break;
        case 's':
            options.seed = strtoull(optarg, NULL, 10);
            options.has_seed = true;
            options.jobs = 1;
            break;
        case 'j':
            options.jobs = (unsigned)MAX(1L, strtol(optarg, NULL, 10));
            break;
        case 'l':
            options.is_loud = true;
            break;
        case 'd':
            options.has_disk_faults = true;
            break;
        case 'n':
            options.ignores_syncs = true;
            break;
        case 'y':
            options.has_lying_disk = true;
            break;
        case 't':
            options.is_checked_twice = true;
            break;
        default:
            exit(2);
        }
    }
    return options;
}

/* Addresses are the same in every run, so that nothing can depend on them unnoticed. */
static void fix_addresses(char **argv)
{
    int now = personality(0xffffffff);
    if (now < 0 || (now & ADDR_NO_RANDOMIZE) != 0) return;
    if (personality((unsigned long)now | ADDR_NO_RANDOMIZE) < 0) return;
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    fix_addresses(argv);
    struct options options = read_options(argc, argv);
    struct totals *totals = mmap(NULL, options.jobs * sizeof(*totals), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (totals == MAP_FAILED) abort();
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t fresh = mix((uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec);
    for (unsigned i = 0; i < options.jobs; i++) {
        totals[i].hours_wanted = options.hours / options.jobs;
        pid_t pid = fork();
        if (pid < 0) abort();
        if (pid > 0) continue;
        work(&totals[i], fresh + i * 1000000000ull, &options);
        exit(0);
    }
    int status = 0, worst = 0;
    while (wait(&status) > 0)
        worst |= status;
    int result = report(totals, &options);
    return worst != 0 ? 2 : result;
}
