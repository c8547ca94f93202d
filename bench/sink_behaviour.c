/* sink_behaviour.c - the names and values that change what the sink does. */
#include "bench/sink_behaviour.h"

#include "bench/random.h"
#include "bench/units.h"
#include "ring/base/clock.h"

#define SLOW_READ_BYTES_S_MAX (1ull << 40)

static bool set_mode(struct sink_behaviour *b, struct slice value)
{
    uint64_t code;
    if (slice_eq(value, SLICE("ok"))) {
        b->mode = SINK_OK;
        return true;
    }
    if (slice_eq(value, SLICE("drop-after-dot"))) {
        b->mode = SINK_DROP_AFTER_DOT;
        return true;
    }
    struct slice prefix = SLICE("refuse");
    if (!slice_starts_with_nocase(value, prefix)) return false;
    if (!slice_to_u64(slice_from(value, prefix.len), 599, &code) || code < 400) return false;
    b->mode = SINK_REFUSE;
    b->refuse_code = (unsigned)code;
    return true;
}

static bool set_reject_at(struct sink_behaviour *b, struct slice value)
{
    static const char *const stages[] = {
        [SINK_AT_RCPT] = "rcpt", [SINK_AT_DATA] = "data", [SINK_AT_DOT] = "dot"};
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        if (!slice_eq(value, slice_of_cstr(stages[i]))) continue;
        b->reject_at = (enum sink_stage)i;
        return true;
    }
    return false;
}

/* "NAME:SHARE,NAME:SHARE" of the names that are given; those left out become 0. */
static bool set_shares(struct slice value, const char *const *names, double **shares, size_t count)
{
    struct slice part, key, share;
    for (size_t i = 0; i < count; i++) {
        *shares[i] = 0;
    }
    while (units_next(&value, ',', &part)) {
        if (slice_eq(part, SLICE("off"))) continue;
        if (!units_pair(part, &key, &share)) return false;
        size_t i = 0;
        while (i < count && !slice_eq(key, slice_of_cstr(names[i]))) {
            i++;
        }
        if (i == count || !units_share(share, shares[i])) return false;
    }
    return true;
}

static bool set_reject_rate(struct sink_behaviour *b, struct slice value)
{
    static const char *const names[] = {"4yz", "5yz"};
    double *shares[] = {&b->reject_4yz, &b->reject_5yz};
    return set_shares(value, names, shares, ARRAY_LEN(names)) && b->reject_4yz + b->reject_5yz <= 1;
}

static bool set_fault(struct sink_behaviour *b, struct slice value)
{
    static const char *const names[] = {"lose", "double", "alter"};
    double *shares[] = {&b->fault_lose, &b->fault_double, &b->fault_alter};
    return set_shares(value, names, shares, ARRAY_LEN(names));
}

static bool set_drop(struct sink_behaviour *b, struct slice value)
{
    return units_share(value, &b->drop_after_dot);
}

static bool set_latency(struct sink_behaviour *b, struct slice value)
{
    return units_duration(value, &b->latency_ns);
}

static bool set_slow_read(struct sink_behaviour *b, struct slice value)
{
    if (slice_eq(value, SLICE("off"))) {
        b->slow_read_bytes_s = 0;
        return true;
    }
    if (value.len < 3 || !slice_eq(slice_from(value, value.len - 2), SLICE("/s"))) return false;
    value.len -= 2;
    return units_size(value, SLOW_READ_BYTES_S_MAX, &b->slow_read_bytes_s) &&
           b->slow_read_bytes_s > 0;
}

static bool set_refuse(struct sink_behaviour *b, struct slice value)
{
    uint64_t ns;
    if (!units_duration(value, &ns)) return false;
    b->refuse_until_ns = clock_monotonic_ns() + ns;
    return true;
}

static const struct {
    const char *name;
    bool (*set)(struct sink_behaviour *b, struct slice value);
} settings[] = {
    {"mode", set_mode},           {"latency", set_latency},     {"reject-rate", set_reject_rate},
    {"reject-at", set_reject_at}, {"drop-after-dot", set_drop}, {"slow-read", set_slow_read},
    {"refuse", set_refuse},       {"fault", set_fault},
};

void sink_behaviour_init(struct sink_behaviour *b)
{
    *b = (struct sink_behaviour){.mode = SINK_OK, .reject_at = SINK_AT_DOT};
}

bool sink_behaviour_set(struct sink_behaviour *b, struct slice name, struct slice value)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (!slice_eq(name, slice_of_cstr(settings[i].name))) continue;
        struct sink_behaviour changed = *b; /* a wrong value changes nothing */
        if (!settings[i].set(&changed, value)) return false;
        *b = changed;
        return true;
    }
    return false;
}

unsigned sink_behaviour_refusal(const struct sink_behaviour *b, enum sink_stage stage,
                                uint64_t *random)
{
    if (stage != b->reject_at) return 0;
    if (b->mode == SINK_REFUSE) return b->refuse_code;
    if (b->reject_4yz + b->reject_5yz <= 0) return 0;
    double at = random_fraction(random);
    if (at < b->reject_4yz) return 451;
    return at < b->reject_4yz + b->reject_5yz ? 554 : 0;
}
