/* operate.h - what an operator changes: messages of the queue, destinations that are to wait.
 *
 * Each function gives the status of the HTTP answer, and *text_out its JSON, which the caller
 * frees. Called by the threads of the admin listener; no core waits. */
#pragma once

#include "server/admin/admin.h"

#define OPERATE_IDS_MAX 200 /* messages in one request */

/* The destinations that wait: kept in memory, and in a file of the spool over restarts. */
struct suspended;

/* Reads the file in `directory` (borrowed during the call), and tells every core. A file that
 * cannot be read is logged as an error, and nothing is suspended. */
struct suspended *suspended_open(const struct admin_source *source, const char *directory);
void suspended_close(struct suspended *suspended); /* NULL is allowed */

/* {"results": {"ID": "done" | "in_delivery" | "not_found" | "unfit" | "failed"}} */
unsigned operate_queue(const struct admin_source *source, enum queue_edit_kind kind,
                       const uint64_t *ids, size_t id_count, const char *reason, char **text_out);
/* {"destinations": [{"name", "route", "state", "until", "reason", "waiting", "connections"}]} */
unsigned operate_list_destinations(const struct admin_source *source, char **text_out);
/* `seconds` 0: until it is resumed. */
unsigned operate_suspend(struct suspended *suspended, const char *destination, const char *reason,
                         uint64_t seconds, char **text_out);
/* `destination` NULL: all. */
unsigned operate_resume(struct suspended *suspended, const char *destination, char **text_out);
