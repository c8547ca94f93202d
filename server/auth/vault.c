/* vault.c - anonymous pages that are not dumped. */
#include "server/auth/vault.h"

#include <openssl/crypto.h>
#include <sys/mman.h>

void *vault_alloc(size_t bytes)
{
    ASSERT(bytes > 0);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    (void)madvise(memory, bytes, MADV_DONTDUMP); /* a kernel without it dumps them: no more */
    return memory;
}

void vault_free(void *memory, size_t bytes)
{
    if (memory == NULL) return;
    OPENSSL_cleanse(memory, bytes);
    int err = munmap(memory, bytes);
    ASSERT(err == 0);
}
