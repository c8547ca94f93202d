/* admin_client.c - see admin_client.h. libcurl speaks the HTTP; only http is allowed, and no proxy,
 * since the daemon is on this machine or beside it. */
#include "server/ctl/admin_client.h"

#include "ring/base/memory.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <unistd.h>

struct admin_client {
    const struct invocation *call;
    CURL *curl;
    char *address;      /* as people know it: 127.0.0.1:8025 or unix:/run/x */
    char *base;         /* "http://127.0.0.1:8025" */
    const char *socket; /* within `address`, or NULL */
};

struct body {
    char *data;
    size_t len, cap;
};

static char *format_endpoint(const struct endpoint *endpoint)
{
    char text[ENDPOINT_TEXT_MAX];
    struct buf buf = {text, 0, sizeof(text), false};
    /* Who listens everywhere is reached at the loopback address. */
    struct endpoint at = *endpoint;
    if (at.addr.any.sa_family == AF_INET && at.addr.v4.sin_addr.s_addr == htonl(INADDR_ANY)) {
        at.addr.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    if (at.addr.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&at.addr.v6.sin6_addr)) {
        at.addr.v6.sin6_addr = in6addr_loopback;
    }
    endpoint_write(&at, &buf);
    return slice_to_cstr(buf_slice(&buf));
}

static char *address_of(const struct config *config)
{
    for (size_t i = 0; i < config->admin.address_count; i++) {
        if (endpoint_port(&config->admin.addresses[i]) != 0) {
            return format_endpoint(&config->admin.addresses[i]);
        }
    }
    if (config->admin.unix_path_count == 0) return NULL;
    char *address = NULL;
    int len = asprintf(&address, "unix:%s", config->admin.unix_paths[0]);
    ASSERT(len > 0);
    return address;
}

/* A configuration that was named must be good; one that merely lies there may be bad or closed to
 * this user, while the daemon runs. */
static int find_address(const struct invocation *call, char **address_out)
{
    if (call->values[OPTION_ADMIN] != NULL) {
        *address_out = xstrdup(call->values[OPTION_ADMIN]);
        return 0;
    }
    bool is_named = call->values[OPTION_CONFIG] != NULL;
    const char *file = invocation_config_file(call);
    struct config *config;
    struct config_problems problems;
    int err = config_load(file, environ, &config, &problems);
    for (size_t i = 0; is_named && i < problems.count; i++) {
        fprintf(stderr, "%s\n", problems.lines[i]);
    }
    config_problems_free(&problems);
    if (err != 0 && is_named) return CTL_BAD_CONFIG;
    *address_out = err == 0 ? address_of(config) : xstrdup(CTL_ADMIN_ADDRESS);
    config_free(config);
    if (*address_out == NULL) {
        return usage_error(call, "%s lets the daemon choose its admin port: name it with --admin",
                           file);
    }
    return 0;
}

int admin_client_open(const struct invocation *call, struct admin_client **admin_client_out)
{
    *admin_client_out = NULL;
    struct admin_client *client = xcalloc(1, sizeof(*client));
    client->call = call;
    int err = find_address(call, &client->address);
    if (err != 0) goto fail;

    bool is_socket = strncmp(client->address, "unix:", 5) == 0;
    bool has_scheme = strncmp(client->address, "http://", 7) == 0;
    if (is_socket) client->socket = client->address + 5;
    if (is_socket && client->socket[0] == '\0') {
        err = usage_error(call, "--admin unix: needs a path");
        goto fail;
    }
    size_t len = strlen(client->address);
    if (has_scheme && client->address[len - 1] == '/') client->address[len - 1] = '\0';
    int written = asprintf(&client->base, "%s%s", has_scheme ? "" : "http://",
                           is_socket ? "localhost" : client->address);
    ASSERT(written > 0);
    client->curl = curl_easy_init();
    if (client->curl == NULL) {
        fputs("postern: libcurl does not start\n", stderr);
        err = CTL_FAILED;
        goto fail;
    }
    *admin_client_out = client;
    return 0;

fail:
    admin_client_close(client);
    return err;
}

void admin_client_close(struct admin_client *client)
{
    if (client == NULL) return;
    if (client->curl != NULL) curl_easy_cleanup(client->curl);
    free(client->address);
    free(client->base);
    free(client);
}

/* curl's callback: returning less than was given ends the transfer. */
static size_t on_body(char *data, size_t size, size_t count, void *owner)
{
    struct body *body = owner;
    size_t bytes = size * count;
    if (bytes > CLIENT_BODY_BYTES_MAX - body->len) return 0;
    if (body->cap - body->len < bytes + 1) {
        body->cap = MAX(body->cap * 2, body->len + bytes + 1);
        body->data = xrealloc(body->data, body->cap);
    }
    memcpy(body->data + body->len, data, bytes);
    body->len += bytes;
    body->data[body->len] = '\0';
    return bytes;
}

int admin_client_send(struct admin_client *client, const char *method, const char *path,
                      struct admin_client_answer *answer)
{
    *answer = (struct admin_client_answer){0};
    char *url = NULL, error[CURL_ERROR_SIZE] = "";
    int len = asprintf(&url, "%s%s", client->base, path);
    ASSERT(len > 0);
    struct body body = {xcalloc(1, 1), 0, 1};
    CURL *curl = client->curl;
    curl_easy_reset(curl); /* the connection is kept */
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CLIENT_CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)CLIENT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    if (client->socket != NULL) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket);
    if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    }
    struct curl_slist *headers = curl_slist_append(NULL, "X-Postern-Admin: 1");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    free(url);
    if (code != CURLE_OK) {
        fprintf(stderr, "postern %s: no answer from the daemon at %s: %s\n",
                client->call->command->name, client->address,
                error[0] != '\0' ? error : curl_easy_strerror(code));
        free(body.data);
        return CTL_UNREACHABLE;
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    answer->body = body.data;
    answer->body_bytes = body.len;
    return 0;
}

char *admin_client_escape(const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    char *copy = escaped != NULL ? xstrdup(escaped) : NULL;
    curl_free(escaped);
    return copy;
}
