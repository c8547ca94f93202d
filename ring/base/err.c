/* err.c - words for failures: our own from ERR_CORRUPT on, the C library's below. */
#include "ring/base/err.h"

#include <string.h>

#define ERR_TEXT_BYTES 128

static const char *const words[] = {
    [0] = "corrupt data: a checksum, length or version does not fit",
    [ERR_LOCKED - ERR_CORRUPT] = "in use by another process",
    [ERR_FILE_SYSTEM - ERR_CORRUPT] = "this file system cannot keep the promises of the queue",
    [ERR_VERSION - ERR_CORRUPT] = "written by a newer version",
    [ERR_FAILED_SYNC - ERR_CORRUPT] = "a sync to disk failed",
    [ERR_SYNTAX - ERR_CORRUPT] = "syntax error",
    [ERR_CLOSED - ERR_CORRUPT] = "the peer ended the connection",
    [ERR_TLS - ERR_CORRUPT] = "TLS failed",
};

const char *err_str(int err)
{
    static _Thread_local char text[ERR_TEXT_BYTES];

    if (err == 0) return "no error";
    /* A positive value is taken as a bare errno, so that a slip in a caller still reads well. */
    unsigned code = err < 0 ? 0u - (unsigned)err : (unsigned)err;
    if (code >= ERR_CORRUPT && code - ERR_CORRUPT < ARRAY_LEN(words)) {
        return words[code - ERR_CORRUPT];
    }
    return strerror_r((int)(code & 0x7fffffff), text, sizeof(text));
}
