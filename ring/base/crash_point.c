/* crash_point.c - see crash_point.h. */
#include "ring/base/crash_point.h"

#ifdef POSTERN_CRASH_POINTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void crash_point(const char *name)
{
    static atomic_ulong passes;
    const char *wanted = getenv("POSTERN_CRASH_AT");
    if (wanted == NULL) return;
    size_t len = strlen(name);
    if (strncmp(wanted, name, len) != 0 || wanted[len] != ':') return;
    if (atomic_fetch_add(&passes, 1) + 1 == strtoul(wanted + len + 1, NULL, 10))
        kill(getpid(), SIGKILL);
}
#else
/* A file of nothing is no C. */
extern int crash_points_are_off;
#endif
