/* load_idle.c - see load_idle.h. Belongs to one core. */
#include "bench/load_idle.h"

#include "bench/load_link.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define QUIET_MS_MAX 10000         /* without one more that is up */
#define LOOPBACK_FIRST 0x7f000001u /* 127.0.0.1 */

struct idle_link {
    struct load_link link;
    struct load_idle *idle;
    bool is_held;
};

struct load_idle {
    struct load_core *core;
    struct idle_link *links;
    uint32_t count, opened, opening, open; /* open: not yet down again */
    uint32_t opening_max;
    bool is_ready, is_stopping, is_over;
    struct load_idle_counts counts;
    struct timer quiet_timer;
};

static struct idle_link *idle_link_of(struct load_link *link)
{
    return CONTAINER_OF(link, struct idle_link, link);
}

/* One client address has some 28 000 ports for one server (ip_local_port_range). When there are
 * more connections than that, and the server is on this machine, they come from several. */
static const struct endpoint *source_of(const struct load_idle *idle, uint32_t index,
                                        struct endpoint *memory)
{
    const struct load_options *options = idle->core->options;
    const struct endpoint *to = &options->to;
    if (options->idle <= options->idle_per_address || to->addr.any.sa_family != AF_INET)
        return NULL;
    if ((ntohl(to->addr.v4.sin_addr.s_addr) >> 24) != 127) return NULL;
    uint64_t number = (uint64_t)index * options->cores + idle->core->index;
    uint32_t address = LOOPBACK_FIRST + (uint32_t)(number / options->idle_per_address);
    *memory = (struct endpoint){.addr_len = sizeof(struct sockaddr_in)};
    memory->addr.v4.sin_family = AF_INET;
    memory->addr.v4.sin_addr.s_addr = htonl(address);
    return memory;
}

static void open_more(struct load_idle *idle)
{
    while (!idle->is_ready && idle->opened < idle->count && idle->opening < idle->opening_max) {
        uint32_t index = idle->opened++;
        struct endpoint memory;
        idle->opening++;
        idle->open++;
        load_link_open(&idle->links[index].link, source_of(idle, index, &memory));
    }
}

static void become_ready(struct load_idle *idle)
{
    if (idle->is_ready) return;
    idle->is_ready = true;
    timer_disarm(&idle->quiet_timer);
    idle->counts.refused += idle->count - idle->opened; /* not tried any more */
    load_core_on_idle_ready(idle->core);
}

static void look_for_end(struct load_idle *idle)
{
    if (idle->opening == 0 && idle->opened == idle->count) become_ready(idle);
    if (idle->is_stopping && idle->open == 0 && !idle->is_over) {
        idle->is_over = true;
        load_core_on_idle_over(idle->core);
    }
}

static void arm_quiet_timer(struct load_idle *idle)
{
    uint64_t limit_ms = idle->core->options->reply_timeout_ns / NS_PER_MS;
    timer_arm(idle->core->loop, &idle->quiet_timer, MIN(limit_ms, (uint64_t)QUIET_MS_MAX));
}

static void idle_on_quiet(struct timer *timer)
{
    struct load_idle *idle = CONTAINER_OF(timer, struct load_idle, quiet_timer);
    load_core_note(idle->core, "no more idle connection came up: the server did not answer");
    idle->counts.refused += idle->count - idle->opened;
    idle->count = idle->opened;
    for (uint32_t i = 0; i < idle->opened; i++) {
        if (!idle->links[i].is_held) load_link_close(&idle->links[i].link);
    }
    look_for_end(idle);
}

static void idle_on_ready(struct load_link *link)
{
    struct idle_link *l = idle_link_of(link);
    l->is_held = true;
    l->idle->opening--;
    l->idle->counts.held++;
    if (!l->idle->is_ready) arm_quiet_timer(l->idle);
    open_more(l->idle);
    look_for_end(l->idle);
}

static void idle_on_reply(struct load_link *link, unsigned code, struct slice line)
{
    (void)code;
    load_link_lose_for(link, "the server ended an idle connection", line);
}

static void idle_on_sent(struct load_link *link)
{
    (void)link;
}

static void idle_on_closing(struct load_link *link)
{
    (void)link;
}

static void idle_on_down(struct load_link *link)
{
    struct idle_link *l = idle_link_of(link);
    struct load_idle *idle = l->idle;
    idle->open--;
    if (!l->is_held) {
        idle->opening--;
        idle->counts.refused++;
        if (!idle->is_stopping) open_more(idle);
    } else if (!idle->is_stopping) {
        l->is_held = false;
        idle->counts.held--;
        idle->counts.lost++;
        if (idle->counts.held == 0 && idle->is_ready) load_core_on_idle_lost(idle->core);
    }
    look_for_end(idle);
}

static const struct load_link_handler handler = {
    .on_ready = idle_on_ready,
    .on_reply = idle_on_reply,
    .on_sent = idle_on_sent,
    .on_closing = idle_on_closing,
    .on_down = idle_on_down,
};

struct load_idle *load_idle_start(struct load_core *core, uint32_t count)
{
    ASSERT(count > 0);
    struct load_idle *idle = xcalloc(1, sizeof(*idle));
    idle->core = core;
    idle->count = count;
    idle->counts.wanted = count;
    idle->opening_max = MAX(LOAD_IDLE_OPENING_MAX / core->options->cores, 1u);
    idle->links = xcalloc(count, sizeof(idle->links[0]));
    for (uint32_t i = 0; i < count; i++) {
        idle->links[i].idle = idle;
        load_link_init(&idle->links[i].link, core, &handler);
        idle->links[i].link.is_silent = true;
    }
    timer_init(&idle->quiet_timer, idle_on_quiet);
    arm_quiet_timer(idle);
    open_more(idle);
    return idle;
}

void load_idle_stop(struct load_idle *idle)
{
    if (idle->is_stopping) return;
    idle->is_stopping = true;
    timer_disarm(&idle->quiet_timer);
    idle->counts.refused += idle->count - idle->opened;
    idle->count = idle->opened;
    idle->is_ready = true;
    for (uint32_t i = 0; i < idle->opened; i++) {
        load_link_close(&idle->links[i].link);
    }
    look_for_end(idle);
}

struct load_idle_counts load_idle_counts(const struct load_idle *idle)
{
    return idle->counts;
}

void load_idle_finish(struct load_idle *idle)
{
    if (idle == NULL) return;
    ASSERT(idle->open == 0);
    free(idle->links);
    free(idle);
}
