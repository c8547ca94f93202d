/* log_writer.c - the rings of the logging threads, and the thread that writes them out.
 *
 * A sink is a ring of bytes: its thread moves `head`, the writer moves `tail`, both only forward,
 * and lines enter it whole. The writer drains all rings, naps LOG_BATCH_MS, and drains again;
 * when it finds nothing it sleeps until a thread wakes it. A busy thread thus makes a system call
 * only for the first line after a quiet time. Where the output blocks, the writer alone blocks:
 * it holds no lock while it writes; rings fill up, and lines are dropped and counted.
 *
 * The list of sinks grows under the lock, and while the writer runs only the writer takes sinks
 * off and frees them; so it may walk the list without the lock. */
#include "ring/base/log_internal.h"

#include "ring/base/clock.h"
#include "ring/base/counter.h"
#include "ring/base/memory.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LOG_BATCH_MS 10
#define LOG_STOP_S_MAX 2        /* a stop waits so long for an output that blocks */
#define LOG_DROP_REPORT_MS 1000 /* at most one line about dropped lines in this time */
#define CACHE_LINE_BYTES 64

struct log_sink {
    struct log_sink *next;
    char *bytes;
    size_t cap;
    bool is_ended; /* its thread is done with it */
    /* The thread's. */
    _Alignas(CACHE_LINE_BYTES) size_t head;
    size_t tail_seen; /* the last tail the thread looked at: `tail` or less */
    struct counter dropped;
    /* The writer's. */
    _Alignas(CACHE_LINE_BYTES) size_t tail;
};

/* What the writer is doing; the word it sleeps on. */
enum writer_nap {
    WRITER_AWAKE,
    WRITER_ASLEEP,   /* until the first line */
    WRITER_BATCHING, /* for LOG_BATCH_MS, or until a ring is half full */
};

static struct {
    pthread_mutex_t lock; /* of the list, and of start and stop */
    struct log_sink *sinks;
    bool is_running;
    bool is_stopping;
    uint32_t nap; /* enum writer_nap */
    int fd;
    enum log_format format;
    pthread_t thread;
    /* Under the lock: lines dropped by sinks that are gone. */
    uint64_t dropped_by_ended;
    /* The writer's: lines that the output refused. */
    struct counter lost;
    uint64_t dropped_reported;
    uint64_t report_next_ns;
    struct log_line report;
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

static void writer_lock(void)
{
    int err = pthread_mutex_lock(&writer.lock);
    ASSERT(err == 0);
}

static void writer_unlock(void)
{
    int err = pthread_mutex_unlock(&writer.lock);
    ASSERT(err == 0);
}

/* --- sleeping and waking --- */

static void writer_sleep(enum writer_nap nap, const struct timespec *timeout)
{
    /* EAGAIN, EINTR and ETIMEDOUT all mean the same here: look again. */
    syscall(SYS_futex, &writer.nap, FUTEX_WAIT_PRIVATE, (uint32_t)nap, timeout, NULL, 0);
    __atomic_store_n(&writer.nap, WRITER_AWAKE, __ATOMIC_SEQ_CST);
}

static void writer_wake(void)
{
    if (__atomic_exchange_n(&writer.nap, WRITER_AWAKE, __ATOMIC_SEQ_CST) == WRITER_AWAKE) return;
    syscall(SYS_futex, &writer.nap, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* --- writing --- */

/* True when a write that failed with `err` should be tried again; waits if that helps. */
static bool output_recovers(int fd, int err)
{
    if (err == EINTR) return true;
    if (err != EAGAIN && err != EWOULDBLOCK) return false;
    struct pollfd waiting = {.fd = fd, .events = POLLOUT};
    return poll(&waiting, 1, -1) >= 0 || errno == EINTR;
}

void log_write_direct(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t written = write(fd, bytes.data, bytes.len);
        if (written >= 0) {
            bytes = slice_from(bytes, (size_t)written);
        } else if (!output_recovers(fd, errno)) {
            return;
        }
    }
}

/* The bytes from `tail` to `head`, in one piece or two. */
static size_t sink_pieces(const struct log_sink *sink, size_t tail, size_t head,
                          struct iovec pieces[2])
{
    size_t at = tail & (sink->cap - 1);
    size_t len = head - tail;
    size_t first = MIN(len, sink->cap - at);
    pieces[0] = (struct iovec){sink->bytes + at, first};
    pieces[1] = (struct iovec){sink->bytes, len - first};
    return len > first ? 2 : 1;
}

static uint64_t count_lines(const struct iovec *pieces, size_t count)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < count; i++) {
        struct slice left = slice_of(pieces[i].iov_base, pieces[i].iov_len);
        const char *newline;
        while (left.len > 0 && (newline = memchr(left.data, '\n', left.len)) != NULL) {
            left = slice_from(left, (size_t)(newline - left.data) + 1);
            lines++;
        }
    }
    return lines;
}

