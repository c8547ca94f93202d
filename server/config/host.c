/* host.c - see host.h. */
#include "server/config/host.h"

#include "ring/base/memory.h"

#include <inttypes.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOST_NAME_BYTES_MAX 256
#define CGROUP_PATH_BYTES_MAX 4096

char *host_name(void)
{
    char name[HOST_NAME_BYTES_MAX];
    if (gethostname(name, sizeof(name)) != 0) return xstrdup("localhost");
    name[sizeof(name) - 1] = '\0';
    if (strchr(name, '.') != NULL) return xstrdup(name);

    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char *full = NULL;
    if (getaddrinfo(name, NULL, &hints, &found) == 0 && found->ai_canonname != NULL &&
        strchr(found->ai_canonname, '.') != NULL) {
        full = xstrdup(found->ai_canonname);
    }
    if (found != NULL) freeaddrinfo(found);
    return full != NULL ? full : xstrdup(name);
}

unsigned host_cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return (unsigned)MAX(CPU_COUNT(&set), 1);
    /* More CPUs than a fixed set holds. */
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

/* The first line of `path`, or false. */
static bool read_line(const char *path, char *line, int line_cap)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    bool is_read = fgets(line, line_cap, file) != NULL;
    fclose(file);
    return is_read;
}

static unsigned whole_cpus(int64_t quota_us, int64_t period_us)
{
    if (quota_us <= 0 || period_us <= 0) return UINT32_MAX;
    return (unsigned)MAX(quota_us / period_us, 1);
}

/* Version 2: "QUOTA PERIOD" or "max PERIOD" in cpu.max. */
static unsigned read_quota_v2(const char *directory)
{
    char path[CGROUP_PATH_BYTES_MAX + 64], line[64];
    int64_t quota, period;
    snprintf(path, sizeof(path), "%s/cpu.max", directory);
    if (!read_line(path, line, sizeof(line))) return UINT32_MAX;
    if (sscanf(line, "%" SCNd64 " %" SCNd64, &quota, &period) != 2) return UINT32_MAX;
    return whole_cpus(quota, period);
}

/* Version 1: the quota is -1 where there is none. */
static unsigned read_quota_v1(const char *directory)
{
    char path[CGROUP_PATH_BYTES_MAX + 64], line[64];
    int64_t quota, period;
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", directory);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNd64, &quota) != 1) {
        return UINT32_MAX;
    }
    snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", directory);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNd64, &period) != 1) {
        return UINT32_MAX;
    }
    return whole_cpus(quota, period);
}

/* The least quota of the group and of all above it, up to the mount. In a container the mount may
 * show only the container's own group, while the membership names the path outside: then the
 * directories on the way are missing, which is no limit, and the mount itself is asked last. */
static unsigned least_quota(const char *mount, const char *group,
                            unsigned (*read_quota)(const char *directory))
{
    char directory[CGROUP_PATH_BYTES_MAX];
    int len = snprintf(directory, sizeof(directory), "%s%s", mount, group);
    if (len < 0 || (size_t)len >= sizeof(directory)) return UINT32_MAX;
    size_t mount_len = strlen(mount);
    unsigned least = UINT32_MAX;
    for (;;) {
        least = MIN(least, read_quota(directory));
        char *slash = strrchr(directory + mount_len, '/');
        if (slash == NULL) return least;
        *slash = '\0';
    }
}

unsigned host_cpu_quota(const char *membership, const char *root)
{
    FILE *file = fopen(membership, "re");
    if (file == NULL) return UINT32_MAX;
    unsigned least = UINT32_MAX;
    char line[CGROUP_PATH_BYTES_MAX];
    /* "0::/group" in version 2; "4:cpu,cpuacct:/group" in version 1. */
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) continue;
        *group++ = '\0';
        controllers++;
        if (*controllers == '\0') {
            least = MIN(least, least_quota(root, group, read_quota_v2));
            continue;
        }
        for (char *rest = controllers, *name; (name = strsep(&rest, ",")) != NULL;) {
            char mount[CGROUP_PATH_BYTES_MAX];
            if (strcmp(name, "cpu") != 0) continue;
            int len = snprintf(mount, sizeof(mount), "%s/cpu", root);
            if (len < 0 || (size_t)len >= sizeof(mount)) continue;
            least = MIN(least, least_quota(mount, group, read_quota_v1));
        }
    }
    fclose(file);
    return least;
}

unsigned host_cores(void)
{
    return MIN(host_cpus(), host_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
}
