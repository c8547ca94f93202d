/* store_history.h - random work on the queue of one core, in the simulation, and what the queue
 * owes for it.
 *
 * A history is a function of its seed: messages of all sizes come in side by side, are delivered in
 * part or whole, deferred, edited and leased again, segments fill up and are used again, and the
 * queue is closed and opened in between. What has been answered is kept in `facts`: at any moment
 * they say what a crash must leave, and what it may. */
#pragma once

#include "store/queue.h"

#define FACTS_MAX 1024
#define FACT_RECIPIENTS_MAX 3

enum fact_state {
    FACT_COMING,  /* not answered yet: all of it may be there, or nothing */
    FACT_OWED,    /* answered with success: must be there */
    FACT_LEAVING, /* its end is being written: either */
    FACT_GONE,    /* its end has been written: must not be there */
    FACT_REFUSED, /* answered with a failure, or broken off: must not be there */
    FACT_DOUBTED, /* its sync failed: either */
};

/* One message; its number is in its sender's address. */
struct fact {
    enum fact_state state;
    uint64_t bytes;
    uint32_t recipient_count;
    /* The states of its recipients, two bits each, and whether it is held: as they are on the disk
     * for certain, and as they are being written. */
    uint8_t recipients, recipients_next;
    bool is_held, is_held_next;
    bool is_in_memory; /* in delivery, or on its way there */
    unsigned seen;     /* for who checks */
};

struct facts {
    struct fact list[FACTS_MAX];
    uint32_t count;
};

struct store_history {
    struct facts *facts; /* the program's; in memory that outlives the process, if it wants */
    struct loop *loop;
    struct blocks *blocks;
    struct spool *spool;
    struct queue *queue;
    int fatal;
    bool acks_early; /* a mutation: answered when it is handed over. The checks must find it out */
};
extern struct store_history history;

/* Opens the queue below `directory`, in a loop of its own. 0, or -ERR_* and why. */
MUST_USE int store_open(const char *directory, uint32_t memory_messages_max, char *why,
                        size_t why_cap);
/* Gives back what is in delivery, and breaks off what comes in. */
void store_give_back(void);
/* Everything must have been given back. */
void store_close(void);

/* Works `actions` times on the queue below `directory`, then closes it, or stops where the store
 * gave up because of a failing disk. */
void store_history_run(const char *directory, unsigned actions);

/* The fact of a message, by its sender; NULL: there is none. */
struct fact *fact_of(const struct message *message);
uint8_t fact_recipients(const struct message *message);
/* True when `bytes` are what is at `at` of the body of that fact. */
bool fact_body_fits(const struct fact *fact, uint64_t at, struct slice bytes);

/* A wait in the simulation. */
struct store_wait {
    struct ring_op op;
    bool is_over;
};
struct ring_op *store_wait_begin(struct store_wait *wait);
int store_wait_end(struct store_wait *wait);
/* Leases and waits: how many, or -ERR_*. */
MUST_USE int store_lease(struct lease *lease, uint32_t count_max);
/* Reads the body to its end: 0, -ERR_CORRUPT and others of body_read(), or -ERR_INVALID: the bytes
 * are not those that were put. */
MUST_USE int store_read_body(struct message *message, const struct fact *fact);
/* Puts a small message and waits for the answer. */
MUST_USE int store_put_one(void);