/* Writes out what the sink holds now. True when there was something. */
static bool sink_drain(struct log_sink *sink)
{
    size_t tail = sink->tail;
    size_t head = __atomic_load_n(&sink->head, __ATOMIC_ACQUIRE);
    if (tail == head) return false;
    while (tail != head) {
        struct iovec pieces[2];
        size_t count = sink_pieces(sink, tail, head, pieces);
        ssize_t written = writev(writer.fd, pieces, (int)count);
        if (written >= 0) {
            tail += (size_t)written;
        } else if (!output_recovers(writer.fd, errno)) {
            /* Nobody is left to tell; the count is in the metrics. */
            counter_add(&writer.lost, count_lines(pieces, count));
            tail = head;
        }
        __atomic_store_n(&sink->tail, tail, __ATOMIC_RELEASE);
    }
    return true;
}

/* Takes a drained sink off the list. The caller holds the lock. */
static void writer_forget(struct log_sink *sink)
{
    struct log_sink **at = &writer.sinks;
    while (*at != sink) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = sink->next;
    writer.dropped_by_ended += counter_get(&sink->dropped);
    free(sink->bytes);
    free(sink);
}

static struct log_sink *writer_first_sink(void)
{
    writer_lock();
    struct log_sink *first = writer.sinks;
    writer_unlock();
    return first;
}

static bool writer_drain(void)
{
    bool found = false;
    for (struct log_sink *sink = writer_first_sink(), *next; sink != NULL; sink = next) {
        next = sink->next;
        /* Looked at before the drain, so that the last line of an ended sink is not missed. */
        bool is_ended = __atomic_load_n(&sink->is_ended, __ATOMIC_ACQUIRE);
        found |= sink_drain(sink);
        if (is_ended) {
            writer_lock();
            writer_forget(sink);
            writer_unlock();
        }
    }
    return found;
}

static bool writer_has_work(void)
{
    for (struct log_sink *sink = writer_first_sink(); sink != NULL; sink = sink->next) {
        if (__atomic_load_n(&sink->head, __ATOMIC_SEQ_CST) != sink->tail) return true;
        if (__atomic_load_n(&sink->is_ended, __ATOMIC_SEQ_CST)) return true;
    }
    return __atomic_load_n(&writer.is_stopping, __ATOMIC_SEQ_CST);
}

/* Says in the log itself that lines are missing from it. */
static void writer_report_dropped(bool is_last)
{
    uint64_t dropped = log_writer_dropped();
    if (dropped == writer.dropped_reported) return;
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns < writer.report_next_ns && !is_last) return;

    log_line_begin(&writer.report, writer.format, LOG_WARN, "log_dropped", clock_wall_ms());
    log_line_u64(&writer.report, "lines", dropped - writer.dropped_reported);
    log_write_direct(writer.fd, log_line_end(&writer.report));
    writer.dropped_reported = dropped;
    writer.report_next_ns = now_ns + LOG_DROP_REPORT_MS * NS_PER_MS;
}

static void *writer_run(void *unused)
{
    (void)unused;
    static const struct timespec batch_time = {.tv_nsec = LOG_BATCH_MS * (long)NS_PER_MS};
    bool is_last;
    do {
        is_last = __atomic_load_n(&writer.is_stopping, __ATOMIC_SEQ_CST);
        bool found = writer_drain();
        writer_report_dropped(is_last);
        if (!found) {
            /* First say that we sleep, then look: a thread first puts, then looks whether we do. */
            __atomic_store_n(&writer.nap, WRITER_ASLEEP, __ATOMIC_SEQ_CST);
            if (!writer_has_work()) writer_sleep(WRITER_ASLEEP, NULL);
        }
        __atomic_store_n(&writer.nap, WRITER_BATCHING, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&writer.is_stopping, __ATOMIC_SEQ_CST)) {
            writer_sleep(WRITER_BATCHING, &batch_time);
        }
    } while (!is_last);
    return NULL;
}

