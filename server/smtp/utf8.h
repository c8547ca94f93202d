/* utf8.h - UTF-8 as RFC 3629 and RFC 6531 have it: no overlong forms, no surrogates, nothing above
 * U+10FFFF. Pure. */
#pragma once

#include "ring/base/slice.h"

/* The bytes of the character that `in` begins with, 1 to 4; 0: `in` is empty, or its front is no
 * UTF-8 or is cut off. */
size_t utf8_char_bytes(struct slice in);
/* True for the controls U+0080 to U+009F at the front of `in`: text to UTF-8, commands to some
 * terminals. */
bool utf8_is_control(struct slice in);
bool utf8_is_valid(struct slice in);
/* True when a byte above 127 is in it. */
bool utf8_is_needed(struct slice in);
