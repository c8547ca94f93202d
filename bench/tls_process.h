/* tls_process.h - the processes that `tls` measures: a server of ours, and the openssl command.
 *
 * Each is bound to one processor and dies with its parent. Blocking; for a tool that waits. */
#pragma once

#include "ring/base/endpoint.h"

#include <sys/types.h>

#define TLS_PROCESS_ARGS_MAX 32

struct tls_process {
    pid_t pid;
    int input, output; /* pipes to its standard input and from its standard output; -1: none */
};

struct tls_process_usage {
    double cpu_s;
    uint64_t resident_bytes;
};

/* Binds the calling process to `cpu`; false when that is not possible. */
bool tls_process_bind(unsigned cpu);
/* Starts `run` with `data` in a child, whose status its result becomes. */
struct tls_process tls_process_fork(unsigned cpu, int (*run)(const void *data), const void *data);
/* Starts the openssl command with `args`, up to a NULL. Its standard error goes nowhere. */
struct tls_process tls_process_openssl(unsigned cpu, const char *const *args);
struct tls_process_usage tls_process_usage(const struct tls_process *process);
/* Reads its output to the end, keeps the last `cap` - 1 bytes of it, and waits for it. Returns its
 * status. */
int tls_process_finish(struct tls_process *process, char *output, size_t cap);
/* Ends it. */
void tls_process_stop(struct tls_process *process);
