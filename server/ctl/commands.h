/* commands.h - what each command does; the table of them is in ctl.c. All return an exit code. */
#pragma once

#include "server/ctl/invocation.h"

int command_run(const struct invocation *call);
int command_check(const struct invocation *call);
int command_queue(const struct invocation *call);
int command_route(const struct invocation *call);
int command_reload(const struct invocation *call);
int command_health(const struct invocation *call);
int command_passwd(const struct invocation *call);
int command_version(const struct invocation *call);
