/* dns_fuzz.c - answers of name servers. */
#include "resolver/answer.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum answer_type types[] = {ANSWER_MX, ANSWER_A, ANSWER_AAAA, ANSWER_PTR};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct answer answer;
        answer_read(slice_of(data, size), SLICE("example.test"), types[i], &answer);
        ASSERT(answer.record_count <= ANSWER_RECORDS_MAX);
        ASSERT(answer.status == ANSWER_FOUND || answer.record_count == 0);
        ASSERT(answer.alias_count <= ANSWER_ALIASES_MAX + 1);
        answer_finish(&answer);
    }
    return 0;
}
