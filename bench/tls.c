/* tls.c - what TLS costs a server on this ring, beside what it costs OpenSSL's own.
 *
 *     tls --seconds 3
 *
 * Handshakes: a server of ours and openssl s_server, one after the other on the same processor, by
 * the same client on another: ours, and openssl s_time where it can. Bulk: one connection each way,
 * beside openssl speed. Memory: idle connections, with and without TLS. Flood: how long the answer
 * to one session takes while others begin handshakes as fast as the server takes them.
 *
 * Every line is `what key=value ...`. The comparison is by processor time of the server: its client
 * is often the one that has no time left. */
#include "bench/options.h"
#include "bench/tls_client.h"
#include "bench/tls_server.h"
#include "ring/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARALLEL 8
#define OUTPUT_BYTES 4096
#define IDLE_MAX 15000
#define CONNECTIONS_BESIDE 1100 /* of the flood, and a few */

struct tool_options {
    uint32_t seconds, server_cpu, client_cpu, idle;
    uint32_t only; /* 0: all */
};

struct tool {
    struct tool_options options;
    struct tls_client *client;
    struct tls_server_settings settings;
};

static const char usage[] =
    "tls - what TLS costs a server on this ring, beside OpenSSL's own.\n"
    "\n"
    "  tls --seconds 3\n"
    "\n"
    "It needs the openssl command and two processors. Ratios are of work per processor time.\n"
    "\n";

#define FIELD(kind, name) NULL, kind, offsetof(struct tool_options, name)
static const struct option_row rows[] = {
    {"seconds", "N", "for each measurement (2)", FIELD(OPTION_U32, seconds), 1, 600},
    {"server-cpu", "N", "the processor of the servers (0)", FIELD(OPTION_U32, server_cpu), 0, 1023},
    {"client-cpu", "N", "the processor of the clients (1)", FIELD(OPTION_U32, client_cpu), 0, 1023},
    {"idle", "N", "idle connections, for their memory (1000)", FIELD(OPTION_U32, idle), 1,
     IDLE_MAX},
    {"only", "all|handshakes|bulk|memory|flood", "one part (all)", FIELD(OPTION_CHOICE, only), 0,
     0},
};

NORETURN static void give_up(const char *what)
{
    fprintf(stderr, "tls: %s\n", what);
    exit(EXIT_FAILURE);
}

static uint64_t duration_ns(const struct tool *tool)
{
    return tool->options.seconds * NS_PER_S;
}

static struct tls_process_usage usage_between(const struct tls_process *process,
                                              const struct tls_process_usage *start)
{
    struct tls_process_usage now = tls_process_usage(process);
    now.cpu_s -= start->cpu_s;
    return now;
}

static struct tls_context *client_context(enum tls_version version, bool resumes)
{
    struct tls_client_options options = {
        .resumes = resumes, .version_min = version, .version_max = version};
    struct tls_context *context;
    char why[512];
    if (tls_client_context_create(&options, &context, why, sizeof(why)) != 0) give_up(why);
    return context;
}

/* --- the certificate --- */

static char directory[] = "/tmp/postern-bench-tls-XXXXXX";
static char certificate[sizeof(directory) + 4], key[sizeof(directory) + 4];

static void remove_certificate(void)
{
    unlink(certificate);
    unlink(key);
    rmdir(directory);
}

static void make_certificate(struct tool *tool)
{
    if (mkdtemp(directory) == NULL) give_up("no directory in /tmp can be made");
    snprintf(certificate, sizeof(certificate), "%s/crt", directory);
    snprintf(key, sizeof(key), "%s/key", directory);
    atexit(remove_certificate); /* children end by _exit() */
    const char *args[TLS_PROCESS_ARGS_MAX] = {"openssl",
                                              "req",
                                              "-x509",
                                              "-newkey",
                                              "ec",
                                              "-pkeyopt",
                                              "ec_paramgen_curve:P-256",
                                              "-nodes",
                                              "-days",
                                              "2",
                                              "-subj",
                                              "/CN=bench.example",
                                              "-keyout",
                                              key,
                                              "-out",
                                              certificate,
                                              NULL};
    struct tls_process process = tls_process_openssl(tool->options.client_cpu, args);
    char output[OUTPUT_BYTES];
    if (tls_process_finish(&process, output, sizeof(output)) != 0)
        give_up("the openssl command cannot make a certificate; is it installed?");
}

