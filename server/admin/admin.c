/* admin.c - the HTTP server: addresses, the table of resources, and their answers.
 *
 * One libmicrohttpd daemon for each address, each with a thread of its own. A request is answered
 * from counters, or by asking a committer; neither makes a core wait. */
#include "server/admin/admin.h"

#include "ring/base/memory.h"
#include "server/admin/json_text.h"
#include "server/admin/metrics.h"
#include "server/admin/operate.h"
#include "server/admin/queue_json.h"

#include <jansson.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ADMIN_BACKLOG 64
#define ADMIN_TIMEOUT_S 10
#define QUEUE_PAGE_DEFAULT 100
#define RELOAD_LOG_BYTES 65536

struct admin_address {
    struct MHD_Daemon *daemon;
    int socket; /* owned by the daemon once that runs */
    char *text;
    char *unix_path;
};

struct admin {
    struct admin_source source;
    struct suspended *suspended;
    struct admin_address *addresses;
    size_t count;
};

/* --- answers --- */

struct answer {
    unsigned status;
    const char *type;
    char *text; /* malloc'ed; taken by the response */
};

static struct answer answer_text(unsigned status, const char *text)
{
    return (struct answer){status, "text/plain; charset=utf-8", xstrdup(text)};
}

static struct answer get_livez(struct admin *admin, struct MHD_Connection *connection)
{
    (void)connection;
    bool is_alive = admin->source.is_alive(admin->source.owner);
    return is_alive ? answer_text(MHD_HTTP_OK, "alive\n")
                    : answer_text(MHD_HTTP_SERVICE_UNAVAILABLE, "the queue cannot be written\n");
}

static struct answer get_readyz(struct admin *admin, struct MHD_Connection *connection)
{
    (void)connection;
    bool is_ready = admin->source.is_ready(admin->source.owner);
    return is_ready ? answer_text(MHD_HTTP_OK, "ready\n")
                    : answer_text(MHD_HTTP_SERVICE_UNAVAILABLE, "starting or draining\n");
}

static struct answer get_metrics(struct admin *admin, struct MHD_Connection *connection)
{
    (void)connection;
    struct answer answer = {MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", NULL};
    size_t len;
    FILE *out = open_memstream(&answer.text, &len);
    if (out == NULL) return answer_text(MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    metrics_write(&admin->source, out);
    fclose(out);
    return answer;
}

static struct answer get_queue(struct admin *admin, struct MHD_Connection *connection)
{
    const char *after = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "after");
    const char *limit = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "limit");
    uint64_t after_id = 0, count_max = QUEUE_PAGE_DEFAULT;
    if (after != NULL && !message_id_parse(slice_of_cstr(after), &after_id))
        return answer_text(MHD_HTTP_BAD_REQUEST, "after: not the id of a message\n");
    if (limit != NULL &&
        (!slice_to_u64(slice_of_cstr(limit), ADMIN_QUEUE_PAGE_MAX, &count_max) || count_max == 0))
        return answer_text(MHD_HTTP_BAD_REQUEST, "limit: a number from 1 to 1000\n");
    struct answer answer = {MHD_HTTP_OK, "application/json", NULL};
    answer.text = queue_json(&admin->source, after_id, (uint32_t)count_max);
    if (answer.text == NULL)
        return answer_text(MHD_HTTP_SERVICE_UNAVAILABLE, "the queue does not answer\n");
    return answer;
}

static struct answer post_reload(struct admin *admin, struct MHD_Connection *connection)
{
    (void)connection;
    struct config_problems problems = {0};
    log_thread_start(RELOAD_LOG_BYTES); /* this thread is not ours */
    int err = admin->source.reload(admin->source.owner, &problems);
    log_thread_stop();
    json_t *root = json_object(), *lines = json_array();
    for (size_t i = 0; i < problems.count; i++)
        json_array_append_new(lines, json_text(slice_of_cstr(problems.lines[i])));
    json_object_set_new(root, "ok", json_boolean(err == 0));
    json_object_set_new(root, "problems", lines);
    struct answer answer = {err == 0 ? MHD_HTTP_OK : MHD_HTTP_UNPROCESSABLE_CONTENT,
                            "application/json", json_dumps(root, JSON_COMPACT)};
    json_decref(root);
    config_problems_free(&problems);
    return answer;
}

/* --- operating --- */

static const char *argument(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
}

/* A page of another origin cannot set this header without asking first, so that a browser on this
 * machine cannot be made to change the queue. */
static bool is_meant(struct MHD_Connection *connection)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Postern-Admin") != NULL;
}

static struct answer not_meant(void)
{
    return answer_text(MHD_HTTP_FORBIDDEN, "send the header X-Postern-Admin: 1\n");
}

struct id_list {
    uint64_t ids[OPERATE_IDS_MAX + 1];
    size_t count;
    bool is_bad;
};

static enum MHD_Result add_id(void *owner, enum MHD_ValueKind kind, const char *key,
                              const char *value)
{
    struct id_list *list = owner;
    (void)kind;
    if (strcmp(key, "id") != 0) return MHD_YES;
    bool is_id = value != NULL && list->count <= OPERATE_IDS_MAX &&
                 message_id_parse(slice_of_cstr(value), &list->ids[list->count]);
    list->count += is_id;
    list->is_bad = list->is_bad || !is_id;
    return MHD_YES;
}

