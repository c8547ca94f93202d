/* probe.h - asks before the start what the machine allows: the addresses, and how many sessions. */
#pragma once

#include "server/config/config.h"

/* 0, or -ERR_* with a line in `why` that names the listener and the address. Waits a moment for a
 * process that was killed just now. */
MUST_USE int probe_addresses(const struct config *config, char *why, size_t why_cap);
/* How many sessions a core may have, at least 1: what the listeners may have together, as far as
 * the limit of open files allows, whose soft part is raised. Logs a warning when that is less. */
uint32_t probe_session_limit(const struct config *config);