/* --- handshakes --- */

static const char *const server_names[] = {"ours", "s_server"};

struct handshake_kind {
    const char *name;
    enum tls_version version;
    bool resumes;
    const char *s_time[3]; /* its options; none: it cannot, for it reads no ticket of TLS 1.3 */
};

static const struct handshake_kind kinds[] = {
    {"full", TLS_VERSION_1_3, false, {"-tls1_3", "-new", NULL}},
    {"resumed", TLS_VERSION_1_3, true, {NULL}},
    {"full", TLS_VERSION_1_2, false, {"-tls1_2", "-new", NULL}},
    {"resumed", TLS_VERSION_1_2, true, {"-tls1_2", "-reuse", NULL}},
};

/* Returns the server's processor time for a handshake, in microseconds. */
static double print_handshakes(const struct handshake_kind *kind, const char *server,
                               const char *client, uint64_t count, double elapsed_s, double cpu_s)
{
    double cpu_us = count == 0 ? 0 : 1e6 * cpu_s / (double)count;
    printf("handshakes %s version=%s server=%s client=%s count=%" PRIu64
           " per_second=%.0f server_cpu_us=%.1f\n",
           kind->name, kind->version == TLS_VERSION_1_3 ? "1.3" : "1.2", server, client, count,
           (double)count / elapsed_s, cpu_us);
    fflush(stdout);
    return cpu_us;
}

static double by_our_client(struct tool *tool, enum tls_server_kind server,
                            const struct handshake_kind *kind)
{
    struct endpoint at;
    struct tls_process process = tls_server_start(server, &tool->settings, &at);
    struct tls_context *context = client_context(kind->version, kind->resumes);
    tls_client_use(tool->client, &at, context);
    /* The first brings the ticket. */
    (void)tls_client_handshakes(tool->client, 1, 50 * NS_PER_MS);
    struct tls_process_usage start = tls_process_usage(&process);
    struct tls_client_counts counts =
        tls_client_handshakes(tool->client, PARALLEL, duration_ns(tool));
    struct tls_process_usage used = usage_between(&process, &start);
    tls_process_stop(&process);
    tls_context_destroy(context);
    if (counts.failed > 0) give_up("handshakes failed");
    if (kind->resumes && counts.resumed + 2 * PARALLEL < counts.handshakes)
        give_up("sessions were not resumed");
    return print_handshakes(kind, server_names[server], "load", counts.handshakes, counts.elapsed_s,
                            used.cpu_s);
}

/* "1234 connections in 2 real seconds" is its last line. */
static double by_s_time(struct tool *tool, enum tls_server_kind server,
                        const struct handshake_kind *kind)
{
    struct endpoint at;
    struct tls_process process = tls_server_start(server, &tool->settings, &at);
    char address[ENDPOINT_TEXT_MAX], seconds[16], output[OUTPUT_BYTES];
    snprintf(address, sizeof(address), "127.0.0.1:%u", endpoint_port(&at));
    snprintf(seconds, sizeof(seconds), "%" PRIu32, tool->options.seconds);
    const char *args[TLS_PROCESS_ARGS_MAX] = {"openssl",       "s_time",        "-connect",
                                              address,         "-time",         seconds,
                                              kind->s_time[0], kind->s_time[1], NULL};
    struct tls_process_usage start = tls_process_usage(&process);
    uint64_t start_ns = clock_monotonic_ns();
    struct tls_process client = tls_process_openssl(tool->options.client_cpu, args);
    int status = tls_process_finish(&client, output, sizeof(output));
    double elapsed_s = (double)(clock_monotonic_ns() - start_ns) / (double)NS_PER_S;
    struct tls_process_usage used = usage_between(&process, &start);
    tls_process_stop(&process);
    const char *line = strstr(output, " connections in ");
    while (line != NULL && line > output && line[-1] >= '0' && line[-1] <= '9')
        line--;
    uint64_t count = line == NULL ? 0 : strtoull(line, NULL, 10);
    if (status != 0 || count == 0) give_up("s_time counted no connections");
    return print_handshakes(kind, server_names[server], "s_time", count, elapsed_s, used.cpu_s);
}

