/* json_text.h - bytes of any origin as a JSON string. */
#pragma once

#include "ring/base/slice.h"

#include <jansson.h>

/* What is not UTF-8 is taken as Latin-1, so that nothing is lost. Returns owned. */
json_t *json_text(struct slice s);
