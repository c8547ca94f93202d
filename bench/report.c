/* report.c - builds and writes JSON. Runs at the end of a run, or on request. */
#include "bench/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void report_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0) return;
    fputs("out of memory for the report\n", stderr);
    exit(1);
}

void report_set_u64(json_t *object, const char *key, uint64_t value)
{
    report_set(object, key, json_integer((json_int_t)value));
}

/* Three decimals are more than any measurement of ours is worth. */
void report_set_real(json_t *object, const char *key, double value)
{
    double thousands = value * 1000 + 0.5;
    report_set(object, key, json_real((double)(int64_t)thousands / 1000));
}

static void set_us(json_t *object, const char *key, uint64_t ns)
{
    report_set_real(object, key, (double)ns / 1000);
}

json_t *report_latency(const struct latency *latency, bool with_buckets)
{
    json_t *object = json_object();
    report_set_u64(object, "count", latency->count);
    set_us(object, "mean_us", latency->count == 0 ? 0 : latency->sum_ns / latency->count);
    set_us(object, "p50_us", latency_at(latency, 0.5));
    set_us(object, "p90_us", latency_at(latency, 0.9));
    set_us(object, "p99_us", latency_at(latency, 0.99));
    set_us(object, "p999_us", latency_at(latency, 0.999));
    set_us(object, "max_us", latency->max_ns);
    if (!with_buckets) return object;
    json_t *buckets = json_array();
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        if (latency->counts[i] == 0) continue;
        json_array_append_new(buckets, json_pack("[II]", (json_int_t)latency_bucket_ns(i),
                                                 (json_int_t)latency->counts[i]));
    }
    report_set(object, "buckets", buckets);
    return object;
}

json_t *report_usage(const struct usage *usage, uint64_t message_count)
{
    double count = message_count == 0 ? 1 : (double)message_count;
    json_t *object = json_object();
    report_set_real(object, "user_s", (double)usage->user_ns / 1e9);
    report_set_real(object, "system_s", (double)usage->system_ns / 1e9);
    report_set_real(object, "user_us_per_message", (double)usage->user_ns / 1e3 / count);
    report_set_real(object, "system_us_per_message", (double)usage->system_ns / 1e3 / count);
    report_set_real(object, "us_per_message",
                    (double)(usage->user_ns + usage->system_ns) / 1e3 / count);
    return object;
}

bool report_write(const json_t *report, const char *path, bool is_compact)
{
    bool is_stdout = path == NULL || strcmp(path, "-") == 0;
    FILE *file = is_stdout ? stdout : fopen(path, "we");
    if (file == NULL) {
        fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    size_t flags = JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12);
    flags |= is_compact ? JSON_COMPACT : JSON_INDENT(2);
    bool is_written = json_dumpf(report, file, flags) == 0 && fputc('\n', file) != EOF;
    is_written = fflush(file) == 0 && is_written;
    if (!is_stdout) is_written = fclose(file) == 0 && is_written;
    if (!is_written) fprintf(stderr, "cannot write %s\n", is_stdout ? "the report" : path);
    return is_written;
}
