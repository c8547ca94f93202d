/* life.c - starts the gateway in the simulated world, lets it live, and ends it. */
#include "tests/scenario/life.h"

#include "ring/base/memory.h"
#include "server/auth/throttle.h"
#include "server/core/gateway.h"
#include "tests/scenario/world.h"
#include "tests/support/disk_model.h"
#include "tests/support/sim/sim.h"
#include "tests/support/sim/sim_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES (1u << 20)
#define SESSIONS_MAX 2000
#define DRAIN_MS 30000
#define HEAL_NS (20ull * 24 * 3600 * NS_PER_S) /* by then everything has expired */
#define SETTLE_NS (3600 * NS_PER_S)

struct life {
    struct life_plan plan;
    struct spool *spool;
    struct generation *generation;
    struct ingress_shared shared;
    struct delivery_slots *slots;
    struct endpoint address;
    struct gateway *gateway;
    uint64_t completions;
    bool is_fatal;
};
static struct life life;

/* --- ends --- */

static void save_clocks(void)
{
    ledger->now_ns = sim_now_ns();
    ledger->wall_ms = sim_wall_ms();
    ledger->completions += life.completions;
}

static _Noreturn void end_as(enum life_end how)
{
    save_clocks();
    fflush(stderr);
    _exit(how);
}

_Noreturn void ledger_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ledger->failure, sizeof(ledger->failure), format, arguments);
    va_end(arguments);
    end_as(LIFE_VIOLATED);
}

/* The next life finds what the disk had. */
static void lose_power(void)
{
    static const unsigned shares[] = {0, 50, 100};
    char next[sizeof(ledger->directory)];
    snprintf(next, sizeof(next), "%s", ledger->directory);
    char *dot = strrchr(next, '.');
    unsigned nth = dot != NULL ? (unsigned)strtoul(dot + 1, NULL, 10) : 0;
    if (dot != NULL) *dot = '\0';
    size_t len = strlen(next);
    snprintf(next + len, sizeof(next) - len, ".%u", nth + 1);
    sim_hooks = (struct sim_hooks){0};
    if (mkdir(next, 0700) != 0) ledger_fail("cannot make %s", next);
    disk_model_crash(next, sim_below, shares[sim_below(ARRAY_LEN(shares))]);
    snprintf(ledger->directory, sizeof(ledger->directory), "%s", next);
}

static void on_completion(void)
{
    life.completions++;
    if (life.plan.crash_after == 0 || life.completions < life.plan.crash_after) return;
    if (life.gateway != NULL) sim_file_crash(gateway_loop(life.gateway));
    lose_power();
    end_as(LIFE_CRASHED);
}

/* What happens when is the fingerprint of a run. */
static void on_step(void)
{
    ledger->hash = (ledger->hash ^ sim_now_ns()) * 0x100000001b3ull;
}

static void on_fatal(void *owner, int err)
{
    (void)owner;
    (void)err;
    life.is_fatal = true;
}

/* --- begin --- */

static void need(int err, const char *what, const char *why)
{
    if (err != 0) ledger_fail("%s: %s %s", what, err_str(err), why);
}

static struct config *read_config(void)
{
    char text[4096];
    struct config *config;
    struct config_problems problems = {0};
    world_config(ledger->directory, text, sizeof(text));
    int err = config_parse(slice_of_cstr(text), "simulated", "/", NULL, &config, &problems);
    need(err, "configuration", problems.count > 0 ? problems.lines[0] : "");
    return config;
}

static void open_gateway(void)
{
    char why[512] = "";
    struct config *config = read_config();
    struct config_problems problems = {0};
    need(spool_open(config->spool.path, &life.spool, why, sizeof(why)), "spool", why);
    need(spool_make_shards(life.spool, 1), "shards", "");
    life.address = config->listeners[0].addresses[0];
    need(generation_create(config, NULL, &life.generation, &problems), "generation", "");
    life.shared.clients = clients_create();
    life.shared.throttle = auth_throttle_create(0);
    life.shared.listener_connections = xcalloc(1, sizeof(uint64_t));
    life.shared.listener_handshakes = xcalloc(1, sizeof(uint64_t));
    life.slots = delivery_slots_create();
    const struct gateway_options options = {
        .count = 1,
        .generation = life.generation,
        .spool = life.spool,
        .shared = &life.shared,
        .slots = life.slots,
        .addresses = &life.address,
        .session_count_max = SESSIONS_MAX,
        .segment_bytes = SEGMENT_BYTES,
        .on_fatal = on_fatal,
    };
    int err = gateway_open(&options, &life.gateway, why, sizeof(why));
    /* A disk that fails now may let nobody start: it is tried again. */
    if (err != 0 && life.plan.has_disk_faults) end_as(LIFE_FATAL);
    need(err, "gateway", why);
    gateway_start(life.gateway);
    loop_wake(gateway_loop(life.gateway));
}