/* --- start and stop --- */

void log_writer_start(int fd, enum log_format format)
{
    writer_lock();
    ASSERT(!writer.is_running);
    writer.fd = fd;
    writer.format = format;
    writer.is_stopping = false;
    __atomic_store_n(&writer.nap, WRITER_AWAKE, __ATOMIC_SEQ_CST);

    /* Signals are for the threads that expect them; a broken pipe is an error of write(). */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&writer.thread, NULL, writer_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ASSERT(err == 0);
    pthread_setname_np(writer.thread, "log");
    __atomic_store_n(&writer.is_running, true, __ATOMIC_RELEASE);
    writer_unlock();
}

void log_writer_stop(void)
{
    if (!log_writer_is_running()) return;
    __atomic_store_n(&writer.is_stopping, true, __ATOMIC_SEQ_CST);
    writer_wake();
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOG_STOP_S_MAX;
    /* An output that nobody reads must not keep the process from ending; the writer is then left
     * as it is, and still owns the sinks. */
    if (pthread_timedjoin_np(writer.thread, NULL, &until) != 0) return;

    writer_lock();
    for (struct log_sink *sink = writer.sinks, *next; sink != NULL; sink = next) {
        next = sink->next;
        sink_drain(sink); /* what its thread put while the writer ended */
        if (sink->is_ended) writer_forget(sink);
    }
    __atomic_store_n(&writer.is_running, false, __ATOMIC_RELEASE);
    writer_unlock();
}

bool log_writer_is_running(void)
{
    return __atomic_load_n(&writer.is_running, __ATOMIC_ACQUIRE);
}

uint64_t log_writer_dropped(void)
{
    writer_lock();
    uint64_t dropped = writer.dropped_by_ended + counter_get(&writer.lost);
    for (const struct log_sink *sink = writer.sinks; sink != NULL; sink = sink->next) {
        dropped += counter_get(&sink->dropped);
    }
    writer_unlock();
    return dropped;
}

/* --- sinks --- */

struct log_sink *log_sink_create(size_t bytes)
{
    ASSERT(bytes >= LOG_LINE_BYTES_MAX && (bytes & (bytes - 1)) == 0);
    struct log_sink *sink = aligned_alloc(CACHE_LINE_BYTES, sizeof(*sink));
    ASSERT(sink != NULL);
    *sink = (struct log_sink){.bytes = xmalloc(bytes), .cap = bytes};
    writer_lock();
    sink->next = writer.sinks;
    writer.sinks = sink;
    writer_unlock();
    return sink;
}

void log_sink_destroy(struct log_sink *sink)
{
    if (sink == NULL) return;
    writer_lock();
    bool has_writer = writer.is_running;
    if (has_writer) {
        __atomic_store_n(&sink->is_ended, true, __ATOMIC_SEQ_CST);
    } else {
        sink_drain(sink);
        writer_forget(sink);
    }
    writer_unlock();
    if (has_writer) writer_wake();
}

void log_sink_put(struct log_sink *sink, struct slice line)
{
    size_t head = sink->head;
    if (line.len > sink->cap - (head - sink->tail_seen)) {
        sink->tail_seen = __atomic_load_n(&sink->tail, __ATOMIC_ACQUIRE);
        if (line.len > sink->cap - (head - sink->tail_seen)) {
            counter_add(&sink->dropped, 1);
            return;
        }
    }
    size_t at = head & (sink->cap - 1);
    size_t first = MIN(line.len, sink->cap - at);
    memcpy(sink->bytes + at, line.data, first);
    memcpy(sink->bytes, line.data + first, line.len - first);
    head += line.len;
    __atomic_store_n(&sink->head, head, __ATOMIC_SEQ_CST);

    uint32_t nap = __atomic_load_n(&writer.nap, __ATOMIC_SEQ_CST);
    if (nap == WRITER_AWAKE) return;
    if (nap == WRITER_BATCHING) {
        if (head - sink->tail_seen <= sink->cap / 2) return;
        sink->tail_seen = __atomic_load_n(&sink->tail, __ATOMIC_ACQUIRE);
        if (head - sink->tail_seen <= sink->cap / 2) return;
    }
    writer_wake();
}
