/* spool.h - the directory of the queue, as one process owns it.
 *
 *     SPOOL/lock                 held (flock) while a process has the spool
 *     SPOOL/format               the version and the node's number, one line of text
 *     SPOOL/shards/00/queue.mdb  LMDB environment (store/README.md has its tables)
 *     SPOOL/shards/00/segments/  00000001.seg ... bodies
 *
 * Opened once at start, by the thread that starts the cores; blocking. */
#pragma once

#include "ring/base/err.h"

struct spool;

/* How a write is made durable; both are timed on the real spool at open. */
enum sync_method {
    SYNC_DSYNC,     /* RWF_DSYNC on the write */
    SYNC_FDATASYNC, /* a write, then fdatasync */
};

/* Makes what is missing, takes the lock, refuses network and overlay file systems (statfs), times
 * both sync methods. On failure `why` holds a line for people: -ERR_LOCKED (exit 73),
 * -ERR_FILE_SYSTEM, -ERR_VERSION, or another. */
MUST_USE int spool_open(const char *path, struct spool **spool_out, char *why, size_t why_cap);
/* Every queue on it must be closed. NULL is allowed. */
void spool_close(struct spool *spool);

const char *spool_path(const struct spool *spool);
enum sync_method spool_sync_method(const struct spool *spool);
/* Median time of one small synced write of each method, as measured at open. */
uint64_t spool_sync_ns(const struct spool *spool, enum sync_method method);
/* False when the file system does not know O_DIRECT: bodies are written through its cache. */
bool spool_is_direct(const struct spool *spool);
/* Shards that exist, which may be more than there are cores now: shard i belongs to core
 * i % core_count. At least `core_count` after spool_make_shards(). */
unsigned spool_shard_count(const struct spool *spool);
MUST_USE int spool_make_shards(struct spool *spool, unsigned count);
/* The directory of one; the caller frees it. */
char *spool_shard_path(const struct spool *spool, unsigned number);
