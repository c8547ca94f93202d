/* load_idle.h - connections that say EHLO and are silent until the end.
 *
 * They come up before the sessions start, so many at once, and are held through the run. One that
 * the server ends is counted as lost and not opened again. When for a while none comes up, those
 * that did not are given up. */
#pragma once

#include "bench/load_core.h"

struct load_idle;

/* Begins to open `count` of them; load_core_on_idle_ready() tells when all are up or refused. */
struct load_idle *load_idle_start(struct load_core *core, uint32_t count);
/* Closes them; load_core_on_idle_over() tells when none is left, perhaps at once. */
void load_idle_stop(struct load_idle *idle);
struct load_idle_counts load_idle_counts(const struct load_idle *idle);
/* After load_core_on_idle_over(). NULL is allowed. */
void load_idle_finish(struct load_idle *idle);
