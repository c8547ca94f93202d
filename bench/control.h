/* control.h - signals, and lines on standard input, as commands to the loop of a tool.
 *
 * A thread of its own waits for them and posts each to the loop's thread, where `handler` runs.
 * INT and TERM come as "stop", USR1 as "report". A second INT or TERM ends the process at once. */
#pragma once

#include "ring/base/slice.h"
#include "ring/loop.h"

#define CONTROL_LINE_BYTES_MAX 1024

struct control;

typedef void control_handler(void *owner, struct slice command);

/* Blocks the signals, for the calling thread and those it starts later: call it first in main(). */
void control_block_signals(void);
/* After control_block_signals(). */
struct control *control_start(struct loop *loop, bool reads_stdin, control_handler *handler,
                              void *owner);
/* Handles what was still posted, and nothing after it has returned. NULL is allowed. */
void control_stop(struct control *control);
