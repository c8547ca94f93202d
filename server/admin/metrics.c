/* metrics.c - every metric in one place; each block names its type and help once. */
#include "server/admin/metrics.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <dirent.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define NS_PER_S_DOUBLE 1e9
#define EACH_CORE(source, i) for (unsigned i = 0; i < (source)->core_count; i++)

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(FILE *out, const char *name, const char *help, double value)
{
    head(out, name, "gauge", help);
    fprintf(out, "%s %.15g\n", name, value);
}

/* --- sums over the cores --- */

static uint64_t sum_queue(const struct admin_source *source, size_t offset)
{
    uint64_t sum = 0;
    EACH_CORE(source, i)
    {
        const char *counters = (const char *)queue_counters(source->cores[i].queue);
        sum += counter_get((const struct counter *)(const void *)(counters + offset));
    }
    return sum;
}
#define SUM_QUEUE(source, field) sum_queue(source, offsetof(struct queue_counters, field))

static uint64_t sum_listener(const struct admin_source *source, size_t listener, size_t offset)
{
    uint64_t sum = 0;
    EACH_CORE(source, i)
    {
        const char *counters = (const char *)ingress_counters(source->cores[i].ingress, listener);
        sum += counter_get((const struct counter *)(const void *)(counters + offset));
    }
    return sum;
}
#define SUM_LISTENER(source, listener, field)                                                      \
    sum_listener(source, listener, offsetof(struct ingress_listener_counters, field))

typedef const struct histogram *histogram_of(const struct admin_core *core);

static void histogram(FILE *out, const struct admin_source *source, const char *name,
                      const char *help, histogram_of *of)
{
    uint64_t buckets[HISTOGRAM_BUCKETS] = {0}, sum_ns = 0, count = 0;
    EACH_CORE(source, i)
    {
        const struct histogram *h = of(&source->cores[i]);
        for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
            buckets[b] += counter_get(&h->buckets[b]);
        sum_ns += counter_get(&h->sum_ns);
    }
    head(out, name, "histogram", help);
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        count += buckets[b];
        if (b < HISTOGRAM_BUCKETS - 1)
            fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                    (double)histogram_bounds_ns[b] / NS_PER_S_DOUBLE, count);
        else
            fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    }
    fprintf(out, "%s_sum %.9f\n%s_count %" PRIu64 "\n", name, (double)sum_ns / NS_PER_S_DOUBLE,
            name, count);
}

/* --- SMTP --- */

static const char *reply_to_name(unsigned reply_to)
{
    if (reply_to == REPLY_TO_CONNECT) return "CONNECT";
    if (reply_to == REPLY_TO_END_OF_DATA) return "END-OF-DATA";
    if (reply_to == REPLY_TO_NOTHING) return "NONE";
    return verb_name((enum verb)reply_to);
}

static void write_connections(const struct admin_source *source, FILE *out)
{
    head(out, "postern_smtp_connections", "gauge", "Connections open now.");
    for (size_t l = 0; l < source->listener_count; l++)
        fprintf(out, "postern_smtp_connections{listener=\"%s\"} %" PRIu64 "\n",
                source->listener_names[l], SUM_LISTENER(source, l, connections));
    head(out, "postern_smtp_connections_total", "counter", "Connections by what became of them.");
    static const struct {
        const char *name;
        size_t offset;
    } results[] = {
        {"accepted", offsetof(struct ingress_listener_counters, accepted)},
        {"refused_full", offsetof(struct ingress_listener_counters, refused_full)},
        {"refused_client", offsetof(struct ingress_listener_counters, refused_client)},
        {"refused_resources", offsetof(struct ingress_listener_counters, refused_resources)},
        {"refused_proxy", offsetof(struct ingress_listener_counters, proxy_refused)},
        {"probe", offsetof(struct ingress_listener_counters, probes)},
    };
    for (size_t l = 0; l < source->listener_count; l++) {
        for (size_t r = 0; r < ARRAY_LEN(results); r++)
            fprintf(out,
                    "postern_smtp_connections_total{listener=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                    source->listener_names[l], results[r].name,
                    sum_listener(source, l, results[r].offset));
    }
}