static struct answer edit_queue(struct admin *admin, struct MHD_Connection *connection,
                                enum queue_edit_kind kind)
{
    struct id_list list = {.count = 0};
    struct answer answer = {0, "application/json", NULL};
    if (!is_meant(connection)) return not_meant();
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, add_id, &list);
    if (list.is_bad) return answer_text(MHD_HTTP_BAD_REQUEST, "id: not the id of a message\n");
    const char *reason = argument(connection, "reason");
    if (reason != NULL && strlen(reason) > MESSAGE_REPLY_BYTES_MAX)
        return answer_text(MHD_HTTP_BAD_REQUEST, "reason: at most 512 bytes\n");
    answer.status = operate_queue(&admin->source, kind, list.ids, list.count, reason, &answer.text);
    return answer;
}

static struct answer post_retry(struct admin *admin, struct MHD_Connection *connection)
{
    return edit_queue(admin, connection, EDIT_RETRY);
}

static struct answer post_hold(struct admin *admin, struct MHD_Connection *connection)
{
    return edit_queue(admin, connection, EDIT_HOLD);
}

static struct answer post_release(struct admin *admin, struct MHD_Connection *connection)
{
    return edit_queue(admin, connection, EDIT_RELEASE);
}

static struct answer post_remove(struct admin *admin, struct MHD_Connection *connection)
{
    return edit_queue(admin, connection, EDIT_REMOVE);
}

static struct answer post_bounce(struct admin *admin, struct MHD_Connection *connection)
{
    return edit_queue(admin, connection, EDIT_BOUNCE);
}

static struct answer get_destinations(struct admin *admin, struct MHD_Connection *connection)
{
    struct answer answer = {0, "application/json", NULL};
    (void)connection;
    answer.status = operate_list_destinations(&admin->source, &answer.text);
    return answer;
}

static struct answer post_suspend(struct admin *admin, struct MHD_Connection *connection)
{
    struct answer answer = {0, "application/json", NULL};
    const char *seconds = argument(connection, "seconds"), *reason = argument(connection, "reason");
    uint64_t count = 0;
    if (!is_meant(connection)) return not_meant();
    if (seconds != NULL && !slice_to_u64(slice_of_cstr(seconds), UINT32_MAX, &count))
        return answer_text(MHD_HTTP_BAD_REQUEST, "seconds: a number\n");
    answer.status =
        operate_suspend(admin->suspended, argument(connection, "name"),
                        reason != NULL ? reason : "by an operator", count, &answer.text);
    return answer;
}

static struct answer post_resume(struct admin *admin, struct MHD_Connection *connection)
{
    struct answer answer = {0, "application/json", NULL};
    const char *name = argument(connection, "name");
    if (!is_meant(connection)) return not_meant();
    if (name == NULL && argument(connection, "all") == NULL)
        return answer_text(MHD_HTTP_BAD_REQUEST, "name: the destination, or all=1\n");
    answer.status = operate_resume(admin->suspended, name, &answer.text);
    return answer;
}

static const struct {
    const char *method, *path;
    struct answer (*answer)(struct admin *admin, struct MHD_Connection *connection);
} resources[] = {
    {"GET", "/livez", get_livez},
    {"GET", "/readyz", get_readyz},
    {"GET", "/metrics", get_metrics},
    {"GET", "/api/v1/queue", get_queue},
    {"POST", "/api/v1/queue/retry", post_retry},
    {"POST", "/api/v1/queue/hold", post_hold},
    {"POST", "/api/v1/queue/release", post_release},
    {"POST", "/api/v1/queue/remove", post_remove},
    {"POST", "/api/v1/queue/bounce", post_bounce},
    {"GET", "/api/v1/destinations", get_destinations},
    {"POST", "/api/v1/destinations/suspend", post_suspend},
    {"POST", "/api/v1/destinations/resume", post_resume},
    {"POST", "/api/v1/reload", post_reload},
};

static struct answer find_answer(struct admin *admin, struct MHD_Connection *connection,
                                 const char *path, const char *method)
{
    bool is_path = false;
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        if (strcmp(resources[i].path, path) != 0) continue;
        is_path = true;
        bool is_head = strcmp(method, "HEAD") == 0 && strcmp(resources[i].method, "GET") == 0;
        if (is_head || strcmp(resources[i].method, method) == 0)
            return resources[i].answer(admin, connection);
    }
    if (is_path) return answer_text(MHD_HTTP_METHOD_NOT_ALLOWED, "not with this method\n");
    return answer_text(MHD_HTTP_NOT_FOUND,
                       "known here: /livez /readyz /metrics /api/v1/queue /api/v1/reload\n");
}

/* libmicrohttpd calls this first with the head of a request, then with each part of its body, then
 * with none: bodies are read and dropped. */
