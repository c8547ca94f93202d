/* err.h - the failures that functions return.
 *
 * A function that can fail returns 0 or a negative value: -ERR_*. The values below 1000 are the
 * kernel's errno, so that a result of the loop needs no translation; those from 1000 are ours.
 * What a peer did wrong is not a failure of ours: see reply.h and the parsers. */
#pragma once

#include "ring/base/base.h"

#include <errno.h>

enum err {
    ERR_IO = EIO,
    ERR_FULL = ENOSPC, /* no room: disk, map or quota */
    ERR_MEMORY = ENOMEM,
    ERR_AGAIN = EAGAIN, /* a bounded resource is used up now; try again later */
    ERR_CANCELED = ECANCELED,
    ERR_NO_BUFFERS = ENOBUFS, /* the provided-buffer ring was empty */
    ERR_INVALID = EINVAL,
    ERR_NOT_FOUND = ENOENT,
    ERR_EXISTS = EEXIST,
    ERR_BUSY = EBUSY, /* in use now */
    ERR_ACCESS = EACCES,
    ERR_TIMEOUT = ETIMEDOUT,
    ERR_TOO_LARGE = EFBIG,

    ERR_CORRUPT = 1000, /* a checksum, length or version did not fit */
    ERR_LOCKED,         /* another process owns it */
    ERR_FILE_SYSTEM,    /* this file system cannot keep the promises of the queue */
    ERR_VERSION,        /* written by a newer version */
    ERR_FAILED_SYNC,    /* a sync failed: the process must stop (never retried) */
    ERR_SYNTAX,         /* a configuration or other text of ours does not parse */
    ERR_CLOSED,         /* the peer ended the connection */
    ERR_TLS,            /* a handshake or a record of TLS failed; conn_tls_error() says why */
};

/* The words for `err` (0, or a negative value as returned). Never NULL; static or thread-local
 * memory that the next call of the same thread may overwrite. */
const char *err_str(int err);
