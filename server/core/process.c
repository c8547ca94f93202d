/* process.c - the control thread: starts the parts in order, waits for signals, ends them.
 *
 * It serves no mail. It looks after certificates, keys and users (watch.h), which go into force by
 * themselves, apart from the rest of the configuration. TERM: not ready any more, `drain_delay` for
 * the balancer to notice, then every core drains, exit 0. A second TERM or INT: stop at once (the
 * queue is safe at any moment). HUP: reload. A core that cannot go on (a failed sync): the process
 * ends with 1. */
#include "server/core/process.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "server/auth/throttle.h"
#include "server/auth/verifier.h"
#include "server/core/core.h"
#include "server/core/notify.h"
#include "server/core/probe.h"
#include "server/core/watch.h"

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EXIT_FAULT 1
#define EXIT_SPOOL_OWNED 73
#define EXIT_BAD_CONFIG 78
#define WHY_BYTES 512
#define FATAL_GRACE_MS 500 /* for the 451s of the failed group to be sent */
#define ANSWER_TIMEOUT_MS 10000

struct process {
    struct process_options options;
    struct generation *generation;
    struct tls_tickets *tickets; /* of all generations, while their rotation is the same */
    struct watch *watch;         /* under reload_lock, as are the two above */
    struct spool *spool;
    struct ingress_shared shared;
    struct delivery_slots *slots;
    struct endpoint *addresses;
    size_t address_count;
    char **listener_names;
    size_t listener_count;
    struct core **cores;
    unsigned core_count;
    struct admin_core *views;
    struct admin *admin;
    int signal_fd, event_fd;

    pthread_mutex_t reload_lock; /* one reload at a time, none once the drain has begun */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned reconfigured_count, stopped_count; /* under the lock */
    /* Atomic. What is wrong with the configuration is not mended by good certificates. */
    bool is_ready, is_failed, is_config_good, are_credentials_good;
};

