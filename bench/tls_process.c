/* tls_process.c - forks, binds, counts and ends. */
#include "bench/tls_process.h"

#include "ring/base/err.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

bool tls_process_bind(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0;
}

NORETURN static void give_up(const char *what)
{
    fprintf(stderr, "tls: %s: %s\n", what, err_str(-errno));
    exit(EXIT_FAILURE);
}

static int openssl(const void *data)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, STDERR_FILENO);
    execvp("openssl", (char *const *)(uintptr_t)data);
    return 127;
}

struct tls_process tls_process_fork(unsigned cpu, int (*run)(const void *data), const void *data)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) give_up("no pipe");
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) give_up("no process");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)tls_process_bind(cpu);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        _exit(run(data));
    }
    close(in[0]);
    close(out[1]);
    return (struct tls_process){pid, in[1], out[0]};
}

struct tls_process tls_process_openssl(unsigned cpu, const char *const *args)
{
    return tls_process_fork(cpu, openssl, args);
}

/* The second number of statm: resident pages. */
static uint64_t resident_bytes(pid_t pid)
{
    char path[64];
    unsigned long pages = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct tls_process_usage tls_process_usage(const struct tls_process *process)
{
    struct tls_process_usage usage = {.resident_bytes = resident_bytes(process->pid)};
    struct timespec time;
    clockid_t clock;
    if (clock_getcpuclockid(process->pid, &clock) == 0 && clock_gettime(clock, &time) == 0)
        usage.cpu_s = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
    return usage;
}

static void close_pipes(struct tls_process *process)
{
    if (process->input >= 0) close(process->input);
    if (process->output >= 0) close(process->output);
    process->input = process->output = -1;
}

int tls_process_finish(struct tls_process *process, char *output, size_t cap)
{
    char block[4096];
    size_t len = 0;
    ssize_t n;
    while ((n = read(process->output, block, sizeof(block))) > 0) {
        size_t bytes = MIN((size_t)n, cap - 1), room = cap - 1 - bytes;
        if (len > room) {
            memmove(output, output + (len - room), room);
            len = room;
        }
        memcpy(output + len, block + ((size_t)n - bytes), bytes);
        len += bytes;
    }
    output[len] = '\0';
    close_pipes(process);
    int status = 0;
    waitpid(process->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

void tls_process_stop(struct tls_process *process)
{
    kill(process->pid, SIGKILL);
    close_pipes(process);
    waitpid(process->pid, NULL, 0);
}
