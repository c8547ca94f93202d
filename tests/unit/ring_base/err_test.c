/* err_test.c - every failure has words. */
#include "ring/base/err.h"
#include "tests/support/test.h"

TEST(every_failure_of_ours_has_its_own_words)
{
    for (int a = ERR_CORRUPT; a <= ERR_TLS; a++) {
        CHECK(strlen(err_str(-a)) > 5);
        CHECK(strstr(err_str(-a), "Unknown") == NULL);
        for (int b = ERR_CORRUPT; b < a; b++) {
            CHECK(strcmp(err_str(-a), err_str(-b)) != 0);
        }
    }
}

TEST(the_failures_of_the_kernel_have_its_words)
{
    CHECK(strcmp(err_str(-ERR_FULL), "No space left on device") == 0);
    CHECK(strcmp(err_str(-ECONNREFUSED), "Connection refused") == 0);
    CHECK(strcmp(err_str(ECONNREFUSED), "Connection refused") == 0);
    CHECK(strcmp(err_str(0), "no error") == 0);
    CHECK(err_str(-(ERR_TLS + 1)) != NULL);
    CHECK(err_str(INT32_MIN) != NULL);
    CHECK(err_str(INT32_MAX) != NULL);
}
