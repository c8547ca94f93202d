/* op.h - one asynchronous operation, embedded in the object that waits for it.
 *
 * The object, and every buffer the operation names, must outlive done(), cancelled or not.
 * done() runs from loop_run() only, never inside the call that started the operation. Between
 * start and done() the operation belongs to the loop; after done() it may be started again, also
 * from inside done(). An operation that repeats (multishot) sets `has_more` while it goes on. */
#pragma once

#include "ring/base/err.h"

struct ring_op {
    void (*done)(struct ring_op *op);
    int result;     /* 0 or more, or -ERR_*; valid inside done() */
    uint16_t input; /* the input buffer that came with it (loop_recv_multishot) */
    bool has_input;
    bool has_more; /* done() will run again without a new start */
};