static void set_flag(bool *flag, bool value)
{
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static bool get_flag(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/* --- what the cores tell --- */

static void wake_control(struct process *process)
{
    uint64_t one = 1;
    (void)!write(process->event_fd, &one, sizeof(one));
}

static void on_fatal(void *owner, int err)
{
    struct process *process = owner;
    log_text(LOG_ERROR, "queue_failed", "%s: no more mail is taken; the process stops",
             err_str(err));
    set_flag(&process->is_failed, true);
    wake_control(process);
}

static void on_reconfigured(void *owner)
{
    struct process *process = owner;
    pthread_mutex_lock(&process->lock);
    process->reconfigured_count++;
    pthread_cond_signal(&process->changed);
    pthread_mutex_unlock(&process->lock);
}

static void on_stopped(void *owner)
{
    struct process *process = owner;
    pthread_mutex_lock(&process->lock);
    process->stopped_count++;
    pthread_mutex_unlock(&process->lock);
    wake_control(process);
}

/* --- generations and reload --- */

/* False when the process failed meanwhile: a core that is gone answers no more. */
static bool wait_reconfigured(struct process *process)
{
    pthread_mutex_lock(&process->lock);
    while (process->reconfigured_count < process->core_count && !get_flag(&process->is_failed)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&process->changed, &process->lock, &until);
    }
    bool is_done = process->reconfigured_count == process->core_count;
    pthread_mutex_unlock(&process->lock);
    return is_done;
}

static void log_expired(const struct generation *generation)
{
    for (size_t i = 0; i < generation->config->listener_count; i++) {
        const char *expired = credentials_expired(generation->credentials, i);
        if (expired != NULL) log_text(LOG_WARN, "certificate_out_of_time", "%s", expired);
    }
}

/* Takes `next`, unless it may not be. */
static int put_in_place(struct process *process, struct generation *next,
                        struct config_problems *problems)
{
    struct generation *old = process->generation;
    if (!credentials_may_replace(old->credentials, next->credentials, problems)) {
        generation_drop(next, old);
        return -ERR_INVALID;
    }
    log_expired(next);
    process->generation = next;
    process->reconfigured_count = 0;
    for (unsigned i = 0; i < process->core_count; i++)
        core_reconfigure(process->cores[i], next);
    log_set_level(next->config->log.level);
    if (wait_reconfigured(process)) generation_drop(old, next); /* else the process is ending */
    return 0;
}

/* Those in force, or others when they are to change at another pace. */
static struct tls_tickets *tickets_for(const struct process *process, const struct config *next)
{
    uint64_t rotation_ms = next->node.tls_ticket_rotation_ms;
    if (rotation_ms == process->generation->config->node.tls_ticket_rotation_ms)
        return process->tickets;
    struct tls_tickets *tickets = tls_tickets_create(rotation_ms);
    return tickets != NULL ? tickets : process->tickets;
}

/* Takes `config`. */
static int replace_config(struct process *process, struct config *config,
                          struct config_problems *problems)
{
    const char *key = config_needs_restart(process->generation->config, config);
    if (key != NULL) {
        config_problems_add(problems, "%s: cannot change while the process runs: restart it", key);
        config_free(config);
        return -ERR_INVALID;
    }
    /* Before the files are read: one that changes meanwhile is then read again. */
    struct watch *watch = watch_create(config);
    struct tls_tickets *tickets = tickets_for(process, config);
    struct generation *next;
    int err = generation_create(config, tickets, &next, problems);
    if (err == 0) err = put_in_place(process, next, problems);
    if (tickets != process->tickets) tls_tickets_destroy(err == 0 ? process->tickets : tickets);
    watch_destroy(err == 0 ? process->watch : watch);
    if (err != 0) return err;
    process->tickets = tickets;
    process->watch = watch;
    return 0;
}

static void log_reload(int err, const struct config_problems *problems, const char *what)
{
    for (size_t i = 0; i < problems->count; i++)
        log_text(LOG_ERROR, "reload_problem", "%s", problems->lines[i]);
    if (err == 0) {
        log_text(LOG_INFO, "reload", "new %s in force", what);
    } else {
        log_text(LOG_ERROR, "reload", "new %s refused: the old stay in force", what);
    }
}

static int process_reload(void *owner, struct config_problems *problems)
{
    struct process *process = owner;
    struct config *config;
    pthread_mutex_lock(&process->reload_lock);
    bool is_stopping = !get_flag(&process->is_ready);
    int err = is_stopping ? -ERR_CANCELED : 0;
    if (is_stopping) config_problems_add(problems, "the process is stopping");
    if (err == 0) err = process->options.load(process->options.owner, &config, problems);
    if (err == 0) err = replace_config(process, config, problems);
    if (!is_stopping) set_flag(&process->is_config_good, err == 0);
    if (err == 0) set_flag(&process->are_credentials_good, true);
    pthread_mutex_unlock(&process->reload_lock);
    log_reload(err, problems, "configuration");
    wake_control(process); /* there may be files to watch now */
    return err;
}

/* Certificates, keys or users changed: they are read again, and nothing else is. A failure is told
 * once, since they are tried again when they change again. */
static void renew_credentials(struct process *process)
{
    struct config_problems problems = {0};
    struct generation *next;
    int err = generation_renew(process->generation, process->tickets, &next, &problems);
    if (err == 0) err = put_in_place(process, next, &problems);
    set_flag(&process->are_credentials_good, err == 0);
    log_reload(err, &problems, "certificates and users");
    config_problems_free(&problems);
}

/* Returns how long the control thread may sleep, in milliseconds; -1: for ever. */
static int watch_credentials(struct process *process)
{
    pthread_mutex_lock(&process->reload_lock);
    bool is_empty = watch_is_empty(process->watch);
    if (watch_poll(process->watch, clock_monotonic_ns())) renew_credentials(process);
    pthread_mutex_unlock(&process->reload_lock);
    return is_empty ? -1 : WATCH_PERIOD_MS;
}

/* As admin_source.each_certificate. */
static void each_certificate(void *owner,
                             void (*visit)(void *context, const struct tls_certificate_info *info),
                             void *context)
{
    struct process *process = owner;
    pthread_mutex_lock(&process->reload_lock);
    credentials_each_certificate(process->generation->credentials, visit, context);
    pthread_mutex_unlock(&process->reload_lock);
}

static bool process_is_alive(void *owner)
{
    return !get_flag(&((struct process *)owner)->is_failed);
}

static bool process_is_ready(void *owner)
{
    return get_flag(&((struct process *)owner)->is_ready) && process_is_alive(owner);
}

static bool process_is_reload_good(void *owner)
{
    const struct process *process = owner;
    return get_flag(&process->is_config_good) && get_flag(&process->are_credentials_good);
}

/* --- start --- */

static void open_shared(struct process *process, const struct config *config)
{
    process->listener_count = config->listener_count;
    process->listener_names = xcalloc(config->listener_count, sizeof(char *));
    for (size_t i = 0; i < config->listener_count; i++) {
        process->listener_names[i] = xstrdup(config->listeners[i].name);
        process->address_count += config->listeners[i].address_count;
    }
    process->addresses = xcalloc(process->address_count, sizeof(*process->addresses));
    size_t at = 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        for (size_t j = 0; j < config->listeners[i].address_count; j++)
            process->addresses[at++] = config->listeners[i].addresses[j];
    }
    process->shared.clients = clients_create();
    process->shared.listener_connections = xcalloc(config->listener_count, sizeof(uint64_t));
    process->shared.listener_handshakes = xcalloc(config->listener_count, sizeof(uint64_t));
    /* Also without AUTH, which a reload may bring. */
    process->shared.verifier = auth_verifier_create(0);
    process->shared.throttle = auth_throttle_create(0);
    process->slots = delivery_slots_create();
}

