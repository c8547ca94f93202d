/* load_options.c - the command line of `load`. */
#include "bench/load_options.h"

#include "bench/options.h"
#include "bench/units.h"
#include "ring/base/clock.h"

#include <stdlib.h>
#include <sys/random.h>

static const char usage[] =
    "load - sends messages over SMTP and measures when they are answered.\n"
    "\n"
    "  load --to 127.0.0.1:2525 --sessions 50 --messages 50000 --size 4KiB\n"
    "  load --to 127.0.0.1:2525 --sessions 400 --rate 5000/s --poisson --messages 100000\n"
    "  load --to 127.0.0.1:2525 --reconnect --until-killed-ok --messages 0 \\\n"
    "       --ledger sent.ledger --sync-ledger\n"
    "\n";

static bool take_u64(const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
    return slice_to_u64(slice_of_cstr(value), max, out) && *out >= min;
}

static bool take_to(void *into, const char *value)
{
    struct load_options *o = into;
    return endpoint_parse(slice_of_cstr(value), &o->to) && endpoint_port(&o->to) != 0;
}

static bool take_sessions(void *into, const char *value)
{
    struct load_options *o = into;
    uint64_t n;
    if (!take_u64(value, 1, LOAD_SESSIONS_MAX, &n)) return false;
    o->sessions = (uint32_t)n;
    return true;
}

static bool take_messages(void *into, const char *value)
{
    struct load_options *o = into;
    return take_u64(value, 0, MARK_NUMBER_MAX, &o->messages);
}

static bool take_size(void *into, const char *value)
{
    struct load_options *o = into;
    o->message.size_count = 1;
    o->message.sizes[0].weight = 1;
    return units_size(slice_of_cstr(value), MESSAGE_BYTES_MAX, &o->message.sizes[0].bytes);
}

static bool take_size_mix(void *into, const char *value)
{
    struct load_options *o = into;
    struct slice rest = slice_of_cstr(value), part, size, weight;
    o->message.size_count = 0;
    while (units_next(&rest, ',', &part)) {
        if (o->message.size_count == MESSAGE_SIZES_MAX) return false;
        struct message_size *to = &o->message.sizes[o->message.size_count++];
        uint64_t n;
        if (!units_pair(part, &size, &weight)) return false;
        if (!units_size(size, MESSAGE_BYTES_MAX, &to->bytes)) return false;
        if (!slice_to_u64(weight, 1000000, &n) || n == 0) return false;
        to->weight = (uint32_t)n;
    }
    return true;
}

static bool take_per_connection(void *into, const char *value)
{
    struct load_options *o = into;
    return take_u64(value, 1, MARK_NUMBER_MAX, &o->messages_per_connection);
}

static bool take_recipients(void *into, const char *value)
{
    struct load_options *o = into;
    uint64_t n;
    if (!take_u64(value, 1, LOAD_RECIPIENTS_MAX, &n)) return false;
    o->recipients = (uint32_t)n;
    return true;
}

static bool take_switch(const char *value, const char *on, const char *off, bool *out)
{
    *out = strcmp(value, on) == 0;
    return *out || strcmp(value, off) == 0;
}

static bool take_pipelining(void *into, const char *value)
{
    struct load_options *o = into;
    return take_switch(value, "on", "off", &o->is_pipelining);
}

static bool take_bodies(void *into, const char *value)
{
    struct load_options *o = into;
    return take_switch(value, "plain", "varied", &o->message.is_plain);
}

static bool take_rate(void *into, const char *value)
{
    struct load_options *o = into;
    return units_rate(slice_of_cstr(value), &o->rate);
}

static bool take_timeout(void *into, const char *value)
{
    struct load_options *o = into;
    return units_duration(slice_of_cstr(value), &o->timeout_ns) && o->timeout_ns > 0;
}

/* LOCAL@DOMAIN without blanks, brackets or control bytes: enough to keep our own lines whole. */
static bool is_address(const char *value)
{
    struct slice text = slice_of_cstr(value);
    const char *at = strchr(value, '@');
    if (at == NULL || at == value || at[1] == '\0') return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c >= 127 || c == '<' || c == '>') return false;
    }
    return text.len <= MESSAGE_ADDRESS_BYTES_MAX;
}

static bool take_to_address(void *into, const char *value)
{
    struct load_options *o = into;
    o->message.to = value;
    return is_address(value);
}

