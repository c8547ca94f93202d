/* assert.c - the end of a process that found a fact about itself to be wrong. */
#include "ring/base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void assert_failed(const char *fact, const char *file, int line, const char *function)
{
    char text[512];
    int len = snprintf(text, sizeof(text), "%s:%d: %s: not true: %s\n", file, line, function, fact);
    if (len > 0) {
        /* Not through stdio: its lock may be held by the code that failed. */
        ssize_t ignored = write(STDERR_FILENO, text, MIN((size_t)len, sizeof(text) - 1));
        (void)ignored;
    }
    abort();
}