/* Combinations that never occurred are left out: their number would be large, their value 0. */
static void write_replies(const struct admin_source *source, FILE *out)
{
    head(out, "postern_smtp_replies_total", "counter", "Replies by what they answer and code.");
    for (size_t l = 0; l < source->listener_count; l++) {
        for (unsigned to = 0; to < REPLY_TO_COUNT; to++) {
            for (unsigned code = 0; code < REPLY_CODE_COUNT; code++) {
                uint64_t count = SUM_LISTENER(source, l, replies[to][code]);
                if (count == 0) continue;
                fprintf(out,
                        "postern_smtp_replies_total{listener=\"%s\",verb=\"%s\",code=\"%u\"} "
                        "%" PRIu64 "\n",
                        source->listener_names[l], reply_to_name(to), ingress_codes[code], count);
            }
        }
    }
}

static const char *stage_of(enum reply_id id)
{
    switch (id) {
    case REPLY_TOO_MANY_CONNECTIONS:
    case REPLY_TOO_MANY_FROM_CLIENT:
    case REPLY_NO_RESOURCES:
        return "connect";
    case REPLY_TLS_ACTIVE:
    case REPLY_TLS_BUSY:
    case REPLY_TLS_IN_TRANSACTION:
        return "tls";
    case REPLY_AUTH_FAILED:
    case REPLY_AUTH_CANCELED:
    case REPLY_AUTH_BAD_DATA:
    case REPLY_AUTH_TOO_LONG:
    case REPLY_AUTH_TEMPORARY:
    case REPLY_AUTH_THROTTLED:
    case REPLY_AUTH_DONE:
    case REPLY_AUTH_UNKNOWN:
        return "auth";
    case REPLY_BAD_SENDER:
    case REPLY_NESTED_MAIL:
    case REPLY_AUTH_REQUIRED:
    case REPLY_SENDER_NOT_OWNED:
        return "mail";
    case REPLY_BAD_RECIPIENT:
    case REPLY_RELAY_DENIED:
    case REPLY_TOO_MANY_RECIPIENTS:
    case REPLY_TOO_MANY_DOMAINS:
        return "rcpt";
    case REPLY_BARE_NEWLINE:
    case REPLY_NUL_IN_MESSAGE:
    case REPLY_TOO_MANY_HOPS:
    case REPLY_HEADER_TOO_BIG:
    case REPLY_TOO_SLOW:
    case REPLY_TOO_BIG:
    case REPLY_STORAGE_FULL:
    case REPLY_STORE_FAILED:
    case REPLY_BAD_CHUNK_SIZE:
    case REPLY_CHUNK_OUT_OF_ORDER:
    case REPLY_CHUNKING_BEGUN:
    case REPLY_BINARY_NEEDS_BDAT:
        return "data";
    default:
        return "command";
    }
}

static void write_rejections(const struct admin_source *source, FILE *out)
{
    head(out, "postern_smtp_rejections_total", "counter", "Refusals by stage and reason.");
    for (size_t l = 0; l < source->listener_count; l++) {
        for (unsigned id = 0; id < REPLY_COUNT; id++) {
            uint64_t count = SUM_LISTENER(source, l, rejections[id]);
            if (count == 0) continue;
            fprintf(out,
                    "postern_smtp_rejections_total{listener=\"%s\",stage=\"%s\",reason=\"%s\"} "
                    "%" PRIu64 "\n",
                    source->listener_names[l], stage_of(id), reply_name(id), count);
        }
        fprintf(out,
                "postern_smtp_rejections_total{listener=\"%s\",stage=\"rcpt\",reason=\"route\"} "
                "%" PRIu64 "\n",
                source->listener_names[l], SUM_LISTENER(source, l, rejections_by_route));
    }
}

/* All listeners together. */
static void write_handshakes(const struct admin_source *source, FILE *out)
{
    static const char *const versions[] = {
        [INGRESS_TLS_UNKNOWN] = "unknown", [INGRESS_TLS_1_2] = "1.2", [INGRESS_TLS_1_3] = "1.3"};
    static const char *const results[] = {[INGRESS_TLS_FULL] = "full",
                                          [INGRESS_TLS_RESUMED] = "resumed",
                                          [INGRESS_TLS_FAILED] = "failed"};
    head(out, "postern_tls_handshakes_total", "counter", "TLS handshakes by what came of them.");
    for (unsigned v = 0; v < INGRESS_TLS_VERSION_COUNT; v++) {
        for (unsigned r = 0; r < INGRESS_TLS_RESULT_COUNT; r++) {
            bool is_unknown = v == INGRESS_TLS_UNKNOWN, is_failed = r == INGRESS_TLS_FAILED;
            uint64_t count = 0;
            for (size_t l = 0; l < source->listener_count; l++)
                count += SUM_LISTENER(source, l, handshakes[v][r]);
            /* A version is agreed on in the handshake: most that fail have none. */
            if (count == 0 && is_unknown != is_failed) continue;
            fprintf(out,
                    "postern_tls_handshakes_total{direction=\"in\",version=\"%s\",result=\"%s\"} "
                    "%" PRIu64 "\n",
                    versions[v], results[r], count);
        }
    }
}

