/* load_core.h - one thread's part of a run: its sessions, what is still to send, what was measured.
 *
 * Closed loop: a session takes its next message as soon as it has the answer to the last. Open loop
 * (--rate): messages have intended times; one that is due goes to an idle session, and waits for
 * one otherwise, so that a slow server cannot slow the load down unseen.
 *
 * A core ends when all its messages have been settled and the sessions have closed; or, with a
 * partial result, at the timeout, by a signal, when no session is left, or when the server cannot
 * do what was asked. Message numbers are dealt out in turn: core k of N sends k + 1, k + 1 + N ...
 */
#pragma once

#include "bench/latency.h"
#include "bench/ledger.h"
#include "bench/load_options.h"
#include "bench/usage.h"
#include "ring/conn.h"
#include "ring/mailbox.h"
#include "ring/timer.h"
#include "ring/tls.h"

#include <pthread.h>

struct load_run;
struct load_session;
struct load_idle;

#define LOAD_CODES_MAX 600        /* reply codes are below this */
#define LOAD_IDLE_OPENING_MAX 500 /* idle connections that come up at once, on all cores */
#define LOAD_PROBLEM_BYTES_MAX 320

/* Why a run ended, the worse the later. */
enum load_end {
    LOAD_GOES_ON,
    LOAD_COMPLETE,
    LOAD_STOPPED,
    LOAD_TIMEOUT,
    LOAD_NO_SESSIONS, /* each was lost */
    LOAD_UNABLE,      /* the server does not do what was asked for */
};

/* What went wrong, in words, and when. */
struct load_problem {
    uint64_t at_ns; /* 0: nothing did */
    char text[LOAD_PROBLEM_BYTES_MAX];
};

struct load_counts {
    uint64_t taken;              /* messages begun */
    uint64_t accepted, refused;  /* answered */
    uint64_t lost;               /* no answer came */
    uint64_t accepted_bytes;     /* of accepted messages */
    uint64_t accepted_slow;      /* of accepted messages, those of slow sessions */
    uint64_t overdue;            /* due before the duration's end, and not begun by then */
    uint64_t recipients_refused; /* of messages that were sent to others */
    uint64_t sessions_lost;      /* ended before their time */
    uint64_t connections, connect_errors, losses, stalls, bad_replies;
    uint64_t handshakes, handshakes_resumed, handshakes_failed;
    int connect_error;              /* the last, -ERR_*; 0: none */
    uint64_t codes[LOAD_CODES_MAX]; /* refusals by the code of the reply */
};

struct load_idle_counts {
    uint64_t wanted, held, lost, refused;
};

/* What the live line shows of a core, brought up to date once a second; any thread reads it. */
struct load_live {
    uint64_t accepted, refused, lost, p99_ns;
};

struct load_core {
    struct load_run *run;
    const struct load_options *options;
    uint32_t index, session_count, idle_count;
    uint64_t message_count; /* UINT64_MAX: no bound */
    pthread_t thread;
    struct loop *loop;
    struct message_maker *maker; /* the run's */
    struct conn_host host;
    struct tls_context *tls; /* NULL: none */
    struct ledger *ledger;   /* NULL: none */
    struct load_session *sessions;
    uint32_t session_count_open; /* not yet over */
    struct list waiting;         /* sessions that wait for a message */
    struct load_idle *idle;      /* NULL: none */
    struct load_pace *pace;      /* NULL: closed loop */
    enum load_end end;
    bool is_started, is_stopping, is_time_up;
    bool is_measured, is_over;  /* all is settled; nothing is left to do */
    uint64_t connection_number; /* of the next connection, for its client address */
    uint64_t last_begin_ns;     /* no message is begun after it */
    uint64_t end_ns;
    struct usage start_usage, usage; /* of this thread */
    struct load_counts counts;
    struct load_problem problem;      /* the first */
    struct load_problem refusal;      /* the first reply that refused a message */
    struct latency reply_latency;     /* end of data to its reply */
    struct latency message_latency;   /* MAIL, or the intended time, to the reply */
    struct latency handshake_latency; /* of TLS */
    struct load_live live;
    struct timer timeout_timer, duration_timer, live_timer, close_timer;
    struct loop_hook hook;
    struct mail start_mail, stop_mail, unable_mail, over_mail;
    uint64_t live_accepted; /* core 0: at the last live line */
};

/* Makes the loop, on the thread that will run it. False, with a line on standard error, when it
 * cannot. `run`, `options` and `index` are set before. */
MUST_USE bool load_core_open(struct load_core *core);
/* Brings up the idle connections, or says at once that it is ready. */
void load_core_start(struct load_core *core);
/* Starts the clock's timers and the sessions; load_run's start time is set. */
void load_core_go(struct load_core *core);
/* Ends the core's part: sessions close, messages under way are settled as lost. */
void load_core_stop(struct load_core *core, enum load_end why);
/* After the loop has ended, on its thread. */
void load_core_close(struct load_core *core);
/* Frees the numbers, after the report. */
void load_core_finish(struct load_core *core);

/* --- for sessions and idle connections --- */

/* Notes what went wrong when it is the first. Text of the peer's making is passed through
 * load_core_escape() before. */
void load_core_note(struct load_core *core, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same as the reason to end the whole run. */
void load_core_give_up(struct load_core *core, const char *format, ...) PRINTF_LIKE(2, 3);
/* The line, cut to `cap` with its terminator, without control bytes: for load_core_note(). */
const char *load_core_escape(struct slice line, char *text, size_t cap);

/* A message may begin. */
bool load_core_has_more(const struct load_core *core);
/* The run ends: what is begun is finished, nothing is tried again. */
bool load_core_is_late(const struct load_core *core);
/* The next message and the time it counts from. False when none is due, or left. */
bool load_core_take(struct load_core *core, bool may_be_8bit, struct message *message_out,
                    uint64_t *intended_ns_out);
/* The fate of a message: `status` as in the ledger. `end_of_data_ns` is 0 when it was not sent. */
struct load_fate {
    unsigned status;
    uint64_t recipients, intended_ns, end_of_data_ns;
    bool is_slow;
};
void load_core_settle(struct load_core *core, const struct message *message,
                      const struct load_fate *fate);
/* A session will do no more. `is_early`: though there was more to do. */
void load_core_on_session_over(struct load_core *core, bool is_early);
/* All idle connections are up, or were refused. */
void load_core_on_idle_ready(struct load_core *core);
/* All idle connections are closed. */
void load_core_on_idle_over(struct load_core *core);
/* Every idle connection was lost. */
void load_core_on_idle_lost(struct load_core *core);
