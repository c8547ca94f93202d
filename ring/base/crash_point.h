/* crash_point.h - places where a test may end the process as SIGKILL does.
 *
 * Only in builds with POSTERN_CRASH_POINTS: there POSTERN_CRASH_AT=NAME:N in the environment ends
 * the process when it comes to the place of that name for the N-th time, from any thread. Others
 * hold no trace of it. Names are unique; tests/daemon/kill_points_test.py visits each. */
#pragma once

#ifdef POSTERN_CRASH_POINTS
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif
