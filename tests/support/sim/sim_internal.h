/* sim_internal.h - what the files of the simulation share. */
#pragma once

#include "tests/support/sim/sim.h"

#include "ring/loop.h"
#include "ring/timer.h"

struct sim {
    uint64_t now_ns;
    int64_t wall_ahead_ms; /* of the monotonic clock */
    uint64_t random;
    struct sim_event **heap; /* from 1 on */
    size_t heap_count, heap_cap;
    uint64_t sequence;
    struct list servers;   /* struct sim_server */
    struct list listeners; /* struct sim_listener */
    struct list sockets;   /* struct sim_socket: every one */
    struct loop *turning;  /* whose turn runs; NULL: none's */
    uint32_t handle_next;
    uint16_t port_next;
};
extern struct sim sim;

#define SIM_HANDLE_FIRST (1 << 24) /* above every descriptor: sockets of loops */

/* An operation of a loop on its way. It is freed when its completion has been run. */
struct sim_pending {
    struct sim_event event;
    struct list node; /* in loop.pending */
    struct loop *loop;
    struct ring_op *op;
    /* Carries the operation out, at its time; calls sim_complete(). */
    void (*carry_out)(struct sim_pending *pending);
    /* Asked to end early: what is called instead; NULL: it takes its time all the same. */
    void (*cancel)(struct sim_pending *pending);
    /* By kind. */
    int file, flags;
    uint32_t mode;
    void *into;
    const struct iovec *pieces;
    uint32_t piece_count;
    size_t bytes;
    uint64_t offset;
    bool is_synced;
    char *path, *path_to;
    void *owned; /* freed with it */
    struct sim_socket *socket;
    struct endpoint address;
    struct endpoint *peer_out;
};

struct sim_completion {
    struct ring_op *op;
    int result;
    uint16_t input;
    bool has_input, has_more;
};

struct loop {
    struct loop_options options;
    struct timer_wheel *timers;
    struct mailbox *mailbox;
    struct list hooks, pending;
    struct sim_completion *ready, *deferred, *deferred_now;
    size_t ready_count, ready_cap, deferred_count, deferred_cap, deferred_now_cap;
    struct sim_event turn;
    uint64_t turns;
    uint32_t inflight;
    bool is_stopping;
    char *inputs;
    uint16_t *free_inputs;
    uint32_t free_input_count;
    uint32_t socket_count;
    struct list sockets; /* struct sim_socket by loop_node */
};

/* A new operation in flight; the caller sets what it needs and arms the event, or keeps it. */
struct sim_pending *sim_pend(struct loop *loop, struct ring_op *op,
                             void (*carry_out)(struct sim_pending *pending));
/* Ends it with this result, in a turn of its loop that comes soon. */
void sim_complete(struct sim_pending *pending, int result);
/* A result of an operation that goes on (multishot). */
void sim_complete_more(struct sim_pending *pending, int result, uint16_t input);
/* The last result with a buffer. */
void sim_complete_input(struct sim_pending *pending, int result, uint16_t input);
/* The loop has something to do now. */
void sim_loop_due(struct loop *loop);
/* The operation that waits with `op`, or NULL. */
struct sim_pending *sim_find(struct loop *loop, const struct ring_op *op);

/* For loop_close(): a socket or a listener; false: it is a file. */
bool sim_net_close(struct loop *loop, int file);
void sim_net_end(void);
void sim_dns_end(void);
