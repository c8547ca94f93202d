/* bounce_targets.h - how many notifications each domain gets.
 *
 * Who forges senders makes us write to people who sent nothing: so each domain may get
 * BOUNCE_BURST at once, and then so many a minute. A bounded table; the domain that was written to
 * longest ago is forgotten for a new one. */
#pragma once

#include "ring/base/list.h"
#include "ring/base/map.h"

struct bounce_targets {
    struct map map;
    struct list used; /* the longest ago first */
};

void bounce_targets_init(struct bounce_targets *targets);
void bounce_targets_finish(struct bounce_targets *targets);
/* True when the domain of `address`, in any case of its letters, may get one now: it is counted.
 * `per_minute` 0: no limit. `now_ms`: of any clock that does not go back. */
bool bounce_targets_take(struct bounce_targets *targets, struct slice address, unsigned per_minute,
                         uint64_t now_ms);
/* It was not sent after all. */
void bounce_targets_give_back(struct bounce_targets *targets, struct slice address);
