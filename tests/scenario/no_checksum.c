/* no_checksum.c - stands in for store/crc32c.c where a test has to find out that nobody looks at
 * the bytes: every checksum is the same. */
#include "store/crc32c.h"

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    (void)crc;
    (void)data;
    (void)len;
    return 1;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    return crc32c(crc, data, len);
}
