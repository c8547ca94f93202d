/* compact.h - empties segments that a few old messages pin.
 *
 * When no free segment is left but the spare, the emptiest used ones below COMPACT_LIVE_PERCENT are
 * taken, until COMPACT_FREE_COUNT are free, so that what is left of several comes together: the
 * extents are read, checked, written again with the other writes of the core, and the
 * records get the new places, a few at a time. Messages in delivery are passed over: their readers
 * know the old places. Runs in the background; gives up for the moment when a block is lacking. */
#pragma once

#include "store/shard.h"

#define COMPACT_LIVE_PERCENT 25
#define COMPACT_FREE_COUNT 4

struct compactor;

struct compactor *compactor_create(struct shard *shard);
/* Starts when there is something to do; for once a second. It goes on by itself. */
void compactor_run(struct compactor *compactor);
/* Starts nothing any more; true when nothing is in flight. */
bool compactor_stop(struct compactor *compactor);
void compactor_destroy(struct compactor *compactor);