static bool take_from(void *into, const char *value)
{
    struct load_options *o = into;
    o->message.from = value;
    return is_address(value);
}

static bool take_seed(void *into, const char *value)
{
    struct load_options *o = into;
    return take_u64(value, 0, UINT64_MAX, &o->message.seed);
}

static bool take_run(void *into, const char *value)
{
    struct load_options *o = into;
    return mark_parse_hex(slice_of_cstr(value), &o->message.run);
}

static bool take_ledger(void *into, const char *value)
{
    struct load_options *o = into;
    o->ledger = value;
    return true;
}

static bool take_json(void *into, const char *value)
{
    struct load_options *o = into;
    o->json = value;
    return true;
}

static bool flag_poisson(void *into, const char *value)
{
    struct load_options *o = into;
    (void)value;
    return o->is_poisson = true;
}

static bool flag_sync_ledger(void *into, const char *value)
{
    struct load_options *o = into;
    (void)value;
    return o->has_sync_ledger = true;
}

static bool flag_reconnect(void *into, const char *value)
{
    struct load_options *o = into;
    (void)value;
    return o->may_reconnect = true;
}

static bool flag_until_killed_ok(void *into, const char *value)
{
    struct load_options *o = into;
    (void)value;
    return o->until_killed_ok = true;
}

static bool flag_buckets(void *into, const char *value)
{
    struct load_options *o = into;
    (void)value;
    return o->with_buckets = true;
}

static const struct option_row rows[] = {
    {"to", "ADDRESS:PORT", "the server (needed)", take_to},
    {"sessions", "N", "connections at once (10)", take_sessions},
    {"messages", "N", "messages in all; 0: until stopped (1000)", take_messages},
    {"size", "SIZE", "of a message, header section included (4KiB); 0: empty body", take_size},
    {"size-mix", "SIZE:WEIGHT,...", "sizes by weight: 1KiB:50,50KiB:15,1MiB:4", take_size_mix},
    {"bodies", "varied|plain", "dots, long lines, 8-bit bytes; or none of them", take_bodies},
    {"messages-per-connection", "N", "then QUIT and connect again", take_per_connection},
    {"recipients", "N", "of a message: user1@..., user2@... (1)", take_recipients},
    {"pipelining", "on|off", "MAIL, RCPT, DATA in one go, if offered (on)", take_pipelining},
    {"rate", "N/s", "open loop: latency counts from the intended time", take_rate},
    {"poisson", NULL, "with --rate: intervals as of independent senders", flag_poisson},
    {"to-address", "ADDRESS", "recipient (user@bench.test)", take_to_address},
    {"from", "ADDRESS", "sender (load@bench.test)", take_from},
    {"seed", "N", "of sizes, bodies and intervals (1)", take_seed},
    {"run", "HEX", "run id, 16 digits (random)", take_run},
    {"timeout", "DURATION", "of the whole run (300s)", take_timeout},
    {"reconnect", NULL, "connect again, with back-off, when a connection is lost", flag_reconnect},
    {"until-killed-ok", NULL, "being stopped by TERM or INT is no failure", flag_until_killed_ok},
    {"ledger", "FILE", "append each message's fate", take_ledger},
    {"sync-ledger", NULL, "write the ledger at once, not when its buffer is full",
     flag_sync_ledger},
    {"json", "FILE", "where the report goes (-: standard output)", take_json},
    {"buckets", NULL, "put the histograms' buckets into the report", flag_buckets},
};

void load_options_read(struct load_options *options, int argc, char **argv)
{
    *options = (struct load_options){
        .sessions = 10,
        .recipients = 1,
        .messages = 1000,
        .timeout_ns = 300 * NS_PER_S,
        .is_pipelining = true,
        .message = {.seed = 1,
                    .from = "load@bench.test",
                    .to = "user@bench.test",
                    .sizes = {{4096, 1}},
                    .size_count = 1},
    };
    int at = options_read(rows, ARRAY_LEN(rows), usage, options, argc, argv);
    if (at < argc) options_fail("what is \"%s\"?", argv[at]);
    if (options->to.addr_len == 0) options_fail("--to is needed");
    if (options->is_poisson && options->rate == 0) options_fail("--poisson needs --rate");
    while (options->message.run == 0) {
        ssize_t n = getrandom(&options->message.run, sizeof(options->message.run), 0);
        if (n != (ssize_t)sizeof(options->message.run)) options->message.run = clock_wall_ms();
    }
}
