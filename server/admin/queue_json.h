/* queue_json.h - pages of the queue as JSON (docs/command-line.md has the format). */
#pragma once

#include "server/admin/admin.h"

/* One page over the queues of all cores in order of id. Returns the text, which the caller frees,
 * or NULL when a queue did not answer. */
char *queue_json(const struct admin_source *source, uint64_t after_id, uint32_t count_max);