static int start_cores(struct process *process, const struct config *config, char *why)
{
    uint32_t session_count_max = probe_session_limit(config);
    process->cores = xcalloc(config->node.cores, sizeof(struct core *));
    process->views = xcalloc(config->node.cores, sizeof(*process->views));
    for (unsigned i = 0; i < config->node.cores; i++) {
        const struct core_options options = {
            .index = i,
            .count = config->node.cores,
            .generation = process->generation,
            .spool = process->spool,
            .shared = &process->shared,
            .slots = process->slots,
            .addresses = process->addresses,
            .session_count_max = session_count_max,
            .on_fatal = on_fatal,
            .on_reconfigured = on_reconfigured,
            .on_stopped = on_stopped,
            .owner = process,
        };
        int err = core_start(&options, &process->cores[i], why, WHY_BYTES);
        if (err != 0) return err;
        process->views[i] = core_view(process->cores[i]);
        process->core_count++;
    }
    return 0;
}

static int start_admin(struct process *process, const struct config *config, char *why)
{
    const struct admin_source source = {
        .cores = process->views,
        .core_count = process->core_count,
        .version = process->options.version,
        .listener_names = process->listener_names,
        .listener_count = process->listener_count,
        .started_ms = clock_wall_ms(),
        .is_alive = process_is_alive,
        .is_ready = process_is_ready,
        .is_reload_good = process_is_reload_good,
        .each_certificate = each_certificate,
        .reload = process_reload,
        .owner = process,
    };
    return admin_start(config, &source, &process->admin, why, WHY_BYTES);
}

static int open_spool(struct process *process, const struct config *config, char *why)
{
    int err = spool_open(config->spool.path, &process->spool, why, WHY_BYTES);
    if (err != 0) return err;
    err = spool_make_shards(process->spool, config->node.cores);
    if (err != 0)
        snprintf(why, WHY_BYTES, "%s: cannot make a shard: %s", config->spool.path, err_str(err));
    return err;
}

static int start_all(struct process *process, char *why)
{
    const struct config *config = process->generation->config;
    int err = probe_addresses(config, why, WHY_BYTES);
    if (err != 0) return err;
    err = open_spool(process, config, why);
    if (err != 0) return err;
    open_shared(process, config);
    err = start_cores(process, config, why);
    return err != 0 ? err : start_admin(process, config, why);
}

/* --- ready --- */

