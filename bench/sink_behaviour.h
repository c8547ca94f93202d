/* sink_behaviour.h - how the sink answers; it may change while it runs.
 *
 * The options of the command line, the lines on standard input and those of a script are the same
 * names and values: "latency 5ms", "reject-rate 4yz:10%,5yz:1%", "mode refuse451". */
#pragma once

#include "ring/base/slice.h"

enum sink_mode {
    SINK_OK,
    SINK_REFUSE,        /* everything, with refuse_code, at reject_at */
    SINK_DROP_AFTER_DOT /* closes the connection instead of the reply to the end of data */
};

enum sink_stage { SINK_AT_RCPT, SINK_AT_DATA, SINK_AT_DOT };

struct sink_behaviour {
    enum sink_mode mode;
    enum sink_stage reject_at;
    unsigned refuse_code;
    double reject_4yz, reject_5yz, drop_after_dot; /* shares, 0 to 1 */
    /* Deliberate faults of the sink's own books, to show that a check finds them. */
    double fault_lose, fault_double, fault_alter;
    uint64_t latency_ns;        /* before the reply to the end of data */
    uint64_t slow_read_bytes_s; /* of data, a connection; 0: as fast as it comes */
    uint64_t refuse_until_ns;   /* monotonic; connections are greeted with 421 until then */
};

void sink_behaviour_init(struct sink_behaviour *b);
/* False when there is no such name, or the value does not fit it. */
bool sink_behaviour_set(struct sink_behaviour *b, struct slice name, struct slice value);
/* The code that refuses at `stage` now, or 0. `random` is drawn from. */
unsigned sink_behaviour_refusal(const struct sink_behaviour *b, enum sink_stage stage,
                                uint64_t *random);