static void write_auth(const struct admin_source *source, FILE *out)
{
    static const char *const results[] = {[INGRESS_AUTH_OK] = "ok",
                                          [INGRESS_AUTH_FAILED] = "failed",
                                          [INGRESS_AUTH_THROTTLED] = "throttled",
                                          [INGRESS_AUTH_ERROR] = "error"};
    head(out, "postern_auth_attempts_total", "counter", "AUTH commands by what came of them.");
    for (size_t l = 0; l < source->listener_count; l++) {
        for (unsigned r = 0; r < INGRESS_AUTH_RESULT_COUNT; r++)
            fprintf(out, "postern_auth_attempts_total{listener=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                    source->listener_names[l], results[r], SUM_LISTENER(source, l, auth[r]));
    }
}

static const struct histogram *accept_duration(const struct admin_core *core)
{
    return ingress_accept_duration(core->ingress);
}

static void write_smtp(const struct admin_source *source, FILE *out)
{
    write_connections(source, out);
    write_replies(source, out);
    write_rejections(source, out);
    head(out, "postern_messages_received_total", "counter", "Messages answered with 250.");
    for (size_t l = 0; l < source->listener_count; l++)
        fprintf(out, "postern_messages_received_total{listener=\"%s\"} %" PRIu64 "\n",
                source->listener_names[l], SUM_LISTENER(source, l, messages));
    head(out, "postern_message_bytes_received_total", "counter", "Bytes of their content.");
    for (size_t l = 0; l < source->listener_count; l++)
        fprintf(out, "postern_message_bytes_received_total{listener=\"%s\"} %" PRIu64 "\n",
                source->listener_names[l], SUM_LISTENER(source, l, message_bytes));
    histogram(out, source, "postern_accept_duration_seconds", "End of data to 250.",
              accept_duration);
    write_handshakes(source, out);
    write_auth(source, out);
}

/* --- certificates --- */

/* By name, the one that ends first: a listener may have an ECDSA and an RSA one for a name, and
 * several listeners the same. */
struct certificate_ends {
    struct certificate_end {
        char *name;
        int64_t not_after_s;
    } * entries;
    size_t count;
};

static void add_certificate(void *context, const struct tls_certificate_info *info)
{
    struct certificate_ends *ends = context;
    const char *name = info->name[0] != '\0' ? info->name : info->file;
    for (size_t i = 0; i < ends->count; i++) {
        struct certificate_end *end = &ends->entries[i];
        if (strcmp(end->name, name) != 0) continue;
        end->not_after_s = MIN(end->not_after_s, info->not_after_s);
        return;
    }
    ends->entries = xrealloc(ends->entries, (ends->count + 1) * sizeof(*ends->entries));
    ends->entries[ends->count++] = (struct certificate_end){xstrdup(name), info->not_after_s};
}

/* A name is what somebody wrote into a certificate. */
static void write_label(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', out);
        fputc((unsigned char)*text < ' ' ? '?' : *text, out);
    }
}

static void write_certificates(const struct admin_source *source, FILE *out)
{
    struct certificate_ends ends = {0};
    source->each_certificate(source->owner, add_certificate, &ends);
    head(out, "postern_tls_certificate_expiry_timestamp_seconds", "gauge",
         "When a certificate ends, since 1970.");
    for (size_t i = 0; i < ends.count; i++) {
        fputs("postern_tls_certificate_expiry_timestamp_seconds{name=\"", out);
        write_label(ends.entries[i].name, out);
        fprintf(out, "\"} %" PRId64 "\n", ends.entries[i].not_after_s);
        free(ends.entries[i].name);
    }
    free(ends.entries);
}

/* --- the queue --- */

static const struct histogram *sync_duration(const struct admin_core *core)
{
    return &queue_counters(core->queue)->sync_duration;
}

static const struct histogram *commit_duration(const struct admin_core *core)
{
    return &queue_counters(core->queue)->commit_duration;
}

/* Seconds since the oldest message of a state came, over all cores; 0: there is none. */
static double oldest_age_s(const struct admin_source *source, size_t offset)
{
    uint64_t oldest_ms = 0, now_ms = clock_wall_ms();
    EACH_CORE(source, i)
    {
        const char *counters = (const char *)queue_counters(source->cores[i].queue);
        uint64_t ms = counter_get((const struct counter *)(const void *)(counters + offset));
        if (ms != 0 && (oldest_ms == 0 || ms < oldest_ms)) oldest_ms = ms;
    }
    return oldest_ms == 0 || oldest_ms > now_ms ? 0 : (double)(now_ms - oldest_ms) / 1000;
}

static void write_oldest(const struct admin_source *source, FILE *out)
{
    static const struct {
        const char *state;
        size_t offset;
    } states[] = {
        {"queued", offsetof(struct queue_counters, oldest_queued_ms)},
        {"held", offsetof(struct queue_counters, oldest_held_ms)},
        {"corrupt", offsetof(struct queue_counters, oldest_corrupt_ms)},
    };
    head(out, "postern_queue_oldest_age_seconds", "gauge", "Age of the oldest message.");
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        fprintf(out, "postern_queue_oldest_age_seconds{state=\"%s\"} %.3f\n", states[i].state,
                oldest_age_s(source, states[i].offset));
    uint64_t lag_ms = 0;
    EACH_CORE(source, i)
    {
        uint64_t ms = counter_get(&queue_counters(source->cores[i].queue)->due_lag_ms);
        lag_ms = MAX(lag_ms, ms);
    }
    gauge(out, "postern_queue_due_lag_seconds", "How late the last due messages were taken up.",
          (double)lag_ms / 1000);
}

static void write_queue(const struct admin_source *source, FILE *out)
{
    head(out, "postern_queue_messages", "gauge", "Messages in the queue.");
    fprintf(out,
            "postern_queue_messages{state=\"queued\"} %" PRIu64 "\n"
            "postern_queue_messages{state=\"held\"} %" PRIu64 "\n"
            "postern_queue_messages{state=\"corrupt\"} %" PRIu64 "\n",
            SUM_QUEUE(source, queued), SUM_QUEUE(source, held), SUM_QUEUE(source, corrupt));
    gauge(out, "postern_queue_bytes", "Bytes of their bodies.",
          (double)SUM_QUEUE(source, body_bytes));
    write_oldest(source, out);
    head(out, "postern_segments", "gauge", "Segment files.");
    fprintf(out,
            "postern_segments{state=\"free\"} %" PRIu64 "\n"
            "postern_segments{state=\"used\"} %" PRIu64 "\n",
            SUM_QUEUE(source, segments_free), SUM_QUEUE(source, segments_used));
    gauge(out, "postern_disk_free_bytes", "Free bytes of the spool's file system.",
          (double)counter_get(&queue_counters(source->cores[0].queue)->free_bytes));
    head(out, "postern_backpressure", "gauge", "1 while new mail is refused, by reason.");
    fprintf(out, "postern_backpressure{reason=\"disk\"} %d\n", SUM_QUEUE(source, is_full) > 0);
    head(out, "postern_commit_batch_messages", "summary", "Messages in one commit.");
    fprintf(out,
            "postern_commit_batch_messages_sum %" PRIu64 "\n"
            "postern_commit_batch_messages_count %" PRIu64 "\n",
            SUM_QUEUE(source, commit_messages), SUM_QUEUE(source, commits));
    histogram(out, source, "postern_sync_duration_seconds", "Synced writes of bodies.",
              sync_duration);
    histogram(out, source, "postern_commit_duration_seconds", "Commits of envelopes.",
              commit_duration);
}

/* --- delivery --- */

static const struct histogram *attempt_duration(const struct admin_core *core)
{
    return &delivery_counters(core->delivery)->attempt_duration;
}

static const struct histogram *latency(const struct admin_core *core)
{
    return &delivery_counters(core->delivery)->latency;
}

/* One route, summed over the cores. */
struct route_sum {
    const char *name;
    uint64_t delivered, deferred, failed, connections;
};

