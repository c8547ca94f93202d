/* daemon.c - the commands that are about one process: run, check, reload, health, version. */
#include "ring/base/memory.h"
#include "server/auth/credentials.h"
#include "server/ctl/admin_client.h"
#include "server/ctl/commands.h"
#include "server/ctl/demo.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define READY_FD_MAX 65535

/* Ends `problems`. */
static void print_lines(struct config_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        fprintf(stderr, "%s\n", problems->lines[i]);
    }
    config_problems_free(problems);
}

/* Prints the problems, if any. */
static int load(const struct invocation *call, const char *file, struct config **config_out)
{
    struct config_problems problems;
    int err = config_load_with_flags(file, environ, call->flags, config_out, &problems);
    print_lines(&problems);
    return err == 0 ? CTL_DONE : CTL_BAD_CONFIG;
}

/* Reads the certificates, keys and users that a listener names, as the start of the daemon does: it
 * takes a certificate that has ended, and warns. */
static int check_credentials(const struct config *config)
{
    struct config_problems problems = {0};
    struct credentials *credentials;
    int err = credentials_load(config, 1, NULL, &credentials, &problems);
    print_lines(&problems);
    for (size_t i = 0; err == 0 && i < config->listener_count; i++) {
        const char *expired = credentials_expired(credentials, i);
        if (expired != NULL) fprintf(stderr, "warning: %s\n", expired);
    }
    credentials_destroy(credentials);
    return err == 0 ? CTL_DONE : CTL_BAD_CONFIG;
}

static int parse_ready_fd(const struct invocation *call, int *fd_out)
{
    *fd_out = -1;
    const char *text = call->values[OPTION_READY_FD];
    if (text == NULL) return 0;
    uint64_t fd;
    if (!slice_to_u64(slice_of_cstr(text), READY_FD_MAX, &fd)) {
        return usage_error(call, "--ready-fd must be the number of an open file, not '%s'", text);
    }
    if (fcntl((int)fd, F_GETFD) < 0) {
        return usage_error(call, "--ready-fd %s is not open", text);
    }
    *fd_out = (int)fd;
    return 0;
}

int command_run(const struct invocation *call)
{
    struct ctl_run_options options = {.config_file = invocation_config_file(call),
                                      .flags = call->flags};
    const char *demo = call->values[OPTION_DEMO];
    if (demo != NULL && call->values[OPTION_CONFIG] != NULL) {
        return usage_error(call, "--demo brings its own configuration: leave --config out");
    }
    int err = parse_ready_fd(call, &options.ready_fd);
    char *demo_file = NULL;
    if (err == 0 && demo != NULL) {
        err = demo_prepare(demo, &demo_file);
        options.config_file = demo_file;
    }
    if (err == 0) err = load(call, options.config_file, &options.config);
    if (err == 0) err = call->hooks->run(&options);
    free(demo_file);
    return err;
}

int command_check(const struct invocation *call)
{
    const char *file = call->argument_count > 0 ? call->arguments[0] : invocation_config_file(call);
    struct config *config;
    int err = load(call, file, &config);
    if (err != 0) return err;
    err = check_credentials(config);
    if (err != 0) {
        config_free(config);
        return err;
    }
    if (call->values[OPTION_SHOW] != NULL) {
        config_show(config, stdout);
    } else {
        printf("%s: fine\n", file);
    }
    config_free(config);
    return finish_output(call);
}

/* The first line of an answer that is made for people, without control bytes. */
static void print_line(FILE *out, const char *text)
{
    for (; *text != '\0' && *text != '\n'; text++) {
        fputc((unsigned char)*text < ' ' ? '?' : *text, out);
    }
    fputc('\n', out);
}

static int print_problems(const json_t *answer)
{
    const json_t *problems = json_object_get(answer, "problems");
    for (size_t i = 0; i < json_array_size(problems); i++) {
        const char *line = json_string_value(json_array_get(problems, i));
        if (line != NULL) print_line(stderr, line);
    }
    fputs("postern reload: refused; the old configuration stays in force\n", stderr);
    return CTL_BAD_CONFIG;
}

int command_reload(const struct invocation *call)
{
    struct admin_client *client;
    struct admin_client_answer answer;
    int err = admin_client_open(call, &client);
    if (err != 0) return err;
    err = admin_client_send(client, "POST", "/api/v1/reload", &answer);
    admin_client_close(client);
    if (err != 0) return err;
    json_t *json = json_loadb(answer.body, answer.body_bytes, 0, NULL);
    const json_t *ok = json_object_get(json, "ok");
    if (json_is_true(ok)) {
        puts("reloaded");
        err = finish_output(call);
    } else if (json_is_false(ok)) {
        err = print_problems(json);
    } else {
        fprintf(stderr, "postern reload: the daemon answered %ld: ", answer.status);
        print_line(stderr, answer.body);
        err = CTL_FAILED;
    }
    json_decref(json);
    free(answer.body);
    return err;
}

int command_health(const struct invocation *call)
{
    struct admin_client *client;
    struct admin_client_answer answer;
    int err = admin_client_open(call, &client);
    if (err != 0) return err;
    err = admin_client_send(client, "GET", "/readyz", &answer);
    admin_client_close(client);
    if (err != 0) return err;
    bool is_ready = answer.status == 200;
    if (is_ready) {
        puts("ready");
    } else {
        fprintf(stderr, "postern health: not ready (%ld): ", answer.status);
        print_line(stderr, answer.body);
    }
    free(answer.body);
    err = finish_output(call);
    return is_ready ? err : CTL_FAILED;
}

int command_version(const struct invocation *call)
{
    if (call->values[OPTION_JSON] != NULL) {
        printf("{\"version\": \"%s\"}\n", call->hooks->version);
    } else {
        printf("postern %s\n", call->hooks->version);
    }
    return finish_output(call);
}
