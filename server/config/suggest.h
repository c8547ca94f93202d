/* suggest.h - finds the word that a mistyped one was meant to be. Pure. */
#pragma once

#include "ring/base/slice.h"

#define SUGGEST_BYTES_MAX 40 /* longer words get no suggestion */

/* The better of `best` (NULL: none yet) and `candidate` for `word`; NULL when neither is near. */
const char *suggest(struct slice word, const char *best, const char *candidate);
