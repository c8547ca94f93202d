/* load_link.h - a connection of the load, from its connect to where messages can be sent.
 *
 *     DOWN --> CONNECT --> [SECURE] --> GREETING --> EHLO --> [AUTH] --> READY --> QUIT
 *                             ^                        |                             |
 *                             +------- STARTTLS <------+                             v
 *                                                                  CLOSING --> DOWN
 *
 * A connection that fails goes to CLOSING from any state. Every wait has a limit: a reply that does
 * not come within --reply-timeout loses the connection. */
#pragma once

#include "bench/load_core.h"

enum load_link_state {
    LOAD_LINK_DOWN,
    LOAD_LINK_CONNECT,
    LOAD_LINK_SECURE, /* a TLS handshake */
    LOAD_LINK_GREETING,
    LOAD_LINK_EHLO,
    LOAD_LINK_STARTTLS,
    LOAD_LINK_AUTH,
    LOAD_LINK_READY,
    LOAD_LINK_QUIT,
    LOAD_LINK_CLOSING, /* waits until nothing is in flight */
};

struct load_link;

struct load_link_handler {
    /* The server is ready for MAIL. */
    void (*on_ready)(struct load_link *link);
    /* A reply while READY; `line` is its last, without the line end. */
    void (*on_reply)(struct load_link *link, unsigned code, struct slice line);
    /* All output was sent, while READY. */
    void (*on_sent)(struct load_link *link);
    /* It begins to close, by load_link_close() or load_link_lose(). Not for a failed connect. */
    void (*on_closing)(struct load_link *link);
    /* It is DOWN again. */
    void (*on_down)(struct load_link *link);
};

struct load_link {
    struct conn conn;
    struct load_core *core;
    const struct load_link_handler *handler;
    enum load_link_state state;
    bool is_secured, was_lost; /* lost: it did not end in order */
    bool is_silent;            /* set by the owner: EHLO, and TLS, are all that it wants */
    bool can_pipeline, can_8bit, can_size, can_chunk, can_starttls;
    uint8_t auth_mechanisms, auth_step; /* BIT(enum load_auth) */
    uint64_t wait_ns;                   /* since when a reply is awaited; 0: none is */
    uint64_t patience_ns;               /* beyond --reply-timeout, for data on its way */
    uint64_t handshake_ns;              /* when it began */
    struct ring_op connect_op;
    struct timer timer;
};

void load_link_init(struct load_link *link, struct load_core *core,
                    const struct load_link_handler *handler);
/* Connects; it is DOWN. `from` (NULL: any) is where from. */
void load_link_open(struct load_link *link, const struct endpoint *from);
/* Says QUIT, and closes when it is answered; it is READY. */
void load_link_quit(struct load_link *link);
/* Closes now. No effect when it is DOWN or closing. */
void load_link_close(struct load_link *link);
/* The same for a connection that failed: counted, with what happened to it. */
void load_link_lose(struct load_link *link, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same for a line that the server sent, quoted. */
void load_link_lose_for(struct load_link *link, const char *what, struct slice line);

/* A reply is awaited from now on; `bytes` of data are on their way before it. */
void load_link_expect(struct load_link *link, uint64_t bytes);
/* None is. */
static inline void load_link_expect_none(struct load_link *link)
{
    link->wait_ns = 0;
}

/* --- of load_open.c: the states before READY --- */

/* The connection is there: the PROXY header, TLS, the greeting. */
void load_open_start(struct load_link *link);
void load_open_on_secured(struct load_link *link);
void load_open_on_line(struct load_link *link, struct slice line);
void load_open_on_reply(struct load_link *link, unsigned code, struct slice line);

/* --- of load_link.c, for load_open.c --- */

void load_link_go(struct load_link *link, enum load_link_state next);
/* Sends a line and awaits its reply. */
void load_link_say(struct load_link *link, struct slice line);
