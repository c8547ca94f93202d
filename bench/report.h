/* report.h - parts of the JSON reports that the tools share, and writing them. Keys carry their
 * unit. Everything returned is owned by the caller, as Jansson has it. */
#pragma once

#include "bench/latency.h"
#include "bench/usage.h"

#include <jansson.h>

/* Sets a member; the value is taken. Ends the process when memory is out. */
void report_set(json_t *object, const char *key, json_t *value);
void report_set_u64(json_t *object, const char *key, uint64_t value);
void report_set_real(json_t *object, const char *key, double value);

/* {"count", "mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"}, and with `with_buckets`
 * "buckets": [[least nanoseconds, count], ...] of those that are not empty, for adding up runs. */
json_t *report_latency(const struct latency *latency, bool with_buckets);
/* {"user_s", "system_s", "user_us_per_message", "system_us_per_message", "us_per_message"} */
json_t *report_usage(const struct usage *usage, uint64_t message_count);

/* Writes one line when `is_compact`, else many; to standard output when `path` is NULL or "-".
 * False, with a line on standard error, when it cannot. */
bool report_write(const json_t *report, const char *path, bool is_compact);
