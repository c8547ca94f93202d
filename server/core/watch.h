/* watch.h - notices that certificates, keys or users changed on the disk.
 *
 * The files that a configuration names are looked at every WATCH_PERIOD_MS by the control thread:
 * what a name leads to in the end, through whatever links, and when that was last changed. It needs
 * no cooperation of the file system, and sees how Kubernetes swaps a link to a folder as well as a
 * file that is written in place. A change counts when nothing has moved for WATCH_SETTLE_MS: a
 * certificate and its key are two files. */
#pragma once

#include "server/config/config.h"

#define WATCH_PERIOD_MS 2000
#define WATCH_SETTLE_MS 1000

struct watch;

/* Notes how the files are now. Borrows nothing. */
struct watch *watch_create(const struct config *config);
void watch_destroy(struct watch *watch); /* NULL is allowed */
/* Nothing is to be watched. */
bool watch_is_empty(const struct watch *watch);
/* True when files changed since watch_create(), or since the last time it was true, and have been
 * at rest for WATCH_SETTLE_MS. `now_ns` is of the monotonic clock. */
MUST_USE bool watch_poll(struct watch *watch, uint64_t now_ns);