static void add_listener(const struct process *process, json_t *listeners, size_t index,
                         size_t address_at)
{
    const struct config_listener *config = &process->generation->config->listeners[index];
    json_t *list = json_array();
    for (size_t j = 0; j < config->address_count; j++) {
        char text[ENDPOINT_TEXT_MAX];
        struct buf out = {text, 0, sizeof(text), false};
        endpoint_write(&process->addresses[address_at + j], &out);
        json_array_append_new(list, json_stringn(out.data, out.len));
        log_text(LOG_INFO, "listening", "%s %.*s", config->name, (int)out.len, out.data);
    }
    json_object_set_new(listeners, config->name, list);
}

static void tell_ready(struct process *process)
{
    json_t *root = json_object(), *listeners = json_object(), *admin = json_array();
    size_t at = 0;
    for (size_t i = 0; i < process->listener_count; i++) {
        add_listener(process, listeners, i, at);
        at += process->generation->config->listeners[i].address_count;
    }
    for (size_t i = 0; i < admin_address_count(process->admin); i++) {
        const char *address = admin_address(process->admin, i);
        json_array_append_new(admin, json_string(address));
        log_text(LOG_INFO, "listening", "admin %s", address);
    }
    json_object_set_new(root, "listeners", listeners);
    json_object_set_new(root, "admin", admin);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    size_t len = strlen(text);
    text = xrealloc(text, len + 2);
    text[len] = '\n';
    set_flag(&process->is_ready, true);
    notify_ready_fd(process->options.ready_fd, slice_of(text, len + 1));
    notify_systemd("READY=1");
    free(text);
}

/* --- the end --- */

static void begin_drain(struct process *process)
{
    pthread_mutex_lock(&process->reload_lock); /* a reload that runs ends first */
    set_flag(&process->is_ready, false);
    pthread_mutex_unlock(&process->reload_lock);
    notify_systemd("STOPPING=1");
    log_text(LOG_INFO, "stopping", "draining: no new sessions, open messages end");
}

static void drain_cores(struct process *process)
{
    uint64_t timeout_ms = process->generation->config->drain_timeout_ms;
    for (unsigned i = 0; i < process->core_count; i++)
        core_drain(process->cores[i], timeout_ms);
}

static void close_all(struct process *process)
{
    admin_stop(process->admin);
    /* Its threads wake the loops that they answer: they end before the first loop does. */
    auth_verifier_destroy(process->shared.verifier);
    for (unsigned i = 0; i < process->core_count; i++)
        core_join(process->cores[i]);
    free(process->cores);
    free(process->views);
    delivery_slots_destroy(process->slots);
    clients_destroy(process->shared.clients);
    auth_throttle_destroy(process->shared.throttle);
    free(process->shared.listener_connections);
    free(process->shared.listener_handshakes);
    for (size_t i = 0; i < process->listener_count; i++)
        free(process->listener_names[i]);
    free(process->listener_names);
    free(process->addresses);
    spool_close(process->spool);
}

/* Ends the process where waiting for anything could only make it worse. */
NORETURN static void stop_now(int code)
{
    log_stop();
    _exit(code);
}

static unsigned cores_stopped(struct process *process)
{
    pthread_mutex_lock(&process->lock);
    unsigned count = process->stopped_count;
    pthread_mutex_unlock(&process->lock);
    return count;
}

