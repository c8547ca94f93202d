/* log.h - log lines: built on any thread, written by one.
 *
 * A thread that logs has a sink (log_thread_start): a ring of bytes that the writer thread drains.
 * A full ring drops the line and counts it; logging never blocks. A line is built in place:
 *
 *     log_begin(LOG_INFO, "received");
 *     log_str("session", id);
 *     log_u64("size", size);
 *     log_end();
 *
 * Text or JSON is chosen once at start. Values are escaped here and nowhere else: no byte that a
 * peer sent reaches the output as a control byte. Nothing is built when the level is off. */
#pragma once

#include "ring/base/slice.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

#define LOG_LINE_BYTES_MAX 4096 /* a longer line is cut, and says so */

/* Starts the writer thread, which writes to `fd`. Before it, and on threads without a sink, lines
 * go straight to standard error. */
void log_start(int fd, enum log_format format, enum log_level level);
/* Writes what is left and ends the writer. */
void log_stop(void);
/* Also while running (reload). */
void log_set_level(enum log_level level);
/* Gives the calling thread a sink of `bytes` (a power of two). */
void log_thread_start(size_t bytes);
void log_thread_stop(void);
/* Lines dropped by all sinks since start. */
uint64_t log_dropped(void);

bool log_is_on(enum log_level level);
/* `event` is a word of ours: a-z and underscores. False when the level is off; the log_* calls of
 * that line then do nothing. */
bool log_begin(enum log_level level, const char *event);
void log_slice(const char *key, struct slice value);
void log_str(const char *key, const char *value); /* NULL is left out */
void log_u64(const char *key, uint64_t value);
/* Written as seconds with three decimals. */
void log_seconds(const char *key, uint64_t duration_ns);
void log_end(void);
/* One line with one text: for start, stop and errors; not for the path of a message. */
void log_text(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);
