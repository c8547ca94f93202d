/* log_internal.h - the two halves behind log.h: how a line is built, and how it gets out.
 *
 * log_line.c is pure: values to bytes. log_writer.c owns the rings and the thread that writes. */
#pragma once

#include "ring/base/log.h"

#define LOG_DATE_BYTES 20 /* "2026-11-23T16:00:00." */

struct log_line {
    enum log_format format;
    bool is_cut;
    uint64_t date_second; /* what `date` says; dates change far less often than lines come */
    char date[LOG_DATE_BYTES];
    size_t len;
    char bytes[LOG_LINE_BYTES_MAX];
};

void log_line_begin(struct log_line *line, enum log_format format, enum log_level level,
                    const char *event, uint64_t wall_ms);
void log_line_slice(struct log_line *line, const char *key, struct slice value);
void log_line_u64(struct log_line *line, const char *key, uint64_t value);
void log_line_seconds(struct log_line *line, const char *key, uint64_t duration_ns);
/* The finished line with its newline; it stays valid until the next begin. */
struct slice log_line_end(struct log_line *line);

/* A ring of bytes with one writing thread, drained by the writer thread. */
struct log_sink;

void log_writer_start(int fd, enum log_format format);
void log_writer_stop(void);
bool log_writer_is_running(void);
uint64_t log_writer_dropped(void);

/* The sink belongs to the calling thread until log_sink_destroy(), which leaves what is in it to
 * the writer. */
struct log_sink *log_sink_create(size_t bytes);
void log_sink_destroy(struct log_sink *sink);
/* Takes the whole line or drops it; never waits. */
void log_sink_put(struct log_sink *sink, struct slice line);
/* Writes `bytes` to `fd` now. */
void log_write_direct(int fd, struct slice bytes);