static void measure_handshakes(struct tool *tool)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct handshake_kind *kind = &kinds[i];
        const char *version = kind->version == TLS_VERSION_1_3 ? "1.3" : "1.2";
        double ours = by_our_client(tool, TLS_SERVER_OURS, kind);
        double theirs = by_our_client(tool, TLS_SERVER_OPENSSL, kind);
        printf("ratio %s version=%s client=load ours_to_s_server=%.2f\n", kind->name, version,
               theirs / ours);
        if (kind->s_time[0] == NULL) continue;
        ours = by_s_time(tool, TLS_SERVER_OURS, kind);
        theirs = by_s_time(tool, TLS_SERVER_OPENSSL, kind);
        printf("ratio %s version=%s client=s_time ours_to_s_server=%.2f\n", kind->name, version,
               theirs / ours);
    }
}

/* --- bulk --- */

/* The bytes per second that `openssl speed` reaches; its last word is "5520905.31k". */
static double cipher_speed(const struct tool *tool, const char *cipher)
{
    char seconds[16], output[OUTPUT_BYTES];
    snprintf(seconds, sizeof(seconds), "%" PRIu32, tool->options.seconds);
    const char *args[TLS_PROCESS_ARGS_MAX] = {"openssl", "speed", "-seconds", seconds, "-bytes",
                                              "16384",   "-evp",  cipher,     NULL};
    struct tls_process process = tls_process_openssl(tool->options.server_cpu, args);
    int status = tls_process_finish(&process, output, sizeof(output));
    const char *last = strrchr(output, ' ');
    double speed = last == NULL ? 0 : 1000 * strtod(last, NULL);
    if (status != 0 || speed <= 0) give_up("openssl speed told no figure");
    printf("cipher name=%s bytes_per_second=%.0f\n", cipher, speed);
    return speed;
}

/* Returns the server's processor time for a byte, in seconds. */
static double measure_bulk_of(struct tool *tool, bool is_plain, bool sends)
{
    struct endpoint at;
    tool->settings.is_plain = is_plain;
    struct tls_process process = tls_server_start(TLS_SERVER_OURS, &tool->settings, &at);
    struct tls_context *context = client_context(TLS_VERSION_1_3, false);
    tls_client_use(tool->client, &at, is_plain ? NULL : context);
    struct tls_process_usage start = tls_process_usage(&process);
    struct tls_client_counts counts = tls_client_bulk(tool->client, sends, duration_ns(tool));
    struct tls_process_usage used = usage_between(&process, &start);
    tls_process_stop(&process);
    tls_context_destroy(context);
    tool->settings.is_plain = false;
    if (counts.bytes == 0) give_up("no bytes went through");
    printf("bulk %s tls=%s bytes_per_second=%.0f per_server_cpu_second=%.0f\n",
           sends ? "to-server" : "from-server", is_plain ? "no" : "yes",
           (double)counts.bytes / counts.elapsed_s, (double)counts.bytes / used.cpu_s);
    fflush(stdout);
    return used.cpu_s / (double)counts.bytes;
}

/* What TLS adds to the same bytes in the clear is compared with the cipher: the rest is TCP's. */
static void measure_bulk(struct tool *tool)
{
    double speed = cipher_speed(tool, "aes-128-gcm"); /* what the servers choose */
    (void)cipher_speed(tool, "aes-256-gcm");
    for (int sends = 0; sends < 2; sends++) {
        double plain = measure_bulk_of(tool, true, sends == 1);
        double tls = measure_bulk_of(tool, false, sends == 1);
        printf("ratio bulk %s with_tcp_to_cipher=%.2f tls_alone_to_cipher=%.2f\n",
               sends == 1 ? "to-server" : "from-server", 1 / tls / speed,
               1 / (tls - plain) / speed);
    }
}

