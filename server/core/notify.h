/* notify.h - tells whoever started the process that it is ready: a pipe, or systemd. */
#pragma once

#include "ring/base/slice.h"

/* Writes `line` to the descriptor and closes it. -1: there is none. */
void notify_ready_fd(int fd, struct slice line);
/* Sends `state` ("READY=1") to $NOTIFY_SOCKET, if that is set (sd_notify(3)). */
void notify_systemd(const char *state);
