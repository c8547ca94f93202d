/* demo.h - a directory with all that a gateway to try needs. */
#pragma once

#include "ring/base/base.h"

/* Makes `directory` and a postern.yaml in it, unless they are there: what a user changed stays.
 * *file_out gets the path, which the caller frees. Returns 0, or CTL_FAILED after a line on
 * standard error. */
MUST_USE int demo_prepare(const char *directory, char **file_out);
