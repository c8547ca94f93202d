/* config.c - loads a configuration: the file as a tree, environment and flags laid over it, then
 * all of it read under the schema. Control thread only; the result is const and shared. */
#include "server/config/config.h"

#include "ring/base/err.h"
#include "server/config/overlay.h"
#include "server/config/reading.h"
#include "server/config/scalars.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define ARENA_CHUNK_BYTES (64u << 10)
#define ARENA_BYTES_MAX (512ull << 20) /* DOCUMENT_NODES_MAX nodes, and the text */

struct source {
    struct slice text;
    const char *name;
    const char *directory; /* absolute */
    const char *shown_directory;
    char *const *environment, *const *flags;
};

static int read_source(const struct source *source, struct config **config_out,
                       struct report *report)
{
    struct arena arena;
    arena_init(&arena, ARENA_CHUNK_BYTES, ARENA_BYTES_MAX);
    struct config *config = xcalloc(1, sizeof(*config));
    config->file = xstrdup(source->name);
    config->origins = xcalloc(1, sizeof(struct config_origins));

    struct node *root = document_parse(source->text, source->name, &arena, report);
    if (root != NULL) {
        if (root->kind == NODE_MAPPING) {
            overlay_environment(root, source->environment, &arena, report);
            overlay_flags(root, source->flags, &arena, report);
        }
        struct reading reading = {.report = report,
                                  .directory = source->directory,
                                  .shown_directory = source->shown_directory,
                                  .origins = config->origins,
                                  .start = {PLACE_FILE, 1, 1, source->name}};
        reading_run(&reading, root, config);
    }
    arena_finish(&arena);
    if (report->count > 0) {
        config_free(config);
        return -ERR_SYNTAX;
    }
    *config_out = config;
    return 0;
}

/* The whole file, which may be a pipe. */
static int read_file(const char *file, char **text_out, size_t *len_out)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    size_t cap = 64u << 10, len = 0;
    char *text = xmalloc(cap);
    int err = 0;
    /* One byte more than is allowed, so that document_parse() sees that it is too large. */
    while (len <= DOCUMENT_BYTES_MAX) {
        if (len == cap) text = xrealloc(text, cap *= 2);
        ssize_t got = read(fd, text + len, cap - len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) err = -errno;
        if (got <= 0) break;
        len += (size_t)got;
    }
    close(fd);
    if (err != 0) {
        free(text);
        return err;
    }
    *text_out = text;
    *len_out = len;
    return 0;
}

/* The directory of `file` as it was given; "" for the current one. The caller frees it. */
static char *directory_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    if (slash == NULL) return xstrdup("");
    return slice_to_cstr(slice_of(file, (size_t)(slash == file ? 1 : slash - file)));
}

int config_load_with_flags(const char *file, char *const *environment, char *const *flags,
                           struct config **config_out, struct config_problems *problems)
{
    *config_out = NULL;
    struct report report;
    report_init(&report);
    struct place start = {PLACE_FILE, 1, 1, file};
    char *text = NULL;
    size_t len = 0;
    char *shown_directory = directory_of(file);
    char *directory = realpath(shown_directory[0] != '\0' ? shown_directory : ".", NULL);
    int err = directory == NULL ? -errno : read_file(file, &text, &len);
    if (err != 0) {
        report_add(&report, &start, "cannot read it: %s", err_str(err));
    } else {
        struct source source = {slice_of(text, len), file,        directory,
                                shown_directory,     environment, flags};
        err = read_source(&source, config_out, &report);
    }
    free(directory);
    free(shown_directory);
    free(text);
    report_finish(&report, problems);
    return err;
}

int config_load(const char *file, char *const *environment, struct config **config_out,
                struct config_problems *problems)
{
    return config_load_with_flags(file, environment, NULL, config_out, problems);
}

int config_parse(struct slice text, const char *name, const char *directory,
                 char *const *environment, struct config **config_out,
                 struct config_problems *problems)
{
    *config_out = NULL;
    struct report report;
    report_init(&report);
    char *absolute = realpath(directory[0] != '\0' ? directory : ".", NULL);
    struct source source = {text,      name,        absolute != NULL ? absolute : directory,
                            directory, environment, NULL};
    int err = read_source(&source, config_out, &report);
    free(absolute);
    report_finish(&report, problems);
    return err;
}

static void free_listener(struct config_listener *listener)
{
    free(listener->name);
    free(listener->addresses);
    for (size_t i = 0; i < listener->tls.certificate_count; i++) {
        free(listener->tls.certificates[i].chain);
        free(listener->tls.certificates[i].key);
    }
    free(listener->tls.certificates);
    free(listener->tls.client_ca);
    free(listener->auth.users);
    free(listener->proxy_protocol.from.entries);
    free(listener->xclient_from.entries);
    free(listener->xforward_from.entries);
}

static void free_password(char *password)
{
    if (password != NULL) explicit_bzero(password, strlen(password));
    free(password);
}

static void free_route(struct config_route *route)
{
    free(route->name);
    free(route->domains.entries); /* one piece of memory with their text */
    free(route->recipients.entries);
    for (size_t i = 0; i < route->host_count; i++) {
        free(route->hosts[i].name);
        free(route->hosts[i].unix_path);
    }
    free(route->hosts);
    free(route->hop.tls_ca);
    free(route->hop.username);
    free_password(route->hop.password);
    free(route->mx_allowed.entries);
    free(route->maildir_path);
    free(route->reject_reply);
}

static void free_origins(struct config_origins *origins)
{
    for (size_t i = 0; i < origins->count; i++) {
        free(origins->entries[i].path);
        free(origins->entries[i].place);
    }
    free(origins->entries);
    free(origins);
}

void config_free(struct config *config)
{
    if (config == NULL) return;
    for (size_t i = 0; i < config->listener_count; i++) {
        free_listener(&config->listeners[i]);
    }
    for (size_t i = 0; i < config->route_count; i++) {
        free_route(&config->routes[i]);
    }
    for (size_t i = 0; i < config->admin.unix_path_count; i++) {
        free(config->admin.unix_paths[i]);
    }
    free(config->listeners);
    free(config->routes);
    free(config->resolver.servers);
    free(config->admin.addresses);
    free(config->admin.unix_paths);
    free(config->node.hostname);
    free(config->spool.path);
    free(config->file);
    free_origins(config->origins);
    free(config);
}

void config_problems_free(struct config_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        free(problems->lines[i]);
    }
    free(problems->lines);
    *problems = (struct config_problems){0};
}

void config_problems_add(struct config_problems *problems, const char *format, ...)
{
    char *line = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&line, format, args);
    va_end(args);
    ASSERT(len >= 0);
    text_disarm(line);
    problems->lines = xrealloc(problems->lines, (problems->count + 1) * sizeof(*problems->lines));
    problems->lines[problems->count++] = line;
}

const char *config_origin(const struct config *config, const char *path)
{
    const struct config_origins *origins = config->origins;
    for (size_t i = 0; i < origins->count; i++) {
        if (strcmp(origins->entries[i].path, path) == 0) return origins->entries[i].place;
    }
    return NULL;
}
