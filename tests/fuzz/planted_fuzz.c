/* A fault that is there on purpose: ./test runs this target alone, and it must be found. */
#include "ring/base/base.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ASSERT(size < 4 || memcmp(data, "DATA", 4) != 0);
    return 0;
}
