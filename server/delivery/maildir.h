/* maildir.h - delivers into maildirs, through the loop: nothing here waits for the disk.
 *
 *     tmp/NAME is written and synced -> linked to new/NAME -> new/ is synced -> tmp/NAME is removed
 *
 * NAME is the same for every attempt of one recipient, so that a copy that was made before a crash
 * is found (EEXIST) and not made twice. Directories are made where they are missing. At most
 * MAILDIR_WRITERS_MAX recipients are written at a time; other attempts wait in line. */
#pragma once

#include "ring/base/memory.h"
#include "server/delivery/attempt.h"

#define MAILDIR_WRITERS_MAX 16

struct maildirs {
    struct delivery *delivery;
    struct list waiting; /* attempts */
    struct slab writers;
};

void maildirs_init(struct maildirs *maildirs, struct delivery *delivery);
/* No writer may be left. */
void maildirs_finish(struct maildirs *maildirs);
/* Takes an attempt over until attempt_end(). It may end inside this call. */
void maildirs_submit(struct maildirs *maildirs, struct attempt *attempt);
/* Gives up what waits; a writer ends after the recipient it is at. */
void maildirs_stop(struct maildirs *maildirs);
