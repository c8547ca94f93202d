/* The command line as a user meets it: each call runs in a process of its own, and where it asks a
 * daemon, a small HTTP server in this one answers from a script. */
#include "server/ctl/ctl.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_BYTES_MAX 65536

/* --- one call --- */

struct outcome {
    int exit_code; /* -1: it did not end by itself */
    char out[OUTPUT_BYTES_MAX], err[OUTPUT_BYTES_MAX];
};

static int run_hook(const struct ctl_run_options *options)
{
    printf("run %s ready_fd=%d cores=%u", options->config_file, options->ready_fd,
           options->config->node.cores);
    for (char *const *flag = options->flags; *flag != NULL; flag++) {
        printf(" %s", *flag);
    }
    putchar('\n');
    fflush(stdout);
    config_free(options->config);
    return 42;
}

static void read_back(int fd, char *text)
{
    ssize_t len = pread(fd, text, OUTPUT_BYTES_MAX - 1, 0);
    text[MAX(len, 0)] = '\0';
    close(fd);
}

static void call(struct outcome *outcome, char **argv)
{
    static const struct ctl_hooks hooks = {"1.2.3", run_hook};
    char out_path[] = "/tmp/ctl_test.XXXXXX", err_path[] = "/tmp/ctl_test.XXXXXX";
    int out = mkstemp(out_path), err = mkstemp(err_path), argc = 0, status = 0;
    CHECK(out >= 0 && err >= 0);
    unlink(out_path);
    unlink(err_path);
    while (argv[argc] != NULL) {
        argc++;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        int code = ctl_main(argc, argv, &hooks);
        fflush(NULL);
        _exit(code); /* a leak check beside this process's threads would write into the output */
    }
    CHECK(waitpid(child, &status, 0) == child);
    outcome->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_back(out, outcome->out);
    read_back(err, outcome->err);
}

#define CALL(outcome, ...) call(outcome, (char *[]){"postern", __VA_ARGS__, NULL})

/* --- the daemon's part --- */

struct exchange {
    const char *request; /* its first line must begin so */
    const char *status;
    const char *body;
};

struct server {
    int fd;
    const struct exchange *script;
    size_t count, served, mismatches;
    pthread_t thread;
};

static void answer(struct server *server, int fd)
{
    char request[4096];
    size_t len = 0;
    while (len < sizeof(request) - 1) {
        ssize_t got = read(fd, request + len, sizeof(request) - 1 - len);
        if (got <= 0) break;
        len += (size_t)got;
        request[len] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL) break;
    }
    request[len] = '\0';
    const struct exchange *e = &server->script[server->served++];
    if (strncmp(request, e->request, strlen(e->request)) != 0) server->mismatches++;
    dprintf(fd, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", e->status,
            strlen(e->body), e->body);
}

static void *serve(void *argument)
{
    struct server *server = argument;
    while (server->served < server->count) {
        int fd = accept(server->fd, NULL, NULL);
        if (fd < 0) break;
        answer(server, fd);
        close(fd);
    }
    return NULL;
}

static void start(struct server *server, int fd, const struct exchange *script, size_t count)
{
    *server = (struct server){.fd = fd, .script = script, .count = count};
    CHECK(fd >= 0 && listen(fd, 8) == 0);
    CHECK(pthread_create(&server->thread, NULL, serve, server) == 0);
}

static void finish(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR); /* ends an accept that nobody comes to */
    pthread_join(server->thread, NULL);
    close(server->fd);
    CHECK_EQ("requests", server->served, server->count);
    CHECK_EQ("other requests", server->mismatches, 0);
}

/* A socket on a free port; `address` gets "127.0.0.1:PORT". */
static int bind_tcp(char address[32])
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    snprintf(address, 32, "127.0.0.1:%u", ntohs(at.sin_port));
    return fd;
}

/* --- tests --- */

