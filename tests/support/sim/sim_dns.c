/* sim_dns.c - c-ares without sockets: what it would send is answered by the test, in its time.
 *
 * Only what touches the network is replaced; the rest is the library's own. */
#include "tests/support/sim/sim_internal.h"

#include "ring/base/memory.h"

#include <ares.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

size_t (*sim_dns_answer)(struct slice query, uint8_t *into, size_t cap);

#define ANSWER_BYTES_MAX 4096
#define TIMEOUT_NS (10 * NS_PER_S)

struct question {
    struct list node;
    struct sim_event event;
    struct loop *loop;
    struct ring_op op;
    ares_channel channel;
    ares_callback callback;
    void *argument;
    int status;
    size_t len;
    uint8_t answer[ANSWER_BYTES_MAX];
};

static struct list questions = {&questions, &questions};

static void finish(struct question *q, int status)
{
    list_remove(&q->node);
    sim_cancel(&q->event);
    bool has_answer = status == ARES_SUCCESS;
    q->callback(q->argument, status, 0, has_answer ? q->answer : NULL,
                has_answer ? (int)q->len : 0);
    free(q);
}

/* In a turn of the loop, as the library would call back. */
static void on_answer(struct sim_event *event)
{
    struct question *q = CONTAINER_OF(event, struct question, event);
    struct loop *loop = q->loop, *outer = sim.turning;
    sim.turning = loop;
    finish(q, q->status);
    sim.turning = outer;
    sim_loop_due(loop);
}

void ares_send(ares_channel channel, const unsigned char *bytes, int len, ares_callback callback,
               void *argument)
{
    ASSERT(sim.turning != NULL);
    struct question *q = xcalloc(1, sizeof(*q));
    *q = (struct question){.loop = sim.turning,
                           .channel = channel,
                           .callback = callback,
                           .argument = argument,
                           .status = ARES_SUCCESS};
    q->event.run = on_answer;
    list_push_back(&questions, &q->node);
    q->len =
        sim_dns_answer(slice_of((const char *)bytes, (size_t)len), q->answer, sizeof(q->answer));
    uint64_t delay_ns = sim_between(sim_faults.dns_min_ns, sim_faults.dns_max_ns);
    if (sim_chance(sim_faults.dns_timeout) || q->len == 0) {
        q->status = ARES_ETIMEOUT;
        delay_ns = TIMEOUT_NS;
    } else if (sim_chance(sim_faults.dns_failed)) {
        q->answer[3] = (uint8_t)((q->answer[3] & 0xF0) | 2); /* SERVFAIL */
        q->answer[6] = q->answer[7] = 0;
        q->len = MIN(q->len, (size_t)len);
    }
    sim_after(&q->event, delay_ns);
}

static void end_all(ares_channel channel, int status)
{
    struct question *q;
    LIST_FOR_EACH(q, &questions, struct question, node)
    {
        if (q->channel == channel) finish(q, status);
    }
}

void ares_cancel(ares_channel channel)
{
    end_all(channel, ARES_ECANCELLED);
}

void ares_destroy(ares_channel channel)
{
    end_all(channel, ARES_EDESTRUCTION);
    void *symbol = dlsym(RTLD_NEXT, "ares_destroy");
    void (*destroy)(ares_channel channel);
    ASSERT(symbol != NULL);
    memcpy(&destroy, &symbol, sizeof(destroy)); /* ISO C has no cast for this */
    destroy(channel);
}

int ares_getsock(ares_channel channel, ares_socket_t *sockets, int count)
{
    (void)channel;
    (void)sockets;
    (void)count;
    return 0;
}

struct timeval *ares_timeout(ares_channel channel, struct timeval *most, struct timeval *tv)
{
    (void)channel;
    (void)tv;
    return most;
}

void ares_process_fd(ares_channel channel, ares_socket_t readable, ares_socket_t writable)
{
    (void)channel;
    (void)readable;
    (void)writable;
}

void sim_dns_end(void)
{
    struct list *node;
    while ((node = list_pop_front(&questions)) != NULL)
        free(LIST_ENTRY(node, struct question, node));
}
