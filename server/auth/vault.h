/* vault.h - memory for passwords: pages of their own, which core dumps leave out and which are
 * wiped when they are given back. */
#pragma once

#include "ring/base/base.h"

/* Zeroed. NULL when memory is out. Costs system calls: one for an exchange, not for a command. */
MUST_USE void *vault_alloc(size_t bytes);
/* `bytes` as it was allocated with. NULL is allowed. */
void vault_free(void *memory, size_t bytes);
