/* crc32c.h - CRC-32C (Castagnoli, RFC 3720 B.4) of records and bodies. Pure; any thread. */
#pragma once

#include "ring/base/base.h"

/* The checksum of what `crc` covers (0: nothing yet) followed by `data`. Uses the instruction of
 * the CPU when it has one. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same from a table: for CPUs without the instruction, and for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);
