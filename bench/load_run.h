/* load_run.h - one run of the load: its sessions, what is still to send, and what was measured.
 *
 * Closed loop: a session takes its next message as soon as it has the answer to the last. Open loop
 * (--rate): messages have intended times; one that is due goes to an idle session, and waits for
 * one otherwise, so that a slow server cannot slow the load down unseen.
 *
 * The run ends when all messages have been settled and the sessions have closed; or, with a partial
 * result, at the timeout, by a signal, or when no session is left. */
#pragma once

#include "bench/latency.h"
#include "bench/ledger.h"
#include "bench/load_options.h"
#include "bench/usage.h"
#include "ring/conn.h"
#include "ring/timer.h"

struct load_session;

#define LOAD_CODES_MAX 600 /* reply codes are below this */

/* Why a run ended. */
enum load_end { LOAD_GOES_ON, LOAD_COMPLETE, LOAD_TIMEOUT, LOAD_STOPPED, LOAD_NO_SESSIONS };

struct load_counts {
    uint64_t taken;              /* messages begun */
    uint64_t accepted, refused;  /* answered */
    uint64_t lost;               /* no answer came */
    uint64_t accepted_bytes;     /* of accepted messages */
    uint64_t recipients_refused; /* of messages that were sent to others */
    uint64_t connections, connect_errors, losses, bad_replies;
    int connect_error;              /* the last, -ERR_*; 0: none */
    uint64_t codes[LOAD_CODES_MAX]; /* refusals by the code of the reply */
};

struct load_run {
    const struct load_options *options;
    struct loop *loop;
    struct conn_host host;
    struct message_maker *maker;
    struct ledger *ledger; /* NULL: none */
    struct load_session *sessions;
    uint32_t session_count_open; /* not yet over */
    struct list idle;            /* sessions that wait for a message */
    struct load_pace *pace;      /* NULL: closed loop */
    enum load_end end;
    uint64_t start_ns, end_ns;
    struct usage start_usage, usage;
    struct load_counts counts;
    struct latency reply_latency;   /* end of data to its reply */
    struct latency message_latency; /* MAIL, or the intended time, to the reply */
    struct timer timeout_timer, live_timer, close_timer;
    struct loop_hook hook;
    uint64_t live_accepted; /* at the last live line */
};

/* Makes everything and starts connecting. Ends the process with a line when the ledger cannot be
 * opened. `options` and `loop` are borrowed. */
struct load_run *load_run_start(const struct load_options *options, struct loop *loop);
/* After the loop has ended. */
void load_run_finish(struct load_run *run);
/* Ends the run: sessions close, messages under way are settled as lost. */
void load_run_stop(struct load_run *run, enum load_end why);

/* --- for sessions --- */

bool load_run_has_more(const struct load_run *run);
/* The next message and the time it counts from. False when none is due, or left. */
bool load_run_take(struct load_run *run, bool may_be_8bit, struct message *message_out,
                   uint64_t *intended_ns_out);
/* The fate of a message: `status` as in the ledger. `end_of_data_ns` is 0 when it was not sent. */
void load_run_settle(struct load_run *run, const struct message *message, unsigned status,
                     uint64_t recipients, uint64_t intended_ns, uint64_t end_of_data_ns);
/* A session will do no more. */
void load_run_on_session_over(struct load_run *run);
