/* route.c - postern route: the destinations that mail goes to, and which of them wait. */
#include "server/config/suggest.h"
#include "server/ctl/admin_client.h"
#include "server/ctl/commands.h"
#include "server/ctl/queue_edit.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* Bytes of peers are in reasons: none of them may steer a terminal. */
static void print_safe(const char *text)
{
    for (; *text != '\0'; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void print_table(const json_t *destinations)
{
    size_t index, width = sizeof("DESTINATION") - 1;
    json_t *one;
    json_array_foreach(destinations, index, one) width = MAX(width, strlen(string_of(one, "name")));
    printf("%-*s  %-9s  %7s  %5s  %s\n", (int)width, "DESTINATION", "STATE", "WAITING", "CONNS",
           "REASON");
    json_array_foreach(destinations, index, one)
    {
        printf("%-*s  %-9s  %7" JSON_INTEGER_FORMAT "  %5" JSON_INTEGER_FORMAT "  ", (int)width,
               string_of(one, "name"), string_of(one, "state"),
               json_integer_value(json_object_get(one, "waiting")),
               json_integer_value(json_object_get(one, "connections")));
        print_safe(string_of(one, "reason"));
        const char *until = string_of(one, "until");
        printf("%s%s%s\n", until[0] != '\0' ? " (until " : "", until, until[0] != '\0' ? ")" : "");
    }
}

/* Sends a request and gives back its JSON, owned; NULL after a line, and *err_out is the code. */
static json_t *ask(const struct invocation *call, const char *method, const char *path,
                   int *err_out)
{
    struct admin_client *client;
    struct admin_client_answer answer;
    *err_out = admin_client_open(call, &client);
    if (*err_out != 0) return NULL;
    *err_out = admin_client_send(client, method, path, &answer);
    admin_client_close(client);
    if (*err_out != 0) return NULL;
    json_t *json = json_loadb(answer.body, answer.body_bytes, 0, NULL);
    if (answer.status != 200 || json == NULL) {
        fprintf(stderr, "postern %s: the daemon refused: %.200s\n", call->command->name,
                answer.body);
        json_decref(json);
        json = NULL;
        *err_out = CTL_FAILED;
    }
    free(answer.body);
    return json;
}

static int list_destinations(const struct invocation *call)
{
    int err;
    if (call->argument_count > 1) return usage_error(call, "list takes no destination");
    json_t *json = ask(call, "GET", "/api/v1/destinations", &err);
    if (json == NULL) return err;
    if (call->values[OPTION_JSON] != NULL) {
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_table(json_object_get(json, "destinations"));
    }
    json_decref(json);
    return finish_output(call);
}

static int send_change(const struct invocation *call, const char *path)
{
    int err;
    json_t *json = ask(call, "POST", path, &err);
    if (json == NULL) return err;
    json_int_t changed = json_integer_value(json_object_get(json, "changed"));
    bool is_saved = json_is_true(json_object_get(json, "saved"));
    json_decref(json);
    if (!is_saved)
        fputs("in force, but it could not be saved: a restart forgets it (see the log)\n", stderr);
    if (changed == 0) {
        fputs("nothing of that name is suspended\n", stderr);
        return CTL_FAILED;
    }
    return is_saved ? CTL_DONE : CTL_FAILED;
}

static int suspend(const struct invocation *call)
{
    const char *duration = call->values[OPTION_FOR], *reason = call->values[OPTION_REASON];
    uint64_t seconds = 0;
    if (call->argument_count != 2)
        return usage_error(call, "say which: postern route suspend DESTINATION");
    if (duration != NULL && (!duration_parse(duration, &seconds) || seconds == 0))
        return usage_error(call, "--for must be a duration such as 90s, 4h or 3d, not '%s'",
                           duration);
    char *name = admin_client_escape(call->arguments[1]);
    char *words = admin_client_escape(reason != NULL ? reason : "by an operator"), *path = NULL;
    int err = CTL_FAILED;
    if (name != NULL && words != NULL &&
        asprintf(&path, "/api/v1/destinations/suspend?name=%s&reason=%s&seconds=%" PRIu64, name,
                 words, seconds) > 0)
        err = send_change(call, path);
    free(path);
    free(words);
    free(name);
    return err;
}

static int resume(const struct invocation *call)
{
    bool is_all = call->values[OPTION_ALL] != NULL;
    if (is_all == (call->argument_count == 2))
        return usage_error(call, "say which: postern route resume DESTINATION, or --all");
    if (is_all) return send_change(call, "/api/v1/destinations/resume?all=1");
    char *name = admin_client_escape(call->arguments[1]), *path = NULL;
    int err = CTL_FAILED;
    if (name != NULL && asprintf(&path, "/api/v1/destinations/resume?name=%s", name) > 0)
        err = send_change(call, path);
    free(path);
    free(name);
    return err;
}

int command_route(const struct invocation *call)
{
    static const struct {
        const char *name;
        int (*run)(const struct invocation *call);
    } verbs[] = {{"list", list_destinations}, {"suspend", suspend}, {"resume", resume}};
    if (call->argument_count == 0) return usage_error(call, "say what: list, suspend or resume");
    const char *verb = call->arguments[0], *near = NULL;
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verb, verbs[i].name) == 0) return verbs[i].run(call);
        near = suggest(slice_of_cstr(verb), near, verbs[i].name);
    }
    return usage_error(call, "'%s' is unknown%s%s%s", verb, near != NULL ? " (did you mean '" : "",
                       near != NULL ? near : "", near != NULL ? "'?)" : "");
}
