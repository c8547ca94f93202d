/* log_test.c - lines from threads to the output: all of them, whole, and never a wait. */
#include "ring/base/clock.h"
#include "ring/base/log.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREAD_COUNT 4
#define LINES_PER_THREAD 5000

static int open_scratch(void)
{
    FILE *file = tmpfile();
    CHECK(file != NULL);
    int fd = dup(fileno(file));
    fclose(file);
    return fd;
}

/* All that was written to `fd`, terminated; the caller frees it. */
static char *read_back(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    CHECK(size >= 0);
    char *text = malloc((size_t)size + 1);
    CHECK(pread(fd, text, (size_t)size, 0) == size);
    text[size] = '\0';
    return text;
}

static void log_one(unsigned thread, unsigned number)
{
    if (!log_begin(LOG_INFO, "tested")) return;
    log_u64("thread", thread);
    log_u64("number", number);
    log_str("pad", "0123456789 0123456789 0123456789");
    log_str("none", NULL);
    log_end();
}

static void *log_many(void *arg)
{
    unsigned thread = (unsigned)(uintptr_t)arg;
    log_thread_start(4 << 20);
    for (unsigned i = 0; i < LINES_PER_THREAD; i++) {
        log_one(thread, i);
    }
    log_thread_stop();
    return NULL;
}

/* Cuts the next line off `*rest`, terminated without its newline; NULL at the end. */
static char *next_line(char **rest)
{
    char *at = *rest, *newline = strchr(at, '\n');
    if (newline == NULL) return NULL;
    *newline = '\0';
    *rest = newline + 1;
    return at;
}

/* Every line whole, and those of each thread in order. Returns their count. */
static unsigned check_lines(char *text, unsigned *next, unsigned thread_count)
{
    unsigned count = 0;
    for (char *at; (at = next_line(&text)) != NULL; count++) {
        unsigned thread, number;
        int end = 0;
        sscanf(at, "%*s info tested thread=%u number=%u pad=\"0123456789 0123456789 0123456789\"%n",
               &thread, &number, &end);
        if (end == 0 || at[end] != '\0' || thread >= thread_count) {
            CHECK_EQ(at, 0, 1);
            return count;
        }
        CHECK(number >= next[thread]);
        next[thread] = number + 1;
    }
    return count;
}

TEST(lines_of_many_threads_arrive_whole_and_in_order)
{
    int fd = open_scratch();
    pthread_t threads[THREAD_COUNT];
    log_start(fd, LOG_TEXT, LOG_INFO);
    for (uintptr_t i = 0; i < THREAD_COUNT; i++) {
        CHECK_EQ("thread", pthread_create(&threads[i], NULL, log_many, (void *)i), 0);
    }
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
    log_stop();
    CHECK_EQ("dropped", log_dropped(), 0);
    char *text = read_back(fd);
    unsigned next[THREAD_COUNT] = {0};
    CHECK_EQ("lines", check_lines(text, next, THREAD_COUNT), THREAD_COUNT * LINES_PER_THREAD);
    free(text);
    close(fd);
}

TEST(a_line_comes_soon_without_a_stop)
{
    int pipes[2];
    CHECK_EQ("pipe", pipe(pipes), 0);
    log_start(pipes[1], LOG_JSON, LOG_INFO);
    log_thread_start(1 << 16);
    for (unsigned i = 0; i < 3; i++) {
        usleep(30000 * i); /* the writer is asleep by the second one */
        log_one(7, i);
        char bytes[512];
        ssize_t len = read(pipes[0], bytes, sizeof(bytes)); /* hangs when no line comes */
        CHECK(len > 0 && bytes[0] == '{' && bytes[len - 1] == '\n');
    }
    log_thread_stop();
    log_stop();
    close(pipes[0]);
    close(pipes[1]);
}

TEST(levels_that_are_off_write_nothing)
{
    int fd = open_scratch();
    log_start(fd, LOG_TEXT, LOG_WARN);
    log_thread_start(1 << 16);
    CHECK(log_is_on(LOG_ERROR) && log_is_on(LOG_WARN) && !log_is_on(LOG_INFO));
    CHECK(!log_begin(LOG_INFO, "hidden"));
    log_str("a", "b");
    log_u64("n", 1);
    log_seconds("s", 1);
    log_end();
    log_text(LOG_DEBUG, "hidden", "%d", 1);
    log_set_level(LOG_DEBUG);
    log_text(LOG_DEBUG, "shown", "%d of %s", 1, "them");
    log_thread_stop();
    log_stop();
    char *text = read_back(fd);
    CHECK(strstr(text, "hidden") == NULL);
    CHECK(strstr(text, " debug shown text=\"1 of them\"\n") != NULL);
    free(text);
    close(fd);
    log_set_level(LOG_INFO);
}

TEST(a_long_text_is_cut)
{
    int fd = open_scratch();
    log_start(fd, LOG_JSON, LOG_INFO);
    log_thread_start(1 << 16);
    log_text(LOG_INFO, "long", "%*d", 10 * LOG_LINE_BYTES_MAX, 1);
    log_thread_stop();
    log_stop();
    char *text = read_back(fd);
    CHECK(strstr(text, ",\"cut\":true}\n") != NULL);
    CHECK(strlen(text) <= LOG_LINE_BYTES_MAX);
    free(text);
    close(fd);
}

struct blocked_output {
    int read_end;
    char *text;
    size_t len;
};