TEST(usage_errors_exit_64_with_a_suggestion)
{
    static char *const cases[][6] = {
        {"rnu", "", "postern: unknown command 'rnu' (did you mean 'run'?); see: postern help\n"},
        {"banana", "", "postern: unknown command 'banana'; see: postern help\n"},
        {"check", "--shwo",
         "postern check: unknown option '--shwo' (did you mean '--show'?); see: postern help "
         "check\n"},
        {"check", "--json", "postern check: unknown option '--json'; see: postern help check\n"},
        {"check", "--show=1", "postern check: --show takes no value; see: postern help check\n"},
        {"run", "--config", "postern run: --config needs a value: FILE; see: postern help run\n"},
        {"run", "extra", "postern run: 'extra' is one argument too many; see: postern help run\n"},
        {"run", "--ready-fd=x",
         "postern run: --ready-fd must be the number of an open file, not 'x'; see: postern help "
         "run\n"},
        {"run", "--ready-fd=999",
         "postern run: --ready-fd 999 is not open; see: postern help run\n"},
        {"queue", "",
         "postern queue: say what: list, show, retry, hold, release, remove or bounce; see: "
         "postern help queue\n"},
        {"queue", "lsit",
         "postern queue: 'lsit' is unknown (did you mean 'list'?); see: postern help "
         "queue\n"},
        {"health",
         "--admin=unix:", "postern health: --admin unix: needs a path; see: postern help health\n"},
        {"help", "rnu",
         "postern: unknown command 'rnu' (did you mean 'run'?); see: postern help\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct outcome o;
        if (cases[i][1][0] != '\0') {
            CALL(&o, cases[i][0], cases[i][1]);
        } else {
            CALL(&o, cases[i][0]);
        }
        CHECK_EQ(cases[i][2], o.exit_code, CTL_USAGE);
        CHECK_SLICE(cases[i][0], slice_of_cstr(o.err), cases[i][2]);
        CHECK_SLICE(cases[i][0], slice_of_cstr(o.out), "");
    }
    struct outcome o;
    CALL(&o, "queue", "list", "--limit", "0");
    CHECK_EQ("limit", o.exit_code, CTL_USAGE);
    CHECK(strncmp(o.err, "postern queue: --limit must be a number from 1 on, not '0';", 59) == 0);
    call(&o, (char *[]){"postern", NULL});
    CHECK_EQ("no command", o.exit_code, CTL_USAGE);
    CHECK(strstr(o.err, "Commands:\n") != NULL && o.out[0] == '\0');
}

TEST(help_and_version_are_data)
{
    static char *const names[] = {"run", "check", "queue", "reload", "health", "version", "help"};
    struct outcome o;
    CALL(&o, "--help");
    CHECK_EQ("help", o.exit_code, 0);
    CHECK(strncmp(o.out, "Examples:\n", 10) == 0 && o.err[0] == '\0');
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CHECK_EQ(names[i], strstr(o.out, names[i]) != NULL, true);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct outcome of_help, of_option;
        CALL(&of_help, "help", names[i]);
        CALL(&of_option, names[i], "-h");
        CHECK_EQ(names[i], of_help.exit_code, 0);
        CHECK_EQ(names[i], strstr(of_help.out, "Examples:\n") != NULL, true);
        CHECK_SLICE(names[i], slice_of_cstr(of_option.out), of_help.out);
    }
    CALL(&o, "version");
    CHECK_SLICE("version", slice_of_cstr(o.out), "postern 1.2.3\n");
    CALL(&o, "--version");
    CHECK_SLICE("version", slice_of_cstr(o.out), "postern 1.2.3\n");
    CALL(&o, "version", "--json");
    CHECK_SLICE("version", slice_of_cstr(o.out), "{\"version\": \"1.2.3\"}\n");
}