/* --- the end of a good life: nothing is left of it --- */

static void close_gateway(void)
{
    struct loop *loop = gateway_loop(life.gateway);
    gateway_drain(life.gateway, DRAIN_MS);
    need(loop_run(loop), "loop", "");
    need(gateway_settle(life.gateway), "settle", "");
    gateway_close(life.gateway);
    life.gateway = NULL;
    clients_end();
    world_end();
    delivery_slots_destroy(life.slots);
    clients_destroy(life.shared.clients);
    auth_throttle_destroy(life.shared.throttle);
    free(life.shared.listener_connections);
    free(life.shared.listener_handshakes);
    generation_destroy(life.generation);
    spool_close(life.spool);
    save_clocks();
    sim_end();
}

/* --- its moods --- */

static void set_moods(void)
{
    world_mood = (struct world_mood){0};
    if (life.plan.has_lying_disk) sim_faults.lost_write = 50000;
    if (life.plan.is_last) return;
    /* Each kind of trouble is there in about half of the lives, seldom or often. */
    static const uint32_t chances[] = {0, 0, 0, 1000, 20000, 100000};
#define SOME() chances[sim_below(ARRAY_LEN(chances))]
    world_mood = (struct world_mood){
        .hop_refuses = SOME(),
        .hop_defers = SOME() * 3,
        .hop_cuts = SOME(),
        .hop_takes_and_cuts = SOME(),
        .hop_hangs = SOME() / 4,
        .client_cuts = SOME(),
    };
    sim_faults.short_read = SOME();
    sim_faults.short_write = SOME();
    sim_faults.reset = SOME() / 10;
    sim_faults.refused = SOME();
    sim_faults.connect_timeout = SOME();
    sim_faults.no_buffers = SOME();
    sim_faults.accept_error = SOME();
    sim_faults.dns_failed = SOME();
    sim_faults.dns_timeout = SOME();
    if (sim_below(4) == 0) sim_faults.disk_max_ns = 10 * NS_PER_S;
    if (sim_below(4) == 0) sim_faults.worker_max_ns = 10 * NS_PER_S;
    if (sim_below(4) == 0) sim_faults.network_max_ns = 2 * NS_PER_S;
    if (life.plan.has_disk_faults) {
        sim_faults.write_error = SOME() / 10;
        sim_faults.write_errno = sim_below(2) == 0 ? ENOSPC : EIO;
        sim_faults.sync_error = SOME() / 100;
        sim_faults.open_error = SOME();
    }
#undef SOME
}

static uint64_t queued(void)
{
    const struct queue_counters *counters = queue_counters(gateway_view(life.gateway).queue);
    if (counter_get(&counters->corrupt) > 0) ledger_fail("a message was set aside as corrupt");
    if (counter_get(&counters->held) > 0) ledger_fail("a message is held");
    return counter_get(&counters->queued);
}

static void end_fatal(void)
{
    uint64_t until_ns = sim_now_ns() + 500 * NS_PER_MS;
    sim_run_until(until_ns);
    if (life.gateway != NULL) sim_file_crash(gateway_loop(life.gateway));
    end_as(LIFE_FATAL);
}

/* Until the queue is empty; it must come to that. */
static void heal(void)
{
    uint64_t until_ns = sim_now_ns() + HEAL_NS;
    do {
        if (sim_now_ns() > until_ns)
            ledger_fail("%" PRIu64 " messages are still queued after all has been well for long",
                        queued());
        sim_run_until(sim_now_ns() + 60 * NS_PER_S);
    } while (queued() > 0 || clients_open() > 0);
}

_Noreturn void life_run(const struct life_plan *plan)
{
    life = (struct life){.plan = *plan};
    if (!plan->is_loud) {
        int log = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (log < 0 || dup2(log, STDERR_FILENO) < 0) abort();
    }
    sim_begin(plan->seed, ledger->now_ns, ledger->wall_ms);
    set_moods();
    sim_hooks.completion = on_completion;
    sim_hooks.step = on_step;
    uint64_t begun_ns = sim_now_ns();
    disk_model_hooks.ignores_syncs = plan->ignores_syncs;
    disk_model_begin(ledger->directory);
    world_begin();
    open_gateway();
    ledger->restart_ns_max = MAX(ledger->restart_ns_max, sim_now_ns() - begun_ns);
    clients_begin(&life.address, plan->client_count, plan->span_ns);

    uint64_t until_ns = sim_now_ns() + plan->span_ns + SETTLE_NS / 4;
    while (sim_now_ns() < until_ns && !life.is_fatal) {
        if (!sim_step()) break;
        queued();
    }
    if (life.is_fatal) end_fatal();
    if (plan->is_last) heal();
    sim_hooks.completion = NULL; /* from here on it is let be */
    close_gateway();
    if (plan->is_last) mailboxes_count();
    exit(LIFE_DRAINED); /* with the sanitizers' look at what is left */
}
