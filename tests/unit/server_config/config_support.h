/* config_support.h - parses a text and compares the problems with those expected. */
#pragma once

#include "server/config/config.h"
#include "tests/support/test.h"

/* What every configuration needs, so that a case can be about one line: lines 1 to 7. */
#define GOOD_LISTENERS                                                                             \
    "listeners:\n"                                                                                 \
    "  - name: mx\n"                                                                               \
    "    address: [\"127.0.0.1:2525\"]\n"
#define GOOD_ROUTES                                                                                \
    "routes:\n"                                                                                    \
    "  - match: { domain: [bench.test] }\n"                                                        \
    "    action: { discard: {} }\n"
#define GOOD GOOD_LISTENERS GOOD_ROUTES

/* All lines, each ended with a newline; the caller frees it. */
static inline char *problems_text(const struct config_problems *problems)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    for (size_t i = 0; i < problems->count; i++) {
        fprintf(out, "%s\n", problems->lines[i]);
    }
    fclose(out);
    return text;
}

/* Parses `text` as t.yaml; `want` is "" when it must be fine. */
static inline void check_problems(const char *name, const char *text, char *const *environment,
                                  const char *want)
{
    struct config *config;
    struct config_problems problems;
    int err = config_parse(slice_of_cstr(text), "t.yaml", "", environment, &config, &problems);
    char *got = problems_text(&problems);
    CHECK_SLICE(name, slice_of_cstr(got), want);
    CHECK_EQ(name, err == 0, *want == '\0');
    CHECK_EQ(name, config != NULL, *want == '\0');
    free(got);
    config_problems_free(&problems);
    config_free(config);
}

/* A configuration that must be fine; NULL (and a failed check) when it is not. */
static inline struct config *parse_good(const char *name, const char *text,
                                        char *const *environment)
{
    struct config *config;
    struct config_problems problems;
    int err = config_parse(slice_of_cstr(text), "t.yaml", "", environment, &config, &problems);
    char *got = problems_text(&problems);
    CHECK_SLICE(name, slice_of_cstr(got), "");
    CHECK_EQ(name, err, 0);
    free(got);
    config_problems_free(&problems);
    return config;
}
