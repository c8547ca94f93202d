/* loop_explain.c - why a kernel refused io_uring, in one line with the remedy.
 *
 * Container runtimes forbid io_uring by default, each in its way, and the errno alone does not
 * tell them apart. */
#include "ring/loop_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define KERNEL_MAJOR_MIN 6
#define KERNEL_MINOR_MIN 1
#define SECCOMP_FILTER 2

/* True when `release` ("6.1.0-18-amd64") is older than what the loop needs, or cannot be read. */
static bool is_too_old(const char *release)
{
    unsigned major, minor;
    if (sscanf(release, "%u.%u", &major, &minor) != 2) return true;
    if (major != KERNEL_MAJOR_MIN) return major < KERNEL_MAJOR_MIN;
    return minor < KERNEL_MINOR_MIN;
}

#define ALLOW_CALLS                                                                                \
    "run with a seccomp profile that also allows io_uring_setup, io_uring_enter and "              \
    "io_uring_register (--security-opt seccomp=FILE)"

static void explain_eperm(const struct loop_refusal *r, char *why, size_t cap)
{
    /* The sysctl first: no profile helps against it. */
    if (r->io_uring_disabled == 2) {
        snprintf(why, cap,
                 "io_uring is switched off on this host (sysctl kernel.io_uring_disabled=2): set "
                 "it to 0");
    } else if (r->io_uring_disabled == 1) {
        snprintf(why, cap,
                 "io_uring is for one group only on this host (sysctl "
                 "kernel.io_uring_disabled=1): set it to 0, or run in the group that "
                 "kernel.io_uring_group names");
    } else if (r->seccomp_mode == SECCOMP_FILTER) {
        snprintf(why, cap,
                 "io_uring is forbidden by a seccomp filter (EPERM: the default of Docker from "
                 "25.0 and of containerd): " ALLOW_CALLS);
    } else {
        snprintf(why, cap,
                 "io_uring is forbidden (EPERM) by a security module of this host: allow "
                 "io_uring_setup, for SELinux the class io_uring");
    }
}

static void explain_enosys(const struct loop_refusal *r, char *why, size_t cap)
{
    if (r->seccomp_mode == SECCOMP_FILTER) {
        snprintf(
            why, cap,
            "io_uring is hidden by a seccomp filter (ENOSYS: the default of Podman): " ALLOW_CALLS);
    } else {
        snprintf(why, cap,
                 "kernel %s has no io_uring: run kernel %d.%d or newer, built with "
                 "CONFIG_IO_URING",
                 r->release, KERNEL_MAJOR_MIN, KERNEL_MINOR_MIN);
    }
}

static void explain_einval(const struct loop_refusal *r, char *why, size_t cap)
{
    if (is_too_old(r->release)) {
        snprintf(why, cap, "kernel %s is too old: run kernel %d.%d or newer", r->release,
                 KERNEL_MAJOR_MIN, KERNEL_MINOR_MIN);
    } else {
        snprintf(why, cap,
                 "io_uring of kernel %s refused its options (EINVAL): it lacks what kernel %d.%d "
                 "has; a sandbox such as gVisor answers so",
                 r->release, KERNEL_MAJOR_MIN, KERNEL_MINOR_MIN);
    }
}

void loop_explain(const struct loop_refusal *r, char *why, size_t why_cap)
{
    switch (-r->err) {
    case EPERM:
    case EACCES:
        explain_eperm(r, why, why_cap);
        break;
    case ENOSYS:
        explain_enosys(r, why, why_cap);
        break;
    case EINVAL:
        explain_einval(r, why, why_cap);
        break;
    case ENOMEM:
        snprintf(why, why_cap,
                 "no memory for io_uring (ENOMEM): raise the memory limit of the container, or "
                 "RLIMIT_MEMLOCK, which is %" PRIu64 " KiB (systemd: LimitMEMLOCK=, docker: "
                 "--ulimit memlock=)",
                 r->memlock_bytes / 1024);
        break;
    case EMFILE:
    case ENFILE:
        snprintf(why, why_cap,
                 "no descriptor left for io_uring: raise the limit (systemd: LimitNOFILE=, "
                 "docker: --ulimit nofile=)");
        break;
    default:
        snprintf(why, why_cap, "io_uring failed: %s (kernel %s)", err_str(r->err), r->release);
        break;
    }
}

/* Reads the start of a small file as text; false when it is not there. */
static bool read_text(const char *path, char *text, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t len = read(fd, text, cap - 1);
    close(fd);
    if (len < 0) return false;
    text[len] = '\0';
    return true;
}

static int seccomp_mode_here(void)
{
    static const char key[] = "\nSeccomp:";
    char text[4096];
    if (!read_text("/proc/self/status", text, sizeof(text))) return -1;
    const char *line = strstr(text, key);
    return line == NULL ? -1 : (int)strtol(line + strlen(key), NULL, 10);
}

static int io_uring_disabled_here(void)
{
    char text[32];
    if (!read_text("/proc/sys/kernel/io_uring_disabled", text, sizeof(text))) return -1;
    return (int)strtol(text, NULL, 10);
}

void loop_explain_here(int err, char *why, size_t why_cap)
{
    struct utsname host;
    struct rlimit memlock;
    bool has_host = uname(&host) == 0, has_limit = getrlimit(RLIMIT_MEMLOCK, &memlock) == 0;
    struct loop_refusal refusal = {
        .err = err,
        .seccomp_mode = seccomp_mode_here(),
        .io_uring_disabled = io_uring_disabled_here(),
        .release = has_host ? host.release : "?",
        .memlock_bytes = has_limit ? memlock.rlim_cur : 0,
    };
    loop_explain(&refusal, why, why_cap);
}
