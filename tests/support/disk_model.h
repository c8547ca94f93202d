/* disk_model.h - what a loss of power may leave of the files below a directory.
 *
 * Linked into a test program, it stands before the C library's calls that change files. Below its
 * root it keeps a second copy of everything as it is on stable storage, and the changes since: of
 * each file every write and every new size since its last sync, of names those since the last sync
 * of their directory. Durable at once is a write through a descriptor of O_DSYNC or with RWF_DSYNC.
 * It is pessimistic: no file's sync helps another, and none the name of the file.
 *
 * A crash state is what is stable, with some of the changes: of a file's writes any subset, each
 * whole or torn at a sector or a page; of names a first part of them in their order. */
#pragma once

#include "ring/base/base.h"

enum disk_op { DISK_WRITE, DISK_SIZE, DISK_NAME, DISK_SYNC };

struct disk_model_hooks {
    /* Before each change below the root: 0, or an errno that it fails with. NULL: none. */
    int (*before)(enum disk_op op);
    bool ignores_syncs; /* a sync makes nothing durable: the checks must find it out */
};
extern struct disk_model_hooks disk_model_hooks;

/* `root` is a directory, absolute; what is in it now is stable. One model at a time, one thread. */
void disk_model_begin(const char *root);
void disk_model_end(void);
uint64_t disk_model_op_count(void); /* changes and syncs since the beginning */

/* Makes a crash state in `into`, a directory that exists and is empty. `below(limit)` chooses: 0
 * ... limit - 1. Of each change `share` in a hundred survives. */
void disk_model_crash(const char *into, uint64_t (*below)(uint64_t limit), unsigned share);
