/* load_options.c - the command line of `load`. */
#include "bench/load_options.h"

#include "bench/options.h"
#include "bench/units.h"
#include "ring/base/clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static const char usage[] =
    "load - sends messages over SMTP and measures when they are answered.\n"
    "\n"
    "  load --to 127.0.0.1:2525 --sessions 50 --messages 50000 --size 4KiB\n"
    "  load --to 127.0.0.1:2525 --sessions 50 --duration 10s --cores 2\n"
    "  load --to 127.0.0.1:2525 --sessions 400 --rate 5000/s --poisson --messages 100000\n"
    "  load --to 127.0.0.1:2525 --reconnect --until-killed-ok --messages 0 \\\n"
    "       --ledger sent.ledger --sync-ledger\n"
    "  load --to 127.0.0.1:2587 --tls starttls --handshake resumed \\\n"
    "       --messages-per-connection 1 --auth plain --user u --password-file secret\n"
    "  load --to 127.0.0.1:2525 --sessions 0 --idle 10000 --duration 60s\n"
    "\n";

static bool take_to(void *into, const char *value)
{
    struct load_options *o = into;
    return endpoint_parse(slice_of_cstr(value), &o->to) && endpoint_port(&o->to) != 0;
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

static bool take_bodies(void *into, const char *value)
{
    struct load_options *o = into;
    o->message.is_plain = strcmp(value, "plain") == 0;
    return o->message.is_plain || strcmp(value, "varied") == 0;
}

static bool take_rate(void *into, const char *value)
{
    struct load_options *o = into;
    return units_rate(slice_of_cstr(value), &o->rate);
}

static bool take_slow_rate(void *into, const char *value)
{
    struct load_options *o = into;
    size_t len = strlen(value);
    if (len > 2 && strcmp(value + len - 2, "/s") == 0) len -= 2;
    return units_size(slice_of(value, len), MESSAGE_BYTES_MAX, &o->slow_bytes_s) &&
           o->slow_bytes_s > 0;
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

static bool take_run(void *into, const char *value)
{
    struct load_options *o = into;
    return mark_parse_hex(slice_of_cstr(value), &o->message.run);
}

#define FIELD(kind, name) NULL, kind, offsetof(struct load_options, name)

static const struct option_row rows[] = {
    {"to", "ADDRESS:PORT", "the server (needed)", .take = take_to},
    {"sessions", "N", "connections at once (10); 0 only with --idle", FIELD(OPTION_U32, sessions),
     0, LOAD_SESSIONS_MAX},
    {"cores", "N", "threads with a loop each, which share the sessions (1)",
     FIELD(OPTION_U32, cores), 1, LOAD_CORES_MAX},
    {"messages", "N", "messages in all; 0: until stopped (1000; 0 with --duration)",
     FIELD(OPTION_U64, messages), 0, MARK_NUMBER_MAX},
    {"duration", "DURATION", "begin no message after it, and end when the begun are answered",
     FIELD(OPTION_DURATION, duration_ns), 0, 0},
    {"size", "SIZE", "of a message, header section included (4KiB); 0: empty body",
     .take = take_size},
    {"size-mix", "SIZE:WEIGHT,...", "sizes by weight: 1KiB:50,50KiB:15,1MiB:4",
     .take = take_size_mix},
    {"bodies", "varied|plain", "dots, long lines, 8-bit bytes; or none of them",
     .take = take_bodies},
    {"messages-per-connection", "N", "then QUIT and connect again",
     FIELD(OPTION_U64, messages_per_connection), 1, MARK_NUMBER_MAX},
    {"recipients", "N", "of a message: user1@..., user2@... (1)", FIELD(OPTION_U32, recipients), 1,
     LOAD_RECIPIENTS_MAX},
    {"pipelining", "on|off", "MAIL, RCPT, DATA in one go, if offered (on)",
     FIELD(OPTION_CHOICE, pipelining), 0, 0},
    {"transfer", "data|bdat", "bdat: chunks of a known size (RFC 3030), no dots (data)",
     FIELD(OPTION_CHOICE, transfer), 0, 0},
    {"chunk", "SIZE", "of those, from 1KiB (64KiB)", FIELD(OPTION_SIZE, chunk_bytes),
     LOAD_CHUNK_BYTES_MIN, MESSAGE_BYTES_MAX},
    {"rate", "N/s", "open loop: latency counts from the intended time", .take = take_rate},
    {"poisson", NULL, "with --rate: intervals as of independent senders",
     FIELD(OPTION_FLAG, is_poisson), 0, 0},
    {"tls", "none|starttls|implicit", "(none)", FIELD(OPTION_CHOICE, tls), 0, 0},
    {"handshake", "full|resumed", "resumed: sessions are offered again (full)",
     FIELD(OPTION_CHOICE, handshake), 0, 0},
    {"tls-verify", "CAFILE", "refuse a server whose certificate these roots do not vouch for",
     FIELD(OPTION_TEXT, tls_verify_file), 0, 0},
    {"server-name", "NAME", "to ask the server for, and that its certificate must have",
     FIELD(OPTION_TEXT, tls_name), 0, 0},
    {"auth", "none|plain|login|cram-md5", "of each session (none)", FIELD(OPTION_CHOICE, auth), 0,
     0},
    {"user", "NAME", "for --auth", FIELD(OPTION_TEXT, user), 0, 0},
    {"password-file", "FILE", "for --auth: its first line", FIELD(OPTION_TEXT, password_file), 0,
     0},
    {"password", "TEXT", "the same; everyone on this machine sees it in ps",
     FIELD(OPTION_TEXT, password), 0, 0},
    {"proxy", "none|v1|v2", "a header of the PROXY protocol before all else (none)",
     FIELD(OPTION_CHOICE, proxy), 0, 0},
    {"clients", "N", "client addresses in it, from 198.18.0.1 on (1)", FIELD(OPTION_U32, clients),
     1, LOAD_CLIENTS_MAX},
    {"idle", "N", "more connections that say EHLO and no more, up before the sessions start",
     FIELD(OPTION_U32, idle), 0, LOAD_IDLE_MAX},
    {"idle-per-address", "N", "of those from 127.0.0.1, and from 127.0.0.2 on, if more (20000)",
     FIELD(OPTION_U32, idle_per_address), 1, LOAD_IDLE_MAX},
    {"slow", "N", "of the sessions send data slowly; not in the latencies", FIELD(OPTION_U32, slow),
     0, LOAD_SESSIONS_MAX},
    {"slow-rate", "SIZE/s", "how slowly, each (1KiB/s)", .take = take_slow_rate},
    {"to-address", "ADDRESS", "recipient (user@bench.test)", .take = take_to_address},
    {"from", "ADDRESS", "sender (load@bench.test)", .take = take_from},
    {"seed", "N", "of sizes, bodies and intervals (1)", FIELD(OPTION_U64, message.seed), 0,
     UINT64_MAX},
    {"run", "HEX", "run id, 16 digits (random)", .take = take_run},
    {"timeout", "DURATION", "of the whole run (300s)", FIELD(OPTION_DURATION, timeout_ns), 0, 0},
    {"reply-timeout", "DURATION", "of each reply; a session that waits longer is lost (60s)",
     FIELD(OPTION_DURATION, reply_timeout_ns), 0, 0},
    {"reconnect", NULL, "connect again, with back-off, when a connection is lost",
     FIELD(OPTION_FLAG, may_reconnect), 0, 0},
    {"until-killed-ok", NULL, "being stopped by TERM or INT is no failure",
     FIELD(OPTION_FLAG, until_killed_ok), 0, 0},
    {"ledger", "FILE", "append each message's fate", FIELD(OPTION_TEXT, ledger), 0, 0},
    {"sync-ledger", NULL, "write the ledger at once, not when its buffer is full",
     FIELD(OPTION_FLAG, has_sync_ledger), 0, 0},
    {"json", "FILE", "where the report goes (-: standard output)", FIELD(OPTION_TEXT, json), 0, 0},
    {"buckets", NULL, "put the histograms' buckets into the report",
     FIELD(OPTION_FLAG, with_buckets), 0, 0},
};

/* The first line of the file, without its end. */
static void read_password(struct load_options *o)
{
    int file = open(o->password_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = file < 0 ? -1 : read(file, o->password_bytes, sizeof(o->password_bytes) - 1);
    if (file >= 0) close(file);
    if (n < 0) options_fail("--password-file \"%s\" cannot be read", o->password_file);
    o->password_bytes[n] = '\0';
    o->password_bytes[strcspn(o->password_bytes, "\r\n")] = '\0';
    o->password = o->password_bytes;
}

static void check_auth(struct load_options *o)
{
    bool has_secret = o->password != NULL || o->password_file != NULL;
    if (o->auth == LOAD_AUTH_NONE) {
        if (o->user != NULL || has_secret) options_fail("--user and a password need --auth");
        return;
    }
    if (o->user == NULL) options_fail("--auth needs --user");
    if (!has_secret) options_fail("--auth needs --password-file");
    if (o->password != NULL && o->password_file != NULL)
        options_fail("--password and --password-file exclude each other");
    if (o->password == NULL) read_password(o);
    if (strlen(o->user) > LOAD_SECRET_BYTES_MAX || strlen(o->password) > LOAD_SECRET_BYTES_MAX)
        options_fail("--user and the password may have %d bytes each", LOAD_SECRET_BYTES_MAX);
}

static void check_tls(const struct load_options *o)
{
    if (o->tls != LOAD_TLS_NONE) return;
    if (o->tls_verify_file != NULL) options_fail("--tls-verify needs --tls");
    if (o->tls_name != NULL) options_fail("--server-name needs --tls");
    if (o->handshake == LOAD_HANDSHAKE_RESUMED) options_fail("--handshake needs --tls");
}

static void check(struct load_options *o)
{
    if (o->to.addr_len == 0) options_fail("--to is needed");
    if (o->is_poisson && o->rate == 0) options_fail("--poisson needs --rate");
    if (o->sessions == 0 && o->idle == 0) options_fail("--sessions 0 is for --idle");
    uint32_t shared = o->sessions > 0 ? o->sessions : o->idle;
    if (o->cores > shared) options_fail("--cores %u: there are only %u to share", o->cores, shared);
    if (o->slow > o->sessions) options_fail("--slow %u is more than --sessions", o->slow);
    if (o->clients > 1 && o->proxy == LOAD_PROXY_NONE) options_fail("--clients needs --proxy");
    check_tls(o);
    check_auth(o);
}

void load_options_read(struct load_options *options, int argc, char **argv)
{
    *options = (struct load_options){
        .cores = 1,
        .sessions = 10,
        .recipients = 1,
        .messages = UINT64_MAX,
        .timeout_ns = 300 * NS_PER_S,
        .reply_timeout_ns = 60 * NS_PER_S,
        .chunk_bytes = 65536,
        .clients = 1,
        .slow_bytes_s = 1024,
        .idle_per_address = 20000,
        .message = {.seed = 1,
                    .from = "load@bench.test",
                    .to = "user@bench.test",
                    .sizes = {{4096, 1}},
                    .size_count = 1},
    };
    int at = options_read(rows, ARRAY_LEN(rows), usage, options, argc, argv);
    if (at < argc) options_fail("what is \"%s\"?", argv[at]);
    if (options->messages == UINT64_MAX) options->messages = options->duration_ns > 0 ? 0 : 1000;
    check(options);
    options->message.is_unstuffed = options->transfer == LOAD_TRANSFER_BDAT;
    while (options->message.run == 0) {
        ssize_t n = getrandom(&options->message.run, sizeof(options->message.run), 0);
        if (n != (ssize_t)sizeof(options->message.run)) options->message.run = clock_wall_ms();
    }
}