/* Waits for a signal (its number), an event of a core (0), or `timeout_ms` (-1: for ever). */
static int wait_signal(struct process *process, int timeout_ms)
{
    struct pollfd fds[] = {{process->signal_fd, POLLIN, 0}, {process->event_fd, POLLIN, 0}};
    if (poll(fds, ARRAY_LEN(fds), timeout_ms) <= 0) return 0;
    uint64_t count;
    if (fds[1].revents != 0) (void)!read(process->event_fd, &count, sizeof(count));
    if (get_flag(&process->is_failed)) {
        struct timespec grace = {0, FATAL_GRACE_MS * NS_PER_MS};
        nanosleep(&grace, NULL);
        stop_now(EXIT_FAULT);
    }
    struct signalfd_siginfo info;
    if (fds[0].revents == 0 || read(process->signal_fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    return (int)info.ssi_signo;
}

static void reload_by_signal(struct process *process)
{
    struct config_problems problems = {0};
    (void)!process_reload(process, &problems); /* logged there */
    config_problems_free(&problems);
}

/* Until the first TERM or INT. */
static void run(struct process *process)
{
    for (;;) {
        int number = wait_signal(process, watch_credentials(process));
        if (number == SIGTERM || number == SIGINT) return;
        if (number == SIGHUP) reload_by_signal(process);
    }
}

static void drain(struct process *process)
{
    begin_drain(process); /* from here on no reload replaces the configuration */
    uint64_t delay_ms = process->generation->config->drain_delay_ms;
    uint64_t until_ns = clock_monotonic_ns() + delay_ms * NS_PER_MS;
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();
        if (now_ns >= until_ns) break;
        int number = wait_signal(process, (int)((until_ns - now_ns) / NS_PER_MS) + 1);
        if (number == SIGTERM || number == SIGINT) stop_now(EXIT_SUCCESS);
    }
    drain_cores(process);
    while (cores_stopped(process) < process->core_count) {
        int number = wait_signal(process, ANSWER_TIMEOUT_MS);
        if (number == SIGTERM || number == SIGINT) stop_now(EXIT_SUCCESS);
    }
}

static void init(struct process *process, const struct process_options *options)
{
    process->options = *options;
    process->is_config_good = process->are_credentials_good = true;
    pthread_mutex_init(&process->reload_lock, NULL);
    pthread_mutex_init(&process->lock, NULL);
    pthread_cond_init(&process->changed, NULL);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write past a file size limit fails and is answered with 552 */
    process->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    process->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT(process->signal_fd >= 0 && process->event_fd >= 0);
}

/* Certificates, keys and users, all of which are read here for the first time. */
static int load_generation(struct process *process, struct config *config)
{
    struct config_problems problems = {0};
    process->watch = watch_create(config);
    process->tickets = tls_tickets_create(config->node.tls_ticket_rotation_ms);
    if (process->tickets == NULL)
        config_problems_add(&problems, "TLS: no memory or no random numbers");
    int err = generation_create(config, process->tickets, &process->generation, &problems);
    if (err == 0 && process->tickets == NULL) err = -ERR_MEMORY;
    for (size_t i = 0; i < problems.count; i++)
        fprintf(stderr, "%s\n", problems.lines[i]);
    config_problems_free(&problems);
    return err;
}

static void close_loaded(struct process *process)
{
    generation_destroy(process->generation);
    tls_tickets_destroy(process->tickets);
    watch_destroy(process->watch);
    close(process->signal_fd);
    close(process->event_fd);
}

static enum log_format log_format_of(const struct config *config)
{
    if (config->log.format == LOG_FORMAT_AUTO) return isatty(STDOUT_FILENO) ? LOG_TEXT : LOG_JSON;
    return config->log.format == LOG_FORMAT_TEXT ? LOG_TEXT : LOG_JSON;
}

/* From the first core to the end of the last. */
static int serve(struct process *process)
{
    char why[WHY_BYTES] = "";
    int err = start_all(process, why);
    if (err == 0) {
        log_text(LOG_INFO, "started", "postern %s, %u cores, spool %s", process->options.version,
                 process->core_count, process->generation->config->spool.path);
        tell_ready(process);
        run(process);
        drain(process);
    } else {
        fprintf(stderr, "postern: %s\n", why);
        drain_cores(process);
        while (cores_stopped(process) < process->core_count)
            (void)wait_signal(process, ANSWER_TIMEOUT_MS);
    }
    close_all(process);
    if (err == 0) log_text(LOG_INFO, "stopped", "all work is on disk");
    return err;
}

int process_run(const struct process_options *options)
{
    struct process process = {0};
    init(&process, options);
    if (load_generation(&process, options->config) != 0) {
        close_loaded(&process);
        return EXIT_BAD_CONFIG;
    }
    const struct config *config = process.generation->config;
    log_start(STDOUT_FILENO, log_format_of(config), config->log.level);
    log_thread_start(65536);
    log_expired(process.generation);
    int err = serve(&process);
    close_loaded(&process);
    log_thread_stop();
    log_stop();
    if (err == -ERR_LOCKED) return EXIT_SPOOL_OWNED;
    return err == 0 ? EXIT_SUCCESS : EXIT_FAULT;
}
