/* sink_script.h - commands for later: a file of lines "DURATION COMMAND", from the start of the
 * tool, in order. Empty lines and those that begin with # are passed over. */
#pragma once

#include "ring/base/slice.h"
#include "ring/timer.h"

#define SINK_SCRIPT_LINES_MAX 1000

typedef void sink_script_handler(void *owner, struct slice command);

struct sink_script;

/* NULL, with a line on standard error, when the file is not a script. */
struct sink_script *sink_script_start(const char *path, struct loop *loop,
                                      sink_script_handler *handler, void *owner);
void sink_script_stop(struct sink_script *script); /* NULL is allowed */
