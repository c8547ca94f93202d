/* invocation.c - options: --name VALUE, --name=VALUE, and "--" before arguments that begin so. */
#include "server/ctl/invocation.h"

#include "server/config/suggest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

static const struct {
    const char *name;
    const char *value; /* what it takes, or NULL */
} options[OPTION_COUNT] = {
    [OPTION_ADMIN] = {"--admin", "URL or unix:PATH"},
    [OPTION_ALL] = {"--all", NULL},
    [OPTION_CONFIG] = {"--config", "FILE"},
    [OPTION_CRAM_MD5] = {"--cram-md5", NULL},
    [OPTION_CRYPT] = {"--crypt", NULL},
    [OPTION_DEMO] = {"--demo", "DIRECTORY"},
    [OPTION_DOMAIN] = {"--domain", "DOMAIN"},
    [OPTION_DRY_RUN] = {"--dry-run", NULL},
    [OPTION_FOR] = {"--for", "DURATION"},
    [OPTION_HELP] = {"--help", NULL},
    [OPTION_ITERATIONS] = {"--iterations", "N"},
    [OPTION_JSON] = {"--json", NULL},
    [OPTION_LIMIT] = {"--limit", "N"},
    [OPTION_OLDER] = {"--older", "DURATION"},
    [OPTION_READY_FD] = {"--ready-fd", "N"},
    [OPTION_REASON] = {"--reason", "TEXT"},
    [OPTION_RECIPIENT] = {"--recipient", "ADDRESS"},
    [OPTION_SENDER] = {"--sender", "ADDRESS"},
    [OPTION_SET] = {"--set", "KEY=VALUE"},
    [OPTION_SHOW] = {"--show", NULL},
    [OPTION_STATE] = {"--state", "STATE"},
    [OPTION_YES] = {"--yes", NULL},
};

int usage_error(const struct invocation *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "postern %s: ", call->command->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see: postern help %s\n", call->command->name);
    va_end(args);
    return CTL_USAGE;
}

static bool is_taken(const struct command *command, size_t option)
{
    return option == OPTION_HELP || (command->options & BIT(option)) != 0;
}

static int unknown_option(const struct invocation *call, struct slice name)
{
    const char *near = NULL;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (is_taken(call->command, i)) near = suggest(name, near, options[i].name);
    }
    return usage_error(call, "unknown option '%.*s'%s%s%s", (int)name.len, name.data,
                       near != NULL ? " (did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?)" : "");
}

/* `text` is one option; `next` the argument after it, or NULL. *used_out: how many were taken. */
static int parse_option(struct invocation *call, char *text, char *next, int *used_out)
{
    char *equals = strchr(text, '=');
    struct slice name = slice_of(text, equals != NULL ? (size_t)(equals - text) : strlen(text));
    if (slice_eq(name, SLICE("-h"))) name = SLICE("--help");
    size_t option = 0;
    while (option < OPTION_COUNT && !slice_eq(name, slice_of_cstr(options[option].name))) {
        option++;
    }
    *used_out = 1;
    if (option == OPTION_COUNT || !is_taken(call->command, option)) {
        return unknown_option(call, name);
    }
    if (options[option].value == NULL) {
        if (equals != NULL) return usage_error(call, "%s takes no value", options[option].name);
        call->values[option] = "";
        return 0;
    }
    char *value = equals != NULL ? equals + 1 : next;
    if (value == NULL) {
        return usage_error(call, "%s needs a value: %s", options[option].name,
                           options[option].value);
    }
    *used_out = equals != NULL ? 1 : 2;
    call->values[option] = value;
    if (option != OPTION_SET) return 0;
    if (call->flag_count == CTL_SET_MAX) {
        return usage_error(call, "--set may be given at most %d times", CTL_SET_MAX);
    }
    call->flags[call->flag_count++] = value;
    return 0;
}

int invocation_parse(struct invocation *call, int argc, char **argv)
{
    ASSERT(call->command->arguments_max <= ARGUMENTS_MAX);
    bool is_over = false;
    for (int i = 0; i < argc;) {
        bool is_option = !is_over && argv[i][0] == '-' && argv[i][1] != '\0';
        if (is_option && strcmp(argv[i], "--") == 0) {
            is_over = true;
            i++;
        } else if (is_option) {
            int used = 1;
            int err = parse_option(call, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used);
            if (err != 0) return err;
            i += used;
        } else if (call->argument_count == call->command->arguments_max) {
            return usage_error(call, "'%s' is one argument too many", argv[i]);
        } else {
            call->arguments[call->argument_count++] = argv[i++];
        }
    }
    return 0;
}

const char *invocation_config_file(const struct invocation *call)
{
    if (call->values[OPTION_CONFIG] != NULL) return call->values[OPTION_CONFIG];
    const char *file = getenv("POSTERN_CONFIG");
    return file != NULL && file[0] != '\0' ? file : CTL_CONFIG_FILE;
}

int finish_output(const struct invocation *call)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return CTL_DONE;
    fprintf(stderr, "postern %s: cannot write to standard output: %s\n", call->command->name,
            strerror(errno));
    return CTL_FAILED;
}
