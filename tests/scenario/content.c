/* content.c - messages that can be told apart and checked to the last byte. */
#include "tests/scenario/ledger.h"

#include "ring/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "X-Sim-Id: "
#define LINE_MAX_BYTES 120

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t put_line(char *at, uint64_t *state)
{
    size_t len = next(state) % LINE_MAX_BYTES, begin = 0;
    if (next(state) % 10 == 0) at[begin++] = '.';
    for (size_t i = begin; i < len; i++)
        at[i] = (char)(' ' + next(state) % 95);
    len = MAX(len, begin);
    memcpy(at + len, "\r\n", 2);
    return len + 2;
}

char *content_make(uint32_t number, size_t wanted, size_t *bytes_out)
{
    size_t cap = wanted + 256 + LINE_MAX_BYTES;
    char *bytes = xmalloc(cap);
    uint64_t state = 0x9e3779b97f4a7c15ull * (number + 1);
    size_t len = (size_t)snprintf(bytes, cap, MARK "%08x\r\nSubject: simulated\r\n\r\n", number);
    while (len < wanted)
        len += put_line(bytes + len, &state);
    *bytes_out = len;
    return bytes;
}

uint32_t content_find(const char *bytes, size_t len, size_t *at_out)
{
    const char *at = memmem(bytes, len, MARK, sizeof(MARK) - 1);
    unsigned number;
    if (at == NULL || (size_t)(bytes + len - at) < sizeof(MARK) + 8) return UINT32_MAX;
    char digits[9] = "";
    memcpy(digits, at + sizeof(MARK) - 1, 8);
    if (sscanf(digits, "%8x", &number) != 1) return UINT32_MAX;
    *at_out = (size_t)(at - bytes);
    return number;
}