static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **state)
{
    static char seen;
    (void)version;
    (void)upload;
    if (*state == NULL || *upload_len > 0) {
        *state = &seen;
        *upload_len = 0;
        return MHD_YES;
    }
    struct answer answer = find_answer(owner, connection, path, method);
    if (answer.text == NULL) return MHD_NO;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(answer.text), answer.text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(answer.text);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", answer.type);
    enum MHD_Result result = MHD_queue_response(connection, answer.status, response);
    MHD_destroy_response(response);
    return result;
}

/* --- addresses --- */

static int open_tcp(const struct endpoint *at, struct admin_address *address)
{
    address->socket = socket(at->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (address->socket < 0) return -errno;
    int on = 1;
    setsockopt(address->socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at->addr.any.sa_family == AF_INET6)
        setsockopt(address->socket, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    struct endpoint bound = *at;
    if (bind(address->socket, &at->addr.any, at->addr_len) != 0 ||
        listen(address->socket, ADMIN_BACKLOG) != 0 ||
        getsockname(address->socket, &bound.addr.any, &bound.addr_len) != 0)
        return -errno;
    char text[ENDPOINT_TEXT_MAX];
    struct buf out = {text, 0, sizeof(text), false};
    endpoint_write(&bound, &out);
    address->text = slice_to_cstr(buf_slice(&out));
    return 0;
}

/* A socket that an ended process left behind is removed; one that answers is not. */
static int open_unix(const char *path, struct admin_address *address)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    ASSERT(path != NULL);
    if (strlen(path) >= sizeof(at.sun_path)) return -ENAMETOOLONG;
    memcpy(at.sun_path, path, strlen(path) + 1);
    address->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (address->socket < 0) return -errno;
    if (connect(address->socket, (struct sockaddr *)&at, sizeof(at)) == 0) return -EADDRINUSE;
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) unlink(path);
    if (bind(address->socket, (struct sockaddr *)&at, sizeof(at)) != 0 || chmod(path, 0660) != 0 ||
        listen(address->socket, ADMIN_BACKLOG) != 0)
        return -errno;
    address->unix_path = xstrdup(path);
    size_t len = strlen(path) + sizeof("unix:");
    address->text = xmalloc(len);
    snprintf(address->text, len, "unix:%s", path);
    return 0;
}

static int serve(struct admin *admin, struct admin_address *address)
{
    address->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, on_request,
                         admin, MHD_OPTION_LISTEN_SOCKET, address->socket,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)ADMIN_TIMEOUT_S, MHD_OPTION_END);
    return address->daemon != NULL ? 0 : -ERR_MEMORY;
}

static int open_next(struct admin *admin, const struct endpoint *at, const char *unix_path)
{
    struct admin_address *address = &admin->addresses[admin->count++];
    address->socket = -1;
    int err = at != NULL ? open_tcp(at, address) : open_unix(unix_path, address);
    return err != 0 ? err : serve(admin, address);
}

static void explain(const struct endpoint *at, const char *unix_path, int err, char *why,
                    size_t why_cap)
{
    char text[ENDPOINT_TEXT_MAX] = "";
    struct buf name = {text, 0, sizeof(text) - 1, false};
    if (at != NULL) endpoint_write(at, &name);
    snprintf(why, why_cap, "admin.address %s%s: %s",
             at != NULL ? text : "unix:", at != NULL ? "" : unix_path,
             err == -EADDRINUSE ? "in use by another process; stop it or choose another"
                                : err_str(err));
}

int admin_start(const struct config *config, const struct admin_source *source,
                struct admin **admin_out, char *why, size_t why_cap)
{
    struct admin *admin = xcalloc(1, sizeof(*admin));
    admin->source = *source;
    admin->addresses = xcalloc(config->admin.address_count + config->admin.unix_path_count + 1,
                               sizeof(*admin->addresses));
    *admin_out = NULL;
    admin->suspended = suspended_open(&admin->source, config->spool.path);
    int err = 0;
    for (size_t i = 0; i < config->admin.address_count && err == 0; i++) {
        err = open_next(admin, &config->admin.addresses[i], NULL);
        if (err != 0) explain(&config->admin.addresses[i], NULL, err, why, why_cap);
    }
    for (size_t i = 0; i < config->admin.unix_path_count && err == 0; i++) {
        err = open_next(admin, NULL, config->admin.unix_paths[i]);
        if (err != 0) explain(NULL, config->admin.unix_paths[i], err, why, why_cap);
    }
    if (err != 0) {
        admin_stop(admin);
        return err;
    }
    *admin_out = admin;
    return 0;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL) return;
    for (size_t i = 0; i < admin->count; i++) {
        struct admin_address *address = &admin->addresses[i];
        if (address->daemon != NULL)
            MHD_stop_daemon(address->daemon);
        else if (address->socket >= 0)
            close(address->socket);
        if (address->unix_path != NULL) unlink(address->unix_path);
        free(address->unix_path);
        free(address->text);
    }
    suspended_close(admin->suspended);
    free(admin->addresses);
    free(admin);
}

size_t admin_address_count(const struct admin *admin)
{
    return admin->count;
}

const char *admin_address(const struct admin *admin, size_t index)
{
    ASSERT(index < admin->count);
    return admin->addresses[index].text;
}