static void *read_all(void *arg)
{
    struct blocked_output *output = arg;
    size_t cap = 1 << 22;
    output->text = malloc(cap);
    ssize_t got;
    while ((got = read(output->read_end, output->text + output->len, cap - output->len - 1)) > 0) {
        output->len += (size_t)got;
    }
    output->text[output->len] = '\0';
    return NULL;
}

/* A full ring drops whole lines, counts each, and the log says how many are missing. */
static void check_blocked_output(int pipe_flags)
{
    int pipes[2];
    CHECK_EQ("pipe", pipe(pipes), 0);
    fcntl(pipes[1], F_SETFL, pipe_flags);
    uint64_t dropped_before = log_dropped();
    log_start(pipes[1], LOG_TEXT, LOG_INFO);
    log_thread_start(1 << 14);
    uint64_t start_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < LINES_PER_THREAD; i++) {
        log_one(0, i);
    }
    CHECK(clock_monotonic_ns() - start_ns < 2 * NS_PER_S); /* nobody reads: it did not wait */
    uint64_t dropped = log_dropped() - dropped_before;
    CHECK(dropped > 0);

    struct blocked_output output = {.read_end = pipes[0]};
    pthread_t reader;
    CHECK_EQ("thread", pthread_create(&reader, NULL, read_all, &output), 0);
    log_thread_stop();
    log_stop();
    close(pipes[1]);
    pthread_join(reader, NULL);
    close(pipes[0]);

    uint64_t reported = 0;
    unsigned lines = 0, reports = 0;
    for (char *rest = output.text, *at; (at = next_line(&rest)) != NULL;) {
        const char *report = strstr(at, " warn log_dropped lines=");
        if (report != NULL) {
            reported += strtoull(report + sizeof(" warn log_dropped lines=") - 1, NULL, 10);
            reports++;
        } else {
            lines++;
        }
    }
    CHECK_EQ("written and dropped", lines + dropped, LINES_PER_THREAD);
    CHECK_EQ("reported", reported, dropped);
    CHECK(reports >= 1 && reports <= 3);
    CHECK_EQ("counted for good", log_dropped() - dropped_before, dropped);
    free(output.text);
}

TEST(an_output_that_blocks_holds_nobody_but_the_writer)
{
    check_blocked_output(0);
    check_blocked_output(O_NONBLOCK);
}

TEST(an_output_that_is_gone_loses_lines_and_counts_them)
{
    int pipes[2];
    CHECK_EQ("pipe", pipe(pipes), 0);
    close(pipes[0]);
    uint64_t dropped_before = log_dropped();
    log_start(pipes[1], LOG_TEXT, LOG_INFO);
    log_thread_start(1 << 16);
    for (unsigned i = 0; i < 10; i++) {
        log_one(0, i);
    }
    log_thread_stop();
    log_stop(); /* no SIGPIPE has ended us */
    CHECK_EQ("dropped", log_dropped() - dropped_before, 10);
    close(pipes[1]);
}

TEST(without_a_writer_or_a_sink_lines_go_to_standard_error)
{
    int fd = open_scratch(), other = open_scratch();
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    log_one(0, 0); /* no writer, no sink */
    log_thread_start(1 << 16);
    log_one(0, 1); /* a sink, but no writer */
    log_thread_stop();
    log_start(other, LOG_TEXT, LOG_INFO);
    log_one(0, 2); /* a writer, but no sink */
    log_stop();
    log_one(0, 3);
    dup2(kept, STDERR_FILENO);
    close(kept);
    char *text = read_back(fd);
    unsigned next[1] = {0};
    CHECK_EQ("lines", check_lines(text, next, 1), 4);
    free(text);
    text = read_back(other);
    CHECK_EQ("other", strlen(text), 0);
    free(text);
    close(fd);
    close(other);
}

static void *start_and_stop(void *arg)
{
    for (unsigned i = 0; i < 200; i++) {
        log_thread_start(1 << 13);
        log_one((unsigned)(uintptr_t)arg, i);
        log_thread_stop();
    }
    return NULL;
}

TEST(threads_that_come_and_go_lose_nothing)
{
    int fd = open_scratch();
    pthread_t threads[THREAD_COUNT];
    log_start(fd, LOG_TEXT, LOG_INFO);
    for (uintptr_t i = 0; i < THREAD_COUNT; i++) {
        CHECK_EQ("thread", pthread_create(&threads[i], NULL, start_and_stop, (void *)i), 0);
    }
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
    log_stop();
    char *text = read_back(fd);
    /* Sinks of one thread are several here, and may be drained in any order. */
    unsigned lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    CHECK_EQ("lines", lines, THREAD_COUNT * 200);
    free(text);
    close(fd);
}

/* In a process of its own: the writer is left behind. */
static void stop_with_output_stuck(void)
{
    int pipes[2];
    if (pipe(pipes) != 0) _exit(2);
    log_start(pipes[1], LOG_TEXT, LOG_INFO);
    log_thread_start(1 << 18);
    for (unsigned i = 0; i < LINES_PER_THREAD; i++) {
        log_one(0, i);
    }
    log_stop();
    log_one(0, 0);
    log_thread_stop();
    _exit(0);
}

TEST(a_stop_does_not_wait_for_ever_for_an_output_nobody_reads)
{
    fflush(stdout);
    uint64_t start_ns = clock_monotonic_ns();
    pid_t child = fork();
    if (child == 0) stop_with_output_stuck();
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(clock_monotonic_ns() - start_ns < 20 * NS_PER_S);
}