/* --- memory --- */

static void measure_memory(struct tool *tool)
{
    for (int is_plain = 0; is_plain < 2; is_plain++) {
        struct endpoint at;
        tool->settings.is_plain = is_plain == 1;
        struct tls_process process = tls_server_start(TLS_SERVER_OURS, &tool->settings, &at);
        struct tls_context *context = client_context(TLS_VERSION_1_3, false);
        tls_client_use(tool->client, &at, is_plain ? NULL : context);
        (void)tls_client_hold(tool->client, 1); /* what is made once */
        tls_client_release(tool->client);
        uint64_t before = tls_process_usage(&process).resident_bytes;
        uint32_t held = tls_client_hold(tool->client, tool->options.idle);
        uint64_t after = tls_process_usage(&process).resident_bytes;
        printf("memory %s connections=%" PRIu32 " bytes_per_connection=%.0f\n",
               is_plain ? "plain" : "tls", held, ((double)after - (double)before) / held);
        tls_client_release(tool->client);
        tls_process_stop(&process);
        tls_context_destroy(context);
    }
    tool->settings.is_plain = false;
}

/* --- flood --- */

static void measure_flood(struct tool *tool)
{
    static const uint32_t parallels[] = {0, 1, 10, 100, 500, 1000};
    struct endpoint at;
    struct tls_process process = tls_server_start(TLS_SERVER_OURS, &tool->settings, &at);
    struct tls_context *context = client_context(TLS_VERSION_1_3, false);
    tls_client_use(tool->client, &at, context);
    struct latency *latency = malloc(sizeof(*latency));
    if (latency == NULL) give_up("out of memory");
    for (size_t i = 0; i < ARRAY_LEN(parallels); i++) {
        latency_init(latency);
        struct tls_process_usage start = tls_process_usage(&process);
        struct tls_client_counts counts =
            tls_client_flood(tool->client, parallels[i], duration_ns(tool), latency);
        struct tls_process_usage used = usage_between(&process, &start);
        printf("flood parallel=%" PRIu32 " hellos_per_second=%.0f answers=%" PRIu64
               " p50_ms=%.2f p99_ms=%.2f max_ms=%.2f server_cpu_s=%.2f\n",
               parallels[i], (double)counts.handshakes / counts.elapsed_s, latency->count,
               (double)latency_at(latency, 0.5) / 1e6, (double)latency_at(latency, 0.99) / 1e6,
               (double)latency->max_ns / 1e6, used.cpu_s);
        fflush(stdout);
    }
    free(latency);
    tls_process_stop(&process);
    tls_context_destroy(context);
}

int main(int argc, char **argv)
{
    static void (*const parts[])(struct tool *) = {measure_handshakes, measure_bulk, measure_memory,
                                                   measure_flood};
    struct tool tool = {.options = {.seconds = 2, .client_cpu = 1, .idle = 1000}};
    int at = options_read(rows, ARRAY_LEN(rows), usage, &tool.options, argc, argv);
    if (at < argc) options_fail("what is \"%s\"?", argv[at]);
    uint32_t connections = tool.options.idle + CONNECTIONS_BESIDE;
    make_certificate(&tool);
    tool.settings = (struct tls_server_settings){.cpu = tool.options.server_cpu,
                                                 .certificate = certificate,
                                                 .key = key,
                                                 .connections = connections};
    if (!tls_process_bind(tool.options.client_cpu))
        options_fail("there is no processor %" PRIu32, tool.options.client_cpu);
    tool.client = tls_client_create(connections);
    for (uint32_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (tool.options.only == 0 || tool.options.only == i + 1) parts[i](&tool);
    }
    tls_client_destroy(tool.client);
    return 0;
}
