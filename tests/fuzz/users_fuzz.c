/* The users file: any text is read or refused with a problem; each user is found by its name. */
#include "server/auth/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct users *users;
    struct config_problems problems = {0};
    struct slice text = slice_of(data, size);
    int err = users_parse(text, "fuzzed", &users, &problems);
    ASSERT((err == 0) == (users != NULL) && (err == 0) == (problems.count == 0));
    size_t found = 0;
    for (size_t from = 0; err == 0 && from < size;) {
        size_t to = from;
        while (to < size && data[to] != '\n' && data[to] != ' ' && data[to] != '\t')
            to++;
        const struct user *user = users_find(users, slice_of(data + from, to - from));
        if (user != NULL) {
            ASSERT(user->password != NULL && user->name.len <= USERS_NAME_BYTES_MAX);
            found++;
        }
        while (to < size && data[to] != '\n')
            to++;
        from = to + 1;
    }
    ASSERT(err != 0 || found <= size);
    users_unref(users);
    config_problems_free(&problems);
    return 0;
}
