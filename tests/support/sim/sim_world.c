/* sim_world.c - the clock, the numbers and the queue of events. */
#include "tests/support/sim/sim_internal.h"

#include "ring/base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct sim sim;
struct sim_faults sim_faults;
struct sim_hooks sim_hooks;

/* --- clocks --- */

#define SIM_START_NS (1000 * NS_PER_S)

uint64_t sim_now_ns(void)
{
    return sim.now_ns;
}

uint64_t sim_wall_ms(void)
{
    return (uint64_t)((int64_t)(sim.now_ns / NS_PER_MS) + sim.wall_ahead_ms);
}

void sim_step_wall(int64_t ms)
{
    sim.wall_ahead_ms += ms;
}

/* In the place of ring/base/clock.c. */
uint64_t clock_monotonic_ns(void)
{
    return sim.now_ns;
}

uint64_t clock_wall_ms(void)
{
    return sim_wall_ms();
}

/* --- numbers --- */

uint64_t sim_random(void)
{
    sim.random += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    uint64_t z = sim.random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t sim_below(uint64_t limit)
{
    ASSERT(limit > 0);
    return sim_random() % limit;
}

bool sim_chance(uint32_t per_million)
{
    return per_million > 0 && sim_below(1000000) < per_million;
}

uint64_t sim_between(uint64_t min_ns, uint64_t max_ns)
{
    ASSERT(min_ns > 0 && min_ns <= max_ns);
    if (min_ns == max_ns) return min_ns;
    double share = (double)(sim_random() >> 11) / (double)(1ull << 53);
    double ns = (double)min_ns * pow((double)max_ns / (double)min_ns, share);
    return (uint64_t)ns;
}

/* What the server takes for chance comes from the seed too. */
ssize_t getrandom(void *into, size_t bytes, unsigned flags)
{
    (void)flags;
    for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t number = sim_random();
        memcpy((char *)into + at, &number, MIN(bytes - at, sizeof(number)));
    }
    return (ssize_t)bytes;
}

/* --- events: a binary heap, by time and then by order of arming --- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static void put_at(size_t place, struct sim_event *event)
{
    sim.heap[place] = event;
    event->place = place;
}

static void sift_up(size_t place)
{
    struct sim_event *event = sim.heap[place];
    for (; place > 1 && is_before(event, sim.heap[place / 2]); place /= 2)
        put_at(place, sim.heap[place / 2]);
    put_at(place, event);
}

static void sift_down(size_t place)
{
    struct sim_event *event = sim.heap[place];
    for (;;) {
        size_t child = place * 2;
        if (child > sim.heap_count) break;
        if (child < sim.heap_count && is_before(sim.heap[child + 1], sim.heap[child])) child++;
        if (!is_before(sim.heap[child], event)) break;
        put_at(place, sim.heap[child]);
        place = child;
    }
    put_at(place, event);
}

void sim_cancel(struct sim_event *event)
{
    size_t place = event->place;
    if (place == 0) return;
    event->place = 0;
    struct sim_event *last = sim.heap[sim.heap_count--];
    if (last == event) return;
    put_at(place, last);
    sift_up(place);
    sift_down(last->place);
}

void sim_at(struct sim_event *event, uint64_t at_ns)
{
    sim_cancel(event);
    event->at_ns = MAX(at_ns, sim.now_ns);
    event->sequence = ++sim.sequence;
    if (sim.heap_count + 1 >= sim.heap_cap) {
        sim.heap_cap = MAX(sim.heap_cap * 2, (size_t)1024);
        sim.heap = xrealloc(sim.heap, sim.heap_cap * sizeof(sim.heap[0]));
    }
    put_at(++sim.heap_count, event);
    sift_up(sim.heap_count);
}

void sim_after(struct sim_event *event, uint64_t delay_ns)
{
    sim_at(event, sim.now_ns + delay_ns);
}

uint64_t sim_next_ns(void)
{
    return sim.heap_count > 0 ? sim.heap[1]->at_ns : UINT64_MAX;
}

bool sim_step(void)
{
    if (sim.heap_count == 0) return false;
    struct sim_event *event = sim.heap[1];
    sim_cancel(event);
    sim.now_ns = event->at_ns;
    event->run(event);
    if (sim_hooks.step != NULL) sim_hooks.step();
    return true;
}

void sim_run_until(uint64_t at_ns)
{
    while (sim_next_ns() <= at_ns)
        sim_step();
    sim.now_ns = MAX(sim.now_ns, at_ns);
}

/* --- begin, end --- */

void sim_begin(uint64_t seed, uint64_t now_ns, uint64_t wall_ms)
{
    ASSERT(sim.heap == NULL);
    sim = (struct sim){.random = seed, .now_ns = now_ns != 0 ? now_ns : SIM_START_NS};
    sim.wall_ahead_ms =
        (int64_t)(wall_ms != 0 ? wall_ms : SIM_START_WALL_MS) - (int64_t)(sim.now_ns / NS_PER_MS);
    list_init(&sim.servers);
    list_init(&sim.listeners);
    list_init(&sim.sockets);
    sim_faults = (struct sim_faults){
        .disk_min_ns = 20000,
        .disk_max_ns = 2 * NS_PER_MS,
        .network_min_ns = 20000,
        .network_max_ns = 5 * NS_PER_MS,
        .worker_min_ns = 5000,
        .worker_max_ns = NS_PER_MS,
        .dns_min_ns = 100000,
        .dns_max_ns = 50 * NS_PER_MS,
    };
    sim_hooks = (struct sim_hooks){0};
    sim_random(); /* seeds that are near each other part */
}

void sim_end(void)
{
    sim_net_end();
    sim_dns_end();
    free(sim.heap);
    sim = (struct sim){0};
}
