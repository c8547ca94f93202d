/* ledger.h - what a run of the simulated server was told and did, outside of the server's life.
 *
 * It lies in memory that is shared with the processes that live and crash (one process, one life),
 * so that it outlasts them as the world outlasts a server. */
#pragma once

#include "ring/base/base.h"

#define LEDGER_MESSAGES_MAX 4096
#define LEDGER_RCPTS_MAX 4

enum fate {
    FATE_UNKNOWN, /* no reply after the end of the data was seen: both outcomes are right */
    FATE_ACKED,   /* 250 */
    FATE_REFUSED, /* 4yz or 5yz after the end of the data, or never sent to its end */
};

struct rcpt_fact {
    uint8_t domain;     /* enum world_domain */
    bool is_accepted;   /* RCPT got 250 */
    uint16_t delivered; /* times that its hop said 250 after the end of the data */
    uint16_t doubts;    /* of these: the connection was cut after it */
    uint16_t bounced;   /* notifications of failure that the sender's hop took */
};

struct message_fact {
    uint8_t fate;
    bool has_sender; /* not <> */
    uint8_t rcpt_count;
    uint32_t bytes;
    struct rcpt_fact rcpts[LEDGER_RCPTS_MAX];
};

struct ledger {
    uint64_t now_ns, wall_ms; /* where the next life begins */
    uint64_t lives, crashes, fatals, completions, hash;
    uint64_t restart_ns_max; /* from the start of a life to its listening */
    uint32_t message_count;
    struct message_fact messages[LEDGER_MESSAGES_MAX];
    char directory[256]; /* spool and mailboxes */
    char failure[1024];  /* the first; "" while all is well */
};

extern struct ledger *ledger;

/* Notes the failure and ends this process. */
_Noreturn void ledger_fail(const char *format, ...) PRINTF_LIKE(1, 2);

/* The bytes of message `number`, which are a function of it and of their count. The caller frees
 * them. */
char *content_make(uint32_t number, size_t wanted, size_t *bytes_out);
/* The number in the content's header, where it begins; UINT32_MAX: none. */
uint32_t content_find(const char *bytes, size_t len, size_t *at_out);
