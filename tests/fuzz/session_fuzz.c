/* A whole session: the bytes of a client, against the real gateway in the simulated world.
 *
 * Each byte 1 is not sent: there the client waits. Every reply must be one (G7): lines of at most
 * 512 octets of printable ASCII that end in CRLF, one code in all lines of a reply; and whatever
 * the client said, its session ends, at the latest by the time limits. */
#include "ring/base/memory.h"
#include "server/auth/throttle.h"
#include "server/core/gateway.h"
#include "tests/support/sim/sim.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define WAIT_BYTE 1
#define WAIT_NS (200 * NS_PER_MS)
#define REPLY_LINE_MAX 512
#define END_NS (20 * 60 * NS_PER_S) /* the command's time, and that of the last reply */

static struct {
    struct spool *spool;
    struct generation *generation;
    struct ingress_shared shared;
    struct delivery_slots *slots;
    struct endpoint address;
    struct gateway *gateway;
} server;

static struct {
    struct sim_peer peer;
    char line[REPLY_LINE_MAX];
    size_t line_len;
    char code[3];
    bool is_inside; /* of a reply of several lines */
    bool is_over;
} client;

/* --- the client --- */

static void check_line(void)
{
    ASSERT(client.line_len >= 5 && client.line[client.line_len - 2] == '\r');
    for (size_t i = 0; i < client.line_len - 2; i++)
        ASSERT(client.line[i] >= ' ' && client.line[i] <= '~');
    ASSERT(client.line[0] >= '2' && client.line[0] <= '5');
    char after = client.line[3];
    ASSERT(after == ' ' || after == '-' || client.line_len == 5);
    if (client.is_inside) ASSERT(memcmp(client.code, client.line, 3) == 0);
    memcpy(client.code, client.line, 3);
    client.is_inside = after == '-';
}

static void on_data(struct sim_peer *peer, struct slice bytes)
{
    (void)peer;
    for (size_t i = 0; i < bytes.len; i++) {
        ASSERT(client.line_len < REPLY_LINE_MAX);
        client.line[client.line_len++] = bytes.data[i];
        if (bytes.data[i] != '\n') continue;
        check_line();
        client.line_len = 0;
    }
}

static void on_end(struct sim_peer *peer, int err)
{
    if (err == 0) sim_peer_close(peer);
    client.is_over = true;
}

/* --- the server --- */

static void on_fatal(void *owner, int err)
{
    (void)owner;
    (void)err;
    abort();
}

static struct config *read_config(const char *directory)
{
    char text[1024];
    struct config *config;
    struct config_problems problems = {0};
    snprintf(text, sizeof(text),
             "node: {hostname: gw.test, cores: 1, memory: 16MiB}\n"
             "spool: {path: %s/spool, min_free: 1MiB}\n"
             "listeners:\n"
             "  - {name: mx, address: ['192.0.2.1:25'], xclient: {from: [192.0.2.0/24]},\n"
             "     limits: {message_size: 64KiB}}\n"
             "routes:\n"
             "  - {match: {domain: [refused.test]}, action: {reject: 550 5.1.1 no}}\n"
             "  - {match: {domain: ['*']}, action: {discard: {}}}\n"
             "log: {format: json, level: error}\n",
             directory);
    int err = config_parse(slice_of_cstr(text), "fuzzed", "/", NULL, &config, &problems);
    for (size_t i = 0; i < problems.count; i++)
        fprintf(stderr, "%s\n", problems.lines[i]);
    ASSERT(err == 0);
    return config;
}

static void open_server(const char *directory)
{
    char why[512] = "";
    struct config *config = read_config(directory);
    struct config_problems problems = {0};
    int err = spool_open(config->spool.path, &server.spool, why, sizeof(why));
    if (err == 0) err = spool_make_shards(server.spool, 1);
    server.address = config->listeners[0].addresses[0];
    if (err == 0) err = generation_create(config, NULL, &server.generation, &problems);
    server.shared.clients = clients_create();
    server.shared.throttle = auth_throttle_create(0);
    server.shared.listener_connections = xcalloc(1, sizeof(uint64_t));
    server.shared.listener_handshakes = xcalloc(1, sizeof(uint64_t));
    server.slots = delivery_slots_create();
    const struct gateway_options options = {
        .count = 1,
        .generation = server.generation,
        .spool = server.spool,
        .shared = &server.shared,
        .slots = server.slots,
        .addresses = &server.address,
        .session_count_max = 100,
        .segment_bytes = 1u << 20,
        .on_fatal = on_fatal,
    };
    if (err == 0) err = gateway_open(&options, &server.gateway, why, sizeof(why));
    if (err != 0) fprintf(stderr, "no gateway: %s\n", why);
    ASSERT(err == 0);
    gateway_start(server.gateway);
    loop_wake(gateway_loop(server.gateway));
}

static char directory[64];

static int remove_one(const char *path, const struct stat *stat_of, int kind, struct FTW *walk)
{
    (void)stat_of;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_directory(void)
{
    (void)nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    snprintf(directory, sizeof(directory), "%s/postern-session-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    char *made = mkdtemp(directory);
    ASSERT(made != NULL);
    atexit(remove_directory);
    log_set_level(LOG_ERROR);
    sim_begin(1, 0, 0);
    open_server(made);
    return 0;
}

/* --- a session --- */

static void run_for(uint64_t ns)
{
    uint64_t until_ns = sim_now_ns() + ns;
    while (!client.is_over && sim_next_ns() <= until_ns)
        sim_step();
}

static bool is_open(void)
{
    return __atomic_load_n(&server.shared.listener_connections[0], __ATOMIC_RELAXED) > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct endpoint from;
    bool is_address = endpoint_parse(SLICE("192.0.2.9:4000"), &from);
    ASSERT(is_address);
    memset(&client, 0, sizeof(client));
    client.peer.on_data = on_data;
    client.peer.on_end = on_end;
    sim_peer_connect(&client.peer, &server.address, &from);
    run_for(NS_PER_S);
    for (size_t at = 0; at < size && !client.is_over;) {
        const uint8_t *wait = memchr(data + at, WAIT_BYTE, size - at);
        size_t len = wait == NULL ? size - at : (size_t)(wait - data) - at;
        if (len > 0) sim_peer_send(&client.peer, slice_of(data + at, len));
        run_for(WAIT_NS);
        at += len + (wait != NULL);
    }
    bool hangs_up = size > 0 && data[size - 1] % 2 == 0;
    if (hangs_up) sim_peer_close(&client.peer);
    uint64_t until_ns = sim_now_ns() + END_NS;
    while (is_open() && sim_next_ns() <= until_ns)
        sim_step();
    ASSERT(!is_open());
    ASSERT(hangs_up || (client.line_len == 0 && !client.is_inside));
    sim_peer_close(&client.peer);
    sim_run_until(sim_now_ns() + NS_PER_S);
    return 0;
}
