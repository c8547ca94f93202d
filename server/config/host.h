/* host.h - what the defaults take from the machine. Blocking; control thread only. */
#pragma once

#include "ring/base/base.h"

/* The host's name, with its domain where the resolver's files know one. The caller frees it. */
char *host_name(void);
/* CPUs that this process may run on. */
unsigned host_cpus(void);
/* host_cpus(), and no more than the CPU quota of the cgroup gives: at least 1. */
unsigned host_cores(void);
/* Whole CPUs that the quotas of a cgroup and those above it give, at least 1; UINT32_MAX: no limit.
 * `membership` is /proc/self/cgroup, `root` is /sys/fs/cgroup. */
unsigned host_cpu_quota(const char *membership, const char *root);