static void write_config(char path[], const char *text)
{
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

#define GOOD                                                                                       \
    "listeners: [{ name: mx, address: [\"127.0.0.1:2525\"] }]\n"                                   \
    "routes: [{ match: { domain: [\"*\"] }, action: { discard: {} } }]\n"

TEST(check_lists_problems_and_run_hands_over)
{
    char good[] = "/tmp/ctl_good.XXXXXX", bad[] = "/tmp/ctl_bad.XXXXXX", want[512];
    struct outcome o;
    write_config(good, GOOD "node: { cores: 1 }\n");
    write_config(bad, "nod: 1\n" GOOD "log: { level: loud }\n");

    CALL(&o, "check", good);
    snprintf(want, sizeof(want), "%s: fine\n", good);
    CHECK_EQ("good", o.exit_code, 0);
    CHECK_SLICE("good", slice_of_cstr(o.out), want);
    CHECK_SLICE("good", slice_of_cstr(o.err), "");

    CALL(&o, "check", bad);
    snprintf(want, sizeof(want),
             "%s:1:1: unknown key 'nod' (did you mean 'node'?)\n"
             "%s:4:15: 'level' must be one of error, warn, info, debug, not 'loud'\n",
             bad, bad);
    CHECK_EQ("bad", o.exit_code, CTL_BAD_CONFIG);
    CHECK_SLICE("bad", slice_of_cstr(o.err), want);
    CHECK_SLICE("bad", slice_of_cstr(o.out), "");

    CALL(&o, "check", "--show", "--set", "log.level=warn", good);
    CHECK_EQ("show", o.exit_code, 0);
    CHECK(strstr(o.out, "listeners[mx].limits.recipients: 1000 ") != NULL);
    CHECK(strstr(o.out, "# --set log.level\n") != NULL);

    CALL(&o, "run", "--config", good, "--set=node.drain_delay=1s", "--ready-fd", "1");
    snprintf(want, sizeof(want), "run %s ready_fd=1 cores=1 node.drain_delay=1s\n", good);
    CHECK_EQ("run: the hook's code", o.exit_code, 42);
    CHECK_SLICE("run", slice_of_cstr(o.out), want);

    CALL(&o, "run", "--config", bad);
    CHECK_EQ("run", o.exit_code, CTL_BAD_CONFIG);
    setenv("POSTERN_CONFIG", good, 1);
    CALL(&o, "run");
    CHECK_EQ("run by the environment", o.exit_code, 42);
    setenv("POSTERN__NODE__MEMORY", "1MiB", 1);
    CALL(&o, "run");
    CHECK_EQ("run with a bad variable", o.exit_code, CTL_BAD_CONFIG);
    CHECK_SLICE("run with a bad variable", slice_of_cstr(o.err),
                "environment: POSTERN__NODE__MEMORY: 'memory' must be 16MiB to 64GiB, not "
                "'1MiB'\n");
    unsetenv("POSTERN__NODE__MEMORY");
    unsetenv("POSTERN_CONFIG");
    unlink(good);
    unlink(bad);
}

TEST(a_demo_keeps_what_the_user_changed)
{
    char directory[] = "/tmp/ctl_test.XXXXXX", file[64], want[512];
    struct outcome o;
    CHECK(mkdtemp(directory) != NULL);
    rmdir(directory); /* it is made */
    snprintf(file, sizeof(file), "%s/postern.yaml", directory);
    CALL(&o, "run", "--demo", directory, "--set", "node.cores=1");
    snprintf(want, sizeof(want), "run %s ready_fd=-1 cores=1 node.cores=1\n", file);
    CHECK_EQ("demo", o.exit_code, 42);
    CHECK_SLICE("demo", slice_of_cstr(o.out), want);

    FILE *changed = fopen(file, "w");
    CHECK(changed != NULL && fputs("changed: 1\n" GOOD, changed) >= 0);
    fclose(changed);
    CALL(&o, "run", "--demo", directory);
    CHECK_EQ("changed", o.exit_code, CTL_BAD_CONFIG);
    CALL(&o, "run", "--demo", directory, "--config", file);
    CHECK_EQ("both", o.exit_code, CTL_USAGE);
    CALL(&o, "run", "--demo", file);
    CHECK_EQ("no directory", o.exit_code, CTL_FAILED);
    unlink(file);
    rmdir(directory);
}

#define MESSAGE(id, more)                                                                          \
    "{\"id\":\"" id "\",\"state\":\"queued\",\"received\":\"2020-01-01T00:00:00Z\",\"size\":4200," \
    "\"client\":\"192.0.2.1\",\"helo\":\"h\",\"listener\":\"mx\"," more "}"
#define TO(address) "{\"address\":\"" address "\",\"state\":\"queued\",\"attempts\":1}"

TEST(the_queue_is_listed_page_by_page)
{
    static const struct exchange script[] = {
        {"GET /api/v1/queue?limit=500 ", "200 OK",
         "{\"messages\":[" MESSAGE(
             "A1", "\"due\":null,\"sender\":\"a@a.test\",\"recipients\":[" TO("x@b.test") "," TO(
                       "y@b.test") "," TO("z@b.test") "]") "],\"next\":\"A1\"}"},
        {"GET /api/v1/queue?limit=500&after=A1 ", "200 OK",
         "{\"messages\":[" MESSAGE(
             "A2", "\"due\":\"2020-01-01T00:10:00Z\",\"sender\":\"\",\"recipients\":[" TO(
                       "e\\u001b[31m\\u009b@b.test") "]") "],\"next\":null}"},
    };
    struct server server;
    struct outcome o;
    char address[32];
    start(&server, bind_tcp(address), script, ARRAY_LEN(script));
    CALL(&o, "queue", "list", "--admin", address);
    finish(&server);
    CHECK_EQ("list", o.exit_code, 0);
    CHECK_SLICE("list", slice_of_cstr(o.err), "");
    /* The age grows with the calendar: it is cut out of the comparison. */
    CHECK(strncmp(o.out, "ID    AGE    SIZE  STATE   NEXT  SENDER    RECIPIENTS\nA1  ", 57) == 0);
    CHECK(strstr(o.out, "d  4.1KiB  queued     -  a@a.test  x@b.test +2\nA2  ") != NULL);
    CHECK(strstr(o.out, "d  4.1KiB  queued   now  <>        e?[31m?@b.test\n") != NULL);

    start(&server, bind_tcp(address), script, ARRAY_LEN(script));
    CALL(&o, "queue", "list", "--json", "--admin", address);
    finish(&server);
    CHECK_EQ("json", o.exit_code, 0);
    CHECK(strncmp(o.out, "{\"messages\": [\n{\"id\":\"A1\",", 26) == 0);
    CHECK(strstr(o.out, "},\n{\"id\":\"A2\",") != NULL);
    CHECK(strstr(o.out, "}\n], \"next\": null}\n") != NULL);

    static const struct exchange one[] = {
        {"GET /api/v1/queue?limit=1 ", "200 OK",
         "{\"messages\":[" MESSAGE("A1", "\"sender\":\"\",\"recipients\":[]") "],\"next\":\"A1\"}"},
    };
    start(&server, bind_tcp(address), one, ARRAY_LEN(one));
    CALL(&o, "queue", "list", "--limit=1", "--admin", address);
    finish(&server);
    CHECK_EQ("limit", o.exit_code, 0);
    CHECK_SLICE("limit", slice_of_cstr(o.err), "there are more than these 1\n");
}

TEST(bad_answers_about_the_queue_fail)
{
    static const struct exchange cases[] = {
        {"GET ", "200 OK", "{\"messages\":[],\"next\":null}"},
        {"GET ", "500 Oops", "no"},
        {"GET ", "200 OK", "<html>"},
        {"GET ", "200 OK", "{}"},
        {"GET ", "200 OK", "{\"messages\":[],\"next\":\"a b\"}"},
    };
    static const char *const wants[] = {
        "the queue is empty\n",
        "postern queue: the daemon's answer is not understood: status 500\n",
        "postern queue: the daemon's answer is not understood: no list of messages\n",
        "postern queue: the daemon's answer is not understood: no list of messages\n",
        "postern queue: the daemon's answer is not understood: a page that leads nowhere\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server server;
        struct outcome o;
        char address[32];
        start(&server, bind_tcp(address), &cases[i], 1);
        CALL(&o, "queue", "list", "--admin", address);
        finish(&server);
        CHECK_EQ(wants[i], o.exit_code, i == 0 ? CTL_DONE : CTL_FAILED);
        CHECK_SLICE("bad answer", slice_of_cstr(o.err), wants[i]);
    }
}

TEST(health_and_reload_say_what_the_daemon_said)
{
    static const struct {
        char *command;
        struct exchange exchange;
        int exit_code;
        const char *out, *err;
    } cases[] = {
        {"health", {"GET /readyz ", "200 OK", "ok\n"}, 0, "ready\n", ""},
        {"health",
         {"GET /readyz ", "503 Busy", "draining\n"},
         1,
         "",
         "postern health: not ready (503): draining\n"},
        {"reload",
         {"POST /api/v1/reload ", "200 OK", "{\"ok\":true,\"problems\":[]}"},
         0,
         "reloaded\n",
         ""},
        {"reload",
         {"POST /api/v1/reload ", "422 No",
          "{\"ok\":false,\"problems\":[\"f:1:1: a\",\"f:2:1: "
          "b\"]}"},
         CTL_BAD_CONFIG,
         "",
         "f:1:1: a\nf:2:1: b\npostern reload: refused; the old configuration stays in force\n"},
        {"reload",
         {"POST /api/v1/reload ", "500 No", "broken\nx"},
         CTL_FAILED,
         "",
         "postern reload: the daemon answered 500: broken\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server server;
        struct outcome o;
        char address[32];
        start(&server, bind_tcp(address), &cases[i].exchange, 1);
        CALL(&o, cases[i].command, "--admin", address);
        finish(&server);
        CHECK_EQ(cases[i].exchange.body, o.exit_code, cases[i].exit_code);
        CHECK_SLICE(cases[i].command, slice_of_cstr(o.out), cases[i].out);
        CHECK_SLICE(cases[i].command, slice_of_cstr(o.err), cases[i].err);
    }
}

TEST(the_admin_address_comes_from_the_configuration)
{
    static const struct exchange ready[] = {{"GET /readyz ", "200 OK", "ok\n"}};
    char directory[] = "/tmp/ctl_test.XXXXXX", file[] = "/tmp/ctl_conf.XXXXXX", text[1024];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct server server;
    struct outcome o;
    CHECK(mkdtemp(directory) != NULL);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/admin", directory);
    snprintf(text, sizeof(text), GOOD "admin: { address: [\"unix:%s\"] }\n", at.sun_path);
    write_config(file, text);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    start(&server, fd, ready, 1);
    CALL(&o, "health", "--config", file);
    finish(&server);
    CHECK_EQ("unix socket", o.exit_code, 0);

    unlink(at.sun_path);
    CALL(&o, "health", "--config", file);
    CHECK_EQ("nobody there", o.exit_code, CTL_UNREACHABLE);
    CHECK(strncmp(o.err, "postern health: no answer from the daemon at unix:", 50) == 0);

    CALL(&o, "health", "--config", "/not/there.yaml");
    CHECK_EQ("a file that was named must be there", o.exit_code, CTL_BAD_CONFIG);

    char address[32];
    start(&server, bind_tcp(address), ready, 1);
    snprintf(text, sizeof(text), "http://%s/", address);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* must not be asked */
    CALL(&o, "health", "--admin", text);
    unsetenv("http_proxy");
    finish(&server);
    CHECK_EQ("URL", o.exit_code, 0);
    unlink(file);
    rmdir(directory);
}
