/* The configuration: any text is read, or refused with at least one problem that says where, and
 * what was read holds to the limits that others rely on. */
#include "server/config/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config;
    struct config_problems problems = {0};
    int err = config_parse(slice_of(data, size), "fuzzed", "/", NULL, &config, &problems);
    ASSERT((err == 0) == (config != NULL));
    if (err != 0) {
        ASSERT(problems.count > 0);
        for (size_t i = 0; i < problems.count; i++)
            ASSERT(strncmp(problems.lines[i], "fuzzed", 6) == 0);
    } else {
        size_t addresses = 0;
        for (size_t i = 0; i < config->listener_count; i++)
            addresses += config->listeners[i].address_count;
        ASSERT(addresses <= CONFIG_ADDRESSES_MAX);
    }
    config_free(config);
    config_problems_free(&problems);
    return 0;
}
