/* sim.h - a machine of its own for the server under test: clock, network, disk times, name server.
 *
 * Linked into a test program, these files stand in for the clock, for ring/loop.h, for
 * ring/worker.h, for getrandom() and for what c-ares sends. Everything runs in one thread, ordered
 * by one queue of events: the same seed gives the same run. Time passes only between events, so
 * that days of waiting cost nothing.
 *
 *     sim_begin(seed) -> loops, peers and events are made -> sim_step() ... -> sim_end()
 *
 * Sockets exist in memory only. Files are those of the real file system (in memory, and recorded by
 * disk_model.h, when a test wants to cut the power), but every operation takes its time and may
 * fail. A crash is the end of the process: sim_hooks.completion() does not return. */
#pragma once

#include "ring/base/clock.h"
#include "ring/base/endpoint.h"
#include "ring/base/list.h"
#include "ring/base/slice.h"

/* --- the world --- */

#define SIM_START_WALL_MS 1767225600000ull /* 2026-01-01, when nothing else is asked for */

/* `now_ns` and `wall_ms` are where the clocks begin: 0 for the defaults. One world at a time. */
void sim_begin(uint64_t seed, uint64_t now_ns, uint64_t wall_ms);
/* What is left of sockets and events is forgotten; loops must have been destroyed. */
void sim_end(void);

uint64_t sim_now_ns(void);
uint64_t sim_wall_ms(void);
/* The wall clock alone jumps (NTP, an operator). */
void sim_step_wall(int64_t ms);

uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit);                     /* 0 ... limit - 1 */
bool sim_chance(uint32_t per_million);                  /* no number is drawn for 0 */
uint64_t sim_between(uint64_t min_ns, uint64_t max_ns); /* each order of magnitude as often */

struct sim_event {
    uint64_t at_ns, sequence;
    size_t place; /* in the queue, from 1; 0: not in it */
    void (*run)(struct sim_event *event);
};
/* Arms it, or moves it. The event is embedded in what it is for. */
void sim_at(struct sim_event *event, uint64_t at_ns);
void sim_after(struct sim_event *event, uint64_t delay_ns);
void sim_cancel(struct sim_event *event);
/* Runs the next event. False: there is none. */
bool sim_step(void);
/* Runs all events up to then, and moves the clock there. */
void sim_run_until(uint64_t at_ns);
/* Of the next event; UINT64_MAX: there is none. */
uint64_t sim_next_ns(void);

/* --- faults --- */

/* Chances in a million for each operation, and the times that operations take. */
struct sim_faults {
    uint32_t short_read, short_write;             /* of files: less than asked for */
    uint32_t write_error, sync_error, open_error; /* of operations of the loop */
    uint32_t lost_write;               /* told to be done, and not done: a disk that lies */
    uint32_t reset;                    /* a connection is cut with each piece that is sent */
    uint32_t refused, connect_timeout; /* of loop_connect() */
    uint32_t no_buffers;               /* a multishot receive ends with ENOBUFS */
    uint32_t accept_error;             /* ECONNABORTED and EMFILE */
    uint32_t dns_failed, dns_timeout;
    uint64_t disk_min_ns, disk_max_ns;       /* of one operation */
    uint64_t network_min_ns, network_max_ns; /* of one piece on its way */
    uint64_t worker_min_ns, worker_max_ns;   /* from a wake to the work */
    uint64_t dns_min_ns, dns_max_ns;
    int write_errno; /* ENOSPC or EIO; 0: EIO */
};
extern struct sim_faults sim_faults; /* sim_begin() sets the times and clears the rest */

struct sim_hooks {
    void (*completion)(void); /* before each completion is carried out; may not return */
    void (*step)(void);       /* after each event */
};
extern struct sim_hooks sim_hooks;

/* --- peers: clients and next hops that are no loops --- */

struct sim_socket;

struct sim_peer {
    struct sim_socket *socket; /* NULL: not connected */
    /* Any of these may call sim_peer_send(), _close() and _abort(). */
    void (*on_connected)(struct sim_peer *peer); /* may be NULL */
    void (*on_data)(struct sim_peer *peer, struct slice bytes);
    /* The other side ended its half (0), or the connection is gone (-ERR_*): then `socket` is
     * NULL. */
    void (*on_end)(struct sim_peer *peer, int err);
};

/* Connects to a listening loop; on_connected() or on_end() tells. `from` is the peer's address. */
void sim_peer_connect(struct sim_peer *peer, const struct endpoint *to,
                      const struct endpoint *from);
void sim_peer_send(struct sim_peer *peer, struct slice bytes); /* copied */
void sim_peer_close(struct sim_peer *peer);                    /* after what was sent: FIN */
void sim_peer_abort(struct sim_peer *peer);                    /* RST */

/* A peer that listens. accept() gives the peer for a new connection, or NULL: it is reset. */
struct sim_server {
    struct list node;
    struct endpoint at; /* 0.0.0.0 stands for every address of the port */
    struct sim_peer *(*accept)(struct sim_server *server, const struct endpoint *at);
};
void sim_server_listen(struct sim_server *server);
void sim_server_stop(struct sim_server *server);

/* --- the name server --- */

/* Answers a question of the server under test: writes the whole DNS message that answers `query`
 * into `into` and returns its length; 0: no answer ever comes. */
extern size_t (*sim_dns_answer)(struct slice query, uint8_t *into, size_t cap);
