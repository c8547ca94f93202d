/* floor.c - the least that an SMTP server can do on this ring, as fast as it can be done.
 *
 *     floor --listen 127.0.0.1:2525
 *
 * It answers EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP and QUIT, looks at no argument, and forgets
 * the body while it looks for its end. Nothing is stored and nothing is checked: what it costs is
 * the network, the kernel and the loop, and every server on this loop costs that much at least. One
 * thread, and one that waits for signals. Prints a line when it listens, and counts on TERM or INT,
 * which end it. */
#include "bench/address.h"
#include "bench/control.h"
#include "bench/floor_session.h"
#include "bench/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SUBMISSION_COUNT 1024
#define BACKLOG 4096
#define CONNECTIONS_MAX 500000
#define INPUTS_MAX 32768

struct floor_options {
    struct endpoint listen;
    uint32_t connections, inputs;
};

static void on_command(void *owner, struct slice command)
{
    struct floor_server *server = owner;
    if (slice_eq(command, SLICE("stop"))) loop_stop(server->loop);
}

static const char usage[] =
    "floor - an SMTP server that discards messages with the least work there can be.\n"
    "\n"
    "  floor --listen 127.0.0.1:2525\n"
    "\n"
    "It prints \"ready ADDRESS:PORT\" when it listens. TERM or INT ends it: it prints its counts.\n"
    "\n";

static bool take_listen(void *into, const char *value)
{
    struct floor_options *o = into;
    return endpoint_parse(slice_of_cstr(value), &o->listen);
}

#define FIELD(kind, name) NULL, kind, offsetof(struct floor_options, name)

static const struct option_row rows[] = {
    {"listen", "ADDRESS:PORT", "where (127.0.0.1:2525); port 0: any", .take = take_listen},
    {"connections", "N", "at once; more are closed (4096)", FIELD(OPTION_U32, connections), 1,
     CONNECTIONS_MAX},
    {"inputs", "N", "input buffers of 8 KiB, a power of two (512)", FIELD(OPTION_U32, inputs), 1,
     INPUTS_MAX},
};

static void read_options(struct floor_options *options, int argc, char **argv)
{
    *options = (struct floor_options){.connections = 4096, .inputs = 512};
    bool is_good = endpoint_parse(SLICE("127.0.0.1:2525"), &options->listen);
    ASSERT(is_good);
    int at = options_read(rows, ARRAY_LEN(rows), usage, options, argc, argv);
    if (at < argc) options_fail("what is \"%s\"?", argv[at]);
    if ((options->inputs & (options->inputs - 1)) != 0)
        options_fail("--inputs %" PRIu32 " is no power of two", options->inputs);
}

NORETURN static void run(struct loop *loop, const struct floor_options *options)
{
    struct floor_server server;
    struct listener *listener;
    floor_server_init(&server, loop, options->connections);
    int err = address_ask(&options->listen);
    if (err == 0)
        err = listener_start(loop, &options->listen, BACKLOG, floor_session_accept, &server,
                             &listener);
    if (err != 0) {
        fprintf(stderr, "floor: cannot listen: %s\n", err_str(err));
        _exit(EXIT_FAILURE);
    }
    /* Sleeps in poll(2) until a signal comes: no work of the loop's thread. */
    control_start(loop, false, on_command, &server);
    address_say_ready(listener);

    err = loop_run(loop);
    if (err != 0) fprintf(stderr, "floor: the loop failed: %s\n", err_str(err));
    printf("floor: connections=%" PRIu64 " messages=%" PRIu64 " bytes=%" PRIu64 " refused=%" PRIu64
           " deaf=%" PRIu64 "\n",
           server.connections, server.messages, server.bytes, server.refused, server.deaf);
    fflush(stdout);
    /* Connections are still open: the kernel ends them, and takes all memory back at once. */
    _exit(err == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    control_block_signals();
    struct floor_options options;
    read_options(&options, argc, argv);
    struct loop_options loop_options = {
        .submission_count = SUBMISSION_COUNT,
        .socket_count_max = options.connections,
        .input_count = options.inputs,
    };
    struct loop *loop;
    char why[512];
    int err = loop_create(&loop_options, &loop, why, sizeof(why));
    if (err != 0) {
        fprintf(stderr, "floor: %s\n", why);
        return EXIT_FAILURE;
    }
    run(loop, &options);
}
