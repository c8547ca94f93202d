/* sink_options.c - the command line of `sink`. */
#include "bench/sink_options.h"

#include "bench/options.h"

static const char usage[] =
    "sink - an SMTP server that discards messages, and knows which of the load's it got.\n"
    "\n"
    "  sink --listen 127.0.0.1:2599 --ledger sent.ledger --json -\n"
    "  sink --listen 127.0.0.1:0 --latency 5ms --reject-rate 4yz:10%,5yz:1% --reject-at rcpt\n"
    "  sink --compare sent.ledger received.ledger --allow-doubled\n"
    "\n"
    "While it runs: SIGUSR1 or the line \"report\" on standard input prints the counts, TERM or\n"
    "\"stop\" ends it. Other lines change what it does: \"mode ok\", \"mode refuse451\",\n"
    "\"mode drop-after-dot\", and those marked * below, as \"latency 5ms\".\n"
    "\n";

static bool take_behaviour(void *into, const char *name, const char *value)
{
    struct sink_options *o = into;
    return sink_behaviour_set(&o->behaviour, slice_of_cstr(name), slice_of_cstr(value));
}

static bool take_mode(void *into, const char *value)
{
    return take_behaviour(into, "mode", value);
}

static bool take_latency(void *into, const char *value)
{
    return take_behaviour(into, "latency", value);
}

static bool take_reject_rate(void *into, const char *value)
{
    return take_behaviour(into, "reject-rate", value);
}

static bool take_reject_at(void *into, const char *value)
{
    return take_behaviour(into, "reject-at", value);
}

static bool take_drop(void *into, const char *value)
{
    return take_behaviour(into, "drop-after-dot", value);
}

static bool take_slow_read(void *into, const char *value)
{
    return take_behaviour(into, "slow-read", value);
}

static bool take_refuse(void *into, const char *value)
{
    return take_behaviour(into, "refuse", value);
}

static bool take_fault(void *into, const char *value)
{
    return take_behaviour(into, "fault", value);
}

static bool take_listen(void *into, const char *value)
{
    struct sink_options *o = into;
    return endpoint_parse(slice_of_cstr(value), &o->listen);
}

static bool take_sessions_max(void *into, const char *value)
{
    struct sink_options *o = into;
    uint64_t n;
    if (!slice_to_u64(slice_of_cstr(value), SINK_SESSIONS_MAX, &n) || n == 0) return false;
    o->sessions_max = (uint32_t)n;
    return true;
}

static bool take_ledger(void *into, const char *value)
{
    struct sink_options *o = into;
    o->ledger = value;
    return true;
}

static bool take_record(void *into, const char *value)
{
    struct sink_options *o = into;
    o->record = value;
    return true;
}

static bool take_script(void *into, const char *value)
{
    struct sink_options *o = into;
    o->script = value;
    return true;
}

static bool take_json(void *into, const char *value)
{
    struct sink_options *o = into;
    o->json = value;
    return true;
}

static bool take_compare(void *into, const char *value)
{
    struct sink_options *o = into;
    o->compare = value;
    return true;
}

static bool flag_count_only(void *into, const char *value)
{
    struct sink_options *o = into;
    (void)value;
    return o->is_counting_only = true;
}

static bool flag_allow_doubled(void *into, const char *value)
{
    struct sink_options *o = into;
    (void)value;
    return o->may_double = true;
}

static const struct option_row rows[] = {
    {"listen", "ADDRESS:PORT", "where; port 0: any, named in the line \"ready ...\"",
     .take = take_listen},
    {"sessions-max", "N", "connections at once; more are closed (4096)", .take = take_sessions_max},
    {"count-only", NULL, "look at no message, only count", .take = flag_count_only},
    {"ledger", "FILE", "the load's ledger, to compare with at the end", .take = take_ledger},
    {"record", "FILE", "append each copy to a ledger of the sink's own", .take = take_record},
    {"compare", "FILE", "compare the load's ledger with sinks' ledgers; do not listen",
     .take = take_compare},
    {"allow-doubled", NULL, "doubled messages do not fail the comparison",
     .take = flag_allow_doubled},
    {"json", "FILE", "where the final report goes (-: standard output)", .take = take_json},
    {"script", "FILE", "lines \"DURATION COMMAND\" to obey in time", .take = take_script},
    {"mode", "ok|refuseNNN|drop-after-dot", "* of all messages", .take = take_mode},
    {"latency", "DURATION", "* before the reply to the end of data", .take = take_latency},
    {"reject-rate", "4yz:SHARE,5yz:SHARE", "* of messages, as 4yz:10%,5yz:1%",
     .take = take_reject_rate},
    {"reject-at", "rcpt|data|dot", "* where those, and mode refuseNNN, say no (dot)",
     .take = take_reject_at},
    {"drop-after-dot", "SHARE", "* connections closed instead of that reply", .take = take_drop},
    {"slow-read", "SIZE/s", "* so much data a second from each connection", .take = take_slow_read},
    {"refuse", "DURATION", "* greet with 421 for so long", .take = take_refuse},
    {"fault", "lose|double|alter:SHARE,...", "* wrong books, to test the comparison",
     .take = take_fault},
};

void sink_options_read(struct sink_options *options, int argc, char **argv)
{
    *options = (struct sink_options){.sessions_max = 4096};
    sink_behaviour_init(&options->behaviour);
    int at = options_read(rows, ARRAY_LEN(rows), usage, options, argc, argv);
    options->received = argv + at;
    options->received_count = argc - at;
    if (options->compare != NULL) {
        if (at == argc) options_fail("--compare needs the sink's ledgers too");
        return;
    }
    if (at < argc) options_fail("what is \"%s\"?", argv[at]);
    if (options->listen.addr_len == 0) options_fail("--listen is needed");
    if (options->is_counting_only && (options->ledger != NULL || options->record != NULL)) {
        options_fail("--count-only looks at no message: it has nothing for a ledger");
    }
}