static struct route_sum *route_sum_of(struct route_sum **sums, size_t *count, const char *name)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp((*sums)[i].name, name) == 0) return &(*sums)[i];
    }
    *sums = xrealloc(*sums, (*count + 1) * sizeof(**sums));
    struct route_sum *sum = &(*sums)[(*count)++];
    *sum = (struct route_sum){.name = name};
    return sum;
}

static struct route_sum *sum_routes(const struct admin_source *source, size_t *count)
{
    struct route_sum *sums = NULL;
    *count = 0;
    EACH_CORE(source, i)
    {
        const struct delivery_route_counters *route = delivery_routes(source->cores[i].delivery);
        for (; route != NULL; route = __atomic_load_n(&route->next, __ATOMIC_ACQUIRE)) {
            struct route_sum *sum = route_sum_of(&sums, count, route->name);
            sum->delivered += counter_get(&route->delivered);
            sum->deferred += counter_get(&route->deferred);
            sum->failed += counter_get(&route->failed);
            sum->connections += counter_get(&route->connections);
        }
    }
    return sums;
}

static void write_attempts(const struct route_sum *sum, FILE *out)
{
    const char *format =
        "postern_delivery_attempts_total{route=\"%s\",outcome=\"%s\"} %" PRIu64 "\n";
    fprintf(out, format, sum->name, "delivered", sum->delivered);
    fprintf(out, format, sum->name, "deferred", sum->deferred);
    fprintf(out, format, sum->name, "failed", sum->failed);
}

static void write_delivery(const struct admin_source *source, FILE *out)
{
    size_t count;
    struct route_sum *sums = sum_routes(source, &count);
    head(out, "postern_delivery_attempts_total", "counter", "Recipients tried, by outcome.");
    for (size_t i = 0; i < count; i++)
        write_attempts(&sums[i], out);
    head(out, "postern_delivery_connections", "gauge", "Connections to next hops.");
    for (size_t i = 0; i < count; i++)
        fprintf(out, "postern_delivery_connections{route=\"%s\"} %" PRIu64 "\n", sums[i].name,
                sums[i].connections);
    free(sums);
    histogram(out, source, "postern_delivery_attempt_duration_seconds", "One attempt.",
              attempt_duration);
    histogram(out, source, "postern_delivery_latency_seconds", "250 in to 250 out.", latency);
}

static uint64_t sum_delivery(const struct admin_source *source, size_t offset)
{
    uint64_t sum = 0;
    EACH_CORE(source, i)
    {
        const char *counters = (const char *)delivery_counters(source->cores[i].delivery);
        sum += counter_get((const struct counter *)(const void *)(counters + offset));
    }
    return sum;
}
#define SUM_DELIVERY(source, field) sum_delivery(source, offsetof(struct delivery_counters, field))

static void write_dsn(const struct admin_source *source, FILE *out)
{
    static const char *const actions[] = {"failed", "expired", "delayed", "delivered", "relayed"};
    head(out, "postern_dsn_sent_total", "counter", "Recipients that senders were told of.");
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        fprintf(out, "postern_dsn_sent_total{action=\"%s\"} %" PRIu64 "\n", actions[i],
                SUM_DELIVERY(source, dsn_sent[i]));
    head(out, "postern_dsn_dropped_total", "counter", "Failures that no sender was told of.");
    fprintf(out, "postern_dsn_dropped_total %" PRIu64 "\n", SUM_DELIVERY(source, dsn_dropped));
    head(out, "postern_delivery_expired_total", "counter", "Recipients given up for their age.");
    fprintf(out, "postern_delivery_expired_total %" PRIu64 "\n",
            SUM_DELIVERY(source, attempts_expired));
    head(out, "postern_delivery_auth_failures_total", "counter", "Passwords that were refused.");
    fprintf(out, "postern_delivery_auth_failures_total %" PRIu64 "\n",
            SUM_DELIVERY(source, auth_failures));
}

static void write_handshakes_out(const struct admin_source *source, FILE *out)
{
    static const char *const versions[] = {"TLSv1.2", "TLSv1.3"};
    head(out, "postern_delivery_tls_handshakes_total", "counter", "TLS with next hops.");
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        fprintf(out,
                "postern_delivery_tls_handshakes_total{version=\"%s\",result=\"done\"} %" PRIu64
                "\n",
                versions[v], SUM_DELIVERY(source, tls_handshakes[v][1]));
    }
    /* One that failed had no version yet. */
    fprintf(out,
            "postern_delivery_tls_handshakes_total{version=\"unknown\",result=\"failed\"} %" PRIu64
            "\n",
            SUM_DELIVERY(source, tls_handshakes[0][0]) +
                SUM_DELIVERY(source, tls_handshakes[1][0]));
}

