/* suspension_test.c - sets of suspended destinations. */
#include "server/delivery/suspension.h"

#include "tests/support/test.h"

static struct suspension entry(const char *destination, uint64_t until_ms)
{
    return (struct suspension){
        .destination = (char *)(uintptr_t)destination,
        .reason = (char *)(uintptr_t) "maintenance",
        .since_ms = 1000,
        .until_ms = until_ms,
    };
}

TEST(a_destination_is_found_by_its_whole_name)
{
    const struct suspension entries[] = {entry("example.test", 0), entry("b.test", 5000),
                                         entry("example.tes", 0),
                                         entry("192.0.2.1:25,192.0.2.2:25", 0)};
    struct suspensions *set = suspensions_create(entries, ARRAY_LEN(entries));
    static const struct {
        const char *name;
        uint64_t now_ms;
        bool is_found;
    } cases[] = {
        {"example.test", 2000, true},
        {"EXAMPLE.Test", 2000, true},
        {"example.testx", 2000, false},
        {"example.te", 2000, false},
        {"example.tes", 2000, true},
        {"", 2000, false},
        {"192.0.2.1:25,192.0.2.2:25", 2000, true},
        {"192.0.2.1:25", 2000, false},
        {"b.test", 4999, true},
        {"b.test", 5000, false}, /* its time is over */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct suspension *found =
            suspensions_find(set, slice_of_cstr(cases[i].name), cases[i].now_ms);
        CHECK_EQ(cases[i].name, found != NULL, cases[i].is_found);
        if (found != NULL) CHECK_EQ("its own", strlen(found->destination), strlen(cases[i].name));
    }
    suspensions_unref(set);
}

TEST(none_is_found_in_nothing)
{
    CHECK(suspensions_find(NULL, SLICE("a.test"), 1) == NULL);
    struct suspensions *set = suspensions_create(NULL, 0);
    CHECK(suspensions_find(set, SLICE("a.test"), 1) == NULL);
    suspensions_unref(set);
    suspensions_unref(NULL);
}

TEST(the_largest_set_is_kept_until_its_last_holder_has_gone)
{
    static struct suspension entries[SUSPENSIONS_MAX];
    static char names[SUSPENSIONS_MAX][16];
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        snprintf(names[i], sizeof(names[i]), "d%zu.test", i);
        entries[i] = entry(names[i], 0);
    }
    struct suspensions *set = suspensions_create(entries, ARRAY_LEN(entries));
    struct suspensions *held = suspensions_ref(set);
    suspensions_unref(set);
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        CHECK(suspensions_find(held, slice_of_cstr(names[i]), 1) != NULL);
    suspensions_unref(held);
}
