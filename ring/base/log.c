/* log.c - the face of the log: one line at a time for each thread.
 *
 * A line is built in the thread's own buffer and then put whole into its ring, so that a line
 * that is never ended, or does not fit, leaves no trace there. */
#include "ring/base/log.h"

#include "ring/base/clock.h"
#include "ring/base/log_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static struct {
    enum log_level level;
    enum log_format format;
} settings = {LOG_INFO, LOG_TEXT};

static _Thread_local struct {
    struct log_sink *sink;
    bool is_open; /* between a log_begin() that said yes and log_end() */
    struct log_line line;
} own;

void log_start(int fd, enum log_format format, enum log_level level)
{
    __atomic_store_n(&settings.format, format, __ATOMIC_RELAXED);
    log_set_level(level);
    log_writer_start(fd, format);
}

void log_stop(void)
{
    log_writer_stop();
}

void log_set_level(enum log_level level)
{
    __atomic_store_n(&settings.level, level, __ATOMIC_RELAXED);
}

void log_thread_start(size_t bytes)
{
    ASSERT(own.sink == NULL);
    own.sink = log_sink_create(bytes);
}

void log_thread_stop(void)
{
    ASSERT(!own.is_open);
    log_sink_destroy(own.sink);
    own.sink = NULL;
}

uint64_t log_dropped(void)
{
    return log_writer_dropped();
}

bool log_is_on(enum log_level level)
{
    return level <= __atomic_load_n(&settings.level, __ATOMIC_RELAXED);
}

bool log_begin(enum log_level level, const char *event)
{
    ASSERT(!own.is_open);
    if (!log_is_on(level)) return false;
    enum log_format format = __atomic_load_n(&settings.format, __ATOMIC_RELAXED);
    log_line_begin(&own.line, format, level, event, clock_wall_ms());
    own.is_open = true;
    return true;
}

void log_slice(const char *key, struct slice value)
{
    if (own.is_open) log_line_slice(&own.line, key, value);
}

void log_str(const char *key, const char *value)
{
    if (value != NULL) log_slice(key, slice_of_cstr(value));
}

void log_u64(const char *key, uint64_t value)
{
    if (own.is_open) log_line_u64(&own.line, key, value);
}

void log_seconds(const char *key, uint64_t duration_ns)
{
    if (own.is_open) log_line_seconds(&own.line, key, duration_ns);
}

void log_end(void)
{
    if (!own.is_open) return;
    own.is_open = false;
    struct slice line = log_line_end(&own.line);
    if (own.sink != NULL && log_writer_is_running()) {
        log_sink_put(own.sink, line);
    } else {
        log_write_direct(STDERR_FILENO, line);
    }
}

void log_text(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_begin(level, event)) return;
    /* A text of this size cannot fit in a line, so that one that is cut here is cut there too. */
    char text[LOG_LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_slice("text", slice_of(text, len < 0 ? 0 : MIN((size_t)len, sizeof(text) - 1)));
    log_end();
}