static void write_dns(const struct admin_source *source, FILE *out)
{
    static const char *const types[RESOLVER_TYPES] = {
        [RESOLVER_MX] = "mx", [RESOLVER_A] = "a", [RESOLVER_AAAA] = "aaaa", [RESOLVER_PTR] = "ptr"};
    static const char *const results[RESOLVER_OUTCOMES] = {[RESOLVER_FOUND] = "found",
                                                           [RESOLVER_NOTHING] = "nothing",
                                                           [RESOLVER_FAILED] = "failed",
                                                           [RESOLVER_TIMEOUT] = "timeout"};
    uint64_t hits = 0;
    head(out, "postern_dns_queries_total", "counter", "Questions to name servers.");
    for (size_t t = 0; t < RESOLVER_TYPES; t++) {
        for (size_t r = 0; r < RESOLVER_OUTCOMES; r++) {
            uint64_t sum = 0;
            EACH_CORE(source, i)
            sum += counter_get(&resolver_counters(source->cores[i].resolver)->queries[t][r]);
            fprintf(out, "postern_dns_queries_total{type=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                    types[t], results[r], sum);
        }
    }
    EACH_CORE(source, i)
    hits += counter_get(&resolver_counters(source->cores[i].resolver)->cache_hits);
    head(out, "postern_dns_cache_hits_total", "counter", "Answers from the cache.");
    fprintf(out, "postern_dns_cache_hits_total %" PRIu64 "\n", hits);
}

/* --- the process --- */

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) return 0;
    if (fscanf(file, "%llu %llu", &size, &resident) != 2) resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) return 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static void write_process(const struct admin_source *source, FILE *out)
{
    struct rusage usage;
    struct rlimit files;
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &files);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    head(out, "process_cpu_seconds_total", "counter", "User and system time.");
    fprintf(out, "process_cpu_seconds_total %.6f\n", cpu);
    gauge(out, "process_resident_memory_bytes", "Resident memory.", (double)resident_bytes());
    gauge(out, "process_open_fds", "Open file descriptors.", open_files());
    gauge(out, "process_max_fds", "Their limit.", (double)files.rlim_cur);
    gauge(out, "process_start_time_seconds", "Start, since 1970.",
          (double)source->started_ms / 1000.0);
}

static void write_cores(const struct admin_source *source, FILE *out)
{
    head(out, "postern_core_busy_seconds_total", "counter", "Time a core was not waiting.");
    EACH_CORE(source, i)
    fprintf(out, "postern_core_busy_seconds_total{core=\"%u\"} %.6f\n", i,
            (double)loop_busy_ns(source->cores[i].loop) / NS_PER_S_DOUBLE);
    uint64_t stall_ns = 0;
    EACH_CORE(source, i)
    {
        uint64_t ns = loop_take_stall_ns(source->cores[i].loop);
        stall_ns = MAX(stall_ns, ns);
    }
    gauge(out, "postern_core_stall_seconds", "Longest turn of any core since the last scrape.",
          (double)stall_ns / NS_PER_S_DOUBLE);
}

void metrics_write(const struct admin_source *source, FILE *out)
{
    head(out, "postern_build_info", "gauge", "The version, as a label.");
    fprintf(out, "postern_build_info{version=\"%s\"} 1\n", source->version);
    gauge(out, "postern_ready", "1 while connections are wanted.",
          source->is_ready(source->owner) ? 1 : 0);
    gauge(out, "postern_config_reload_success", "1 when the last reload succeeded.",
          source->is_reload_good(source->owner) ? 1 : 0);
    write_smtp(source, out);
    write_certificates(source, out);
    write_queue(source, out);
    write_delivery(source, out);
    write_dsn(source, out);
    write_handshakes_out(source, out);
    write_dns(source, out);
    write_cores(source, out);
    head(out, "postern_log_dropped_total", "counter", "Log lines that found no room.");
    fprintf(out, "postern_log_dropped_total %" PRIu64 "\n", log_dropped());
    write_process(source, out);
}
