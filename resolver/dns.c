/* dns.c - questions, their coalescing and the cache; c-ares is their transport. */
#include "resolver/dns.h"

#include "ring/base/clock.h"
#include "ring/base/map.h"
#include "ring/base/memory.h"
#include "ring/timer.h"

#include <ares.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define KEY_BYTES_MAX (ANSWER_NAME_BYTES_MAX + 2)
#define CLASS_IN 1
#define FLAG_AD_BYTE 3
#define FLAG_AD 0x20u
#define EDNS_BYTES 1232 /* below it no path fragments */

/* A socket of c-ares. */
struct dns_socket {
    struct list node;
    struct dns *dns;
    struct ring_op op;
    int fd;
    uint32_t wanted;  /* events; 0: c-ares has closed it */
    uint32_t watched; /* events of the poll that runs; 0: none does */
};

/* One that is under way. */
struct question {
    struct map_node node;
    struct list all;
    struct list waiters;
    struct dns *dns;
    enum answer_type type;
    uint8_t alias_count;
    uint32_t ttl_s;
    bool is_sending; /* c-ares may answer inside the call */
    bool is_answered;
    struct dns_answer *answer;
    struct ring_op op;       /* is_answered inside the call: finishes it */
    char key[KEY_BYTES_MAX]; /* the type as two digits, and the name that was asked for */
    size_t key_len;
    char name[ANSWER_NAME_BYTES_MAX + 1]; /* that is asked for now: an alias leads on */
};

/* One that is known. */
struct known {
    struct map_node node;
    struct list recent; /* the longest unused first */
    struct dns_answer *answer;
    uint64_t fresh_until_ns, stale_until_ns;
    size_t key_len;
    char key[];
};

struct dns {
    struct loop *loop;
    struct resolver_counters *counters;
    ares_channel channel;
    struct timer timer;
    struct list sockets;
    struct map questions, cache;
    struct list question_list, recent;
    uint32_t waiting_count; /* waiters from dns_ask() to done() */
    uint32_t polling_count;
    bool trusts_ad, is_stopping;
};

/* --- answers --- */

static void unref(struct dns_answer *answer)
{
    if (--answer->references > 0) return;
    answer_finish(&answer->answer);
    free(answer);
}

static struct dns_answer *failed_answer(bool is_timeout)
{
    struct dns_answer *made = xcalloc(1, sizeof(*made));
    made->references = 1;
    made->is_timeout = is_timeout;
    made->answer.status = ANSWER_FAILED;
    return made;
}

static void on_told(struct ring_op *op)
{
    struct dns_waiter *waiter = CONTAINER_OF(op, struct dns_waiter, op);
    struct dns_answer *answer = (struct dns_answer *)(uintptr_t)waiter->answer;
    waiter->is_asking = false;
    waiter->dns->waiting_count--;
    waiter->done(waiter); /* may free the waiter */
    unref(answer);
}

static void tell(struct dns *dns, struct dns_waiter *waiter, struct dns_answer *answer)
{
    answer->references++;
    waiter->answer = answer;
    loop_defer(dns->loop, &waiter->op, 0);
}

bool dns_forget(struct dns_waiter *waiter)
{
    if (!waiter->is_asking) return true;
    if (list_is_empty(&waiter->node)) return false;
    list_remove(&waiter->node);
    waiter->is_asking = false;
    waiter->dns->waiting_count--;
    return true;
}

/* --- the cache --- */

static bool known_match(const struct map_node *node, struct slice key)
{
    const struct known *known = CONTAINER_OF(node, const struct known, node);
    return slice_eq(slice_of(known->key, known->key_len), key);
}

static void forget_known(struct dns *dns, struct known *known)
{
    map_remove(&dns->cache, &known->node);
    list_remove(&known->recent);
    unref(known->answer);
    free(known);
}

static struct known *find_known(struct dns *dns, struct slice key)
{
    struct map_node *node = map_find(&dns->cache, key, known_match);
    return node != NULL ? CONTAINER_OF(node, struct known, node) : NULL;
}

static uint32_t keep_s(const struct dns_answer *answer)
{
    uint32_t max_s =
        answer->answer.status == ANSWER_FOUND ? RESOLVER_TTL_S_MAX : RESOLVER_NEGATIVE_TTL_S_MAX;
    return MIN(MAX(answer->answer.ttl_s, (uint32_t)RESOLVER_TTL_S_MIN), max_s);
}

static void remember(struct dns *dns, struct slice key, struct dns_answer *answer)
{
    struct known *known = find_known(dns, key);
    if (known != NULL) forget_known(dns, known);
    if (dns->cache.count >= RESOLVER_CACHE_ENTRIES_MAX)
        forget_known(dns, LIST_ENTRY(dns->recent.next, struct known, recent));
    known = xcalloc(1, sizeof(*known) + key.len);
    memcpy(known->key, key.data, key.len);
    known->key_len = key.len;
    known->answer = answer;
    answer->references++;
    answer->answer.ttl_s = keep_s(answer);
    known->fresh_until_ns = loop_now_ns(dns->loop) + answer->answer.ttl_s * NS_PER_S;
    known->stale_until_ns = known->fresh_until_ns + DNS_STALE_S * NS_PER_S;
    map_insert(&dns->cache, key, &known->node);
    list_push_back(&dns->recent, &known->recent);
}

static void empty_cache(struct dns *dns)
{
    struct known *known;
    LIST_FOR_EACH(known, &dns->recent, struct known, recent)
    {
        forget_known(dns, known);
    }
}

/* --- c-ares on the loop --- */

static void arm_timer(struct dns *dns)
{
    struct timeval left;
    if (ares_timeout(dns->channel, NULL, &left) == NULL) {
        timer_disarm(&dns->timer);
        return;
    }
    uint64_t ms = (uint64_t)left.tv_sec * 1000 + (uint64_t)left.tv_usec / 1000 + 1;
    timer_arm(dns->loop, &dns->timer, ms);
}

static void on_timer(struct timer *timer)
{
    struct dns *dns = CONTAINER_OF(timer, struct dns, timer);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_timer(dns);
}

static void watch(struct dns_socket *socket)
{
    if (socket->watched != 0) return;
    if (socket->wanted == 0) {
        list_remove(&socket->node);
        free(socket);
        return;
    }
    socket->watched = socket->wanted;
    socket->dns->polling_count++;
    loop_poll(socket->dns->loop, socket->fd, socket->wanted, &socket->op);
}

static void on_ready(struct ring_op *op)
{
    struct dns_socket *socket = CONTAINER_OF(op, struct dns_socket, op);
    struct dns *dns = socket->dns;
    dns->polling_count--;
    if (op->result > 0 && socket->wanted != 0) {
        uint32_t events = (uint32_t)op->result;
        bool is_broken = (events & (POLLERR | POLLHUP)) != 0;
        bool is_readable = (events & POLLIN) != 0 || is_broken;
        bool is_writable = (events & POLLOUT) != 0 || is_broken;
        /* Still watched, so that the socket outlives the call. */
        ares_process_fd(dns->channel, is_readable ? socket->fd : ARES_SOCKET_BAD,
                        is_writable ? socket->fd : ARES_SOCKET_BAD);
    }
    socket->watched = 0;
    watch(socket);
    arm_timer(dns);
}

static void on_socket(void *data, ares_socket_t fd, int is_readable, int is_writable)
{
    struct dns *dns = data;
    uint32_t wanted = (is_readable ? POLLIN : 0u) | (is_writable ? POLLOUT : 0u);
    struct dns_socket *socket = NULL, *at;
    LIST_FOR_EACH(at, &dns->sockets, struct dns_socket, node)
    {
        if (at->fd == fd && at->wanted != 0) socket = at;
    }
    if (socket == NULL && wanted == 0) return;
    if (socket == NULL) {
        socket = xcalloc(1, sizeof(*socket));
        socket->dns = dns;
        socket->fd = fd;
        socket->op.done = on_ready;
        list_push_back(&dns->sockets, &socket->node);
    }
    socket->wanted = wanted;
    /* A poll for something else is ended, and on_ready() goes on. */
    if (socket->watched != 0 && socket->watched != wanted) loop_cancel(dns->loop, &socket->op);
    watch(socket);
}

/* --- questions --- */

static enum resolver_type counted_type(enum answer_type type)
{
    return type == ANSWER_MX     ? RESOLVER_MX
           : type == ANSWER_A    ? RESOLVER_A
           : type == ANSWER_AAAA ? RESOLVER_AAAA
                                 : RESOLVER_PTR;
}

static void count(const struct question *question, const struct dns_answer *answer)
{
    enum answer_status status = answer->answer.status;
    enum resolver_outcome outcome =
        status == ANSWER_FOUND || status == ANSWER_ALIAS       ? RESOLVER_FOUND
        : status == ANSWER_NO_NAME || status == ANSWER_NO_DATA ? RESOLVER_NOTHING
        : answer->is_timeout                                   ? RESOLVER_TIMEOUT
                                                               : RESOLVER_FAILED;
    counter_add(&question->dns->counters->queries[counted_type(question->type)][outcome], 1);
}

static bool question_match(const struct map_node *node, struct slice key)
{
    const struct question *question = CONTAINER_OF(node, const struct question, node);
    return slice_eq(slice_of(question->key, question->key_len), key);
}

/* What is too old is better than nothing. */
static struct dns_answer *stale_answer(struct dns *dns, struct slice key)
{
    struct known *known = find_known(dns, key);
    if (known == NULL || known->stale_until_ns <= loop_now_ns(dns->loop)) return NULL;
    return known->answer;
}

/* Everybody who waits gets the answer. */
static void finish(struct question *question)
{
    struct dns *dns = question->dns;
    struct slice key = slice_of(question->key, question->key_len);
    struct dns_answer *answer = question->answer;
    bool is_failed =
        answer->answer.status == ANSWER_FAILED || answer->answer.status == ANSWER_BROKEN;
    struct dns_answer *told = answer, *stale = is_failed ? stale_answer(dns, key) : NULL;
    if (stale != NULL) told = stale;
    if (!is_failed) remember(dns, key, answer);
    struct list *node;
    while ((node = list_pop_front(&question->waiters)) != NULL)
        tell(dns, LIST_ENTRY(node, struct dns_waiter, node), told);
    map_remove(&dns->questions, &question->node);
    list_remove(&question->all);
    unref(answer);
    free(question);
}

static void on_finish(struct ring_op *op)
{
    finish(CONTAINER_OF(op, struct question, op));
}

static void send_question(struct question *question);

static void on_answer(void *owner, int status, int timeouts, unsigned char *bytes, int len)
{
    struct question *question = owner;
    (void)timeouts;
    struct dns_answer *answer = failed_answer(status == ARES_ETIMEOUT);
    if (status == ARES_SUCCESS && bytes != NULL && len > 0) {
        answer_read(slice_of(bytes, (size_t)len), slice_of_cstr(question->name), question->type,
                    &answer->answer);
    }
    count(question, answer);
    if (!question->dns->trusts_ad) answer->answer.is_authentic = false;
    unsigned aliases = question->alias_count + answer->answer.alias_count;
    bool leads_on = answer->answer.status == ANSWER_ALIAS;
    if (leads_on && aliases <= ANSWER_ALIASES_MAX && !question->dns->is_stopping) {
        question->alias_count = (uint8_t)aliases;
        question->ttl_s = MIN(question->ttl_s, answer->answer.ttl_s);
        memcpy(question->name, answer->answer.name, sizeof(question->name));
        unref(answer);
        send_question(question);
        return;
    }
    if (leads_on || aliases > ANSWER_ALIASES_MAX) {
        answer_finish(&answer->answer);
        answer->answer.status = ANSWER_BROKEN;
    }
    answer->answer.ttl_s = MIN(answer->answer.ttl_s, question->ttl_s);
    question->answer = answer;
    if (question->is_sending) {
        question->is_answered = true;
    } else {
        finish(question);
    }
}

/* As ares_query() does it, with the AD bit set where the answer's is to mean something (RFC 6840
 * 5.7). */
static void send_question(struct question *question)
{
    struct dns *dns = question->dns;
    unsigned char *bytes = NULL;
    int len = 0;
    /* Nobody who does not see the question may guess its id (RFC 5452 9.2). */
    uint16_t id = (uint16_t)loop_now_ns(dns->loop);
    (void)!getrandom(&id, sizeof(id), GRND_NONBLOCK);
    int status = ares_create_query(question->name, CLASS_IN, (int)question->type, id, 1, &bytes,
                                   &len, EDNS_BYTES);
    bool was_sending = question->is_sending;
    question->is_sending = true;
    if (status == ARES_SUCCESS) {
        if (dns->trusts_ad) bytes[FLAG_AD_BYTE] |= FLAG_AD;
        ares_send(dns->channel, bytes, len, on_answer, question);
        ares_free_string(bytes);
    } else {
        question->answer = failed_answer(false);
        question->is_answered = true;
    }
    question->is_sending = was_sending;
    arm_timer(dns);
    if (question->is_answered && !was_sending) loop_defer(dns->loop, &question->op, 0);
}

static struct question *make_question(struct dns *dns, struct slice key, struct slice name,
                                      enum answer_type type)
{
    struct question *question = xcalloc(1, sizeof(*question));
    question->dns = dns;
    question->type = type;
    question->ttl_s = UINT32_MAX;
    question->op.done = on_finish;
    memcpy(question->key, key.data, key.len);
    question->key_len = key.len;
    memcpy(question->name, name.data, name.len);
    list_init(&question->waiters);
    map_insert(&dns->questions, key, &question->node);
    list_push_back(&dns->question_list, &question->all);
    return question;
}

bool dns_ask(struct dns *dns, struct slice name, enum answer_type type, struct dns_waiter *waiter)
{
    ASSERT(name.len <= ANSWER_NAME_BYTES_MAX && !waiter->is_asking);
    char key_bytes[KEY_BYTES_MAX];
    struct buf key_buf = {key_bytes, 0, sizeof(key_bytes), false};
    buf_append_padded(&key_buf, (uint64_t)type, 2);
    buf_append_slice(&key_buf, name);
    struct slice key = buf_slice(&key_buf);
    list_init(&waiter->node);
    waiter->dns = dns;
    waiter->op.done = on_told;

    struct known *known = find_known(dns, key);
    struct map_node *node = map_find(&dns->questions, key, question_match);
    bool is_fresh = known != NULL && known->fresh_until_ns > loop_now_ns(dns->loop);
    if (!is_fresh && node == NULL && dns->questions.count >= RESOLVER_LOOKUPS_MAX) return false;
    waiter->is_asking = true;
    dns->waiting_count++;
    if (is_fresh) {
        counter_add(&dns->counters->cache_hits, 1);
        list_remove(&known->recent);
        list_push_back(&dns->recent, &known->recent);
        tell(dns, waiter, known->answer);
    } else if (dns->is_stopping) {
        struct dns_answer *failed = failed_answer(false);
        tell(dns, waiter, failed);
        unref(failed);
    } else {
        bool is_new = node == NULL;
        struct question *question = is_new ? make_question(dns, key, name, type)
                                           : CONTAINER_OF(node, struct question, node);
        list_push_back(&question->waiters, &waiter->node);
        if (is_new) send_question(question);
    }
    return true;
}

/* --- life --- */

static int set_servers(ares_channel channel, const struct resolver_options *options)
{
    struct ares_addr_port_node nodes[RESOLVER_SERVERS_MAX] = {0};
    size_t used = MIN(options->server_count, (size_t)RESOLVER_SERVERS_MAX);
    for (size_t i = 0; i < used; i++) {
        const struct endpoint *server = &options->servers[i];
        struct ares_addr_port_node *node = &nodes[i];
        struct slice address = endpoint_key(server);
        node->family = address.len == 4 ? AF_INET : AF_INET6;
        memcpy(&node->addr, address.data, address.len);
        node->udp_port = node->tcp_port = endpoint_port(server);
        node->next = i + 1 < used ? &nodes[i + 1] : NULL;
    }
    return used > 0 ? ares_set_servers_ports(channel, nodes) : ARES_SUCCESS;
}

static int open_channel(struct dns *dns, const struct resolver_options *options,
                        ares_channel *channel_out)
{
    struct ares_options ares = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .timeout = (int)options->timeout_ms,
        .tries = (int)options->tries,
        .ednspsz = EDNS_BYTES,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = dns,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
               ARES_OPT_SOCK_STATE_CB;
    int status = ares_init_options(channel_out, &ares, mask);
    if (status != ARES_SUCCESS) return status;
    status = set_servers(*channel_out, options);
    if (status != ARES_SUCCESS) ares_destroy(*channel_out);
    return status;
}

struct dns *dns_create(const struct resolver_options *options, struct resolver_counters *counters,
                       char *why, size_t why_cap)
{
    struct dns *dns = xcalloc(1, sizeof(*dns));
    dns->loop = options->loop;
    dns->counters = counters;
    dns->trusts_ad = options->trusts_ad;
    timer_init(&dns->timer, on_timer);
    list_init(&dns->sockets);
    list_init(&dns->question_list);
    list_init(&dns->recent);
    map_init(&dns->questions);
    map_init(&dns->cache);
    int status = open_channel(dns, options, &dns->channel);
    if (status == ARES_SUCCESS) return dns;
    snprintf(why, why_cap, "the resolver cannot be set up: %s", ares_strerror(status));
    dns->channel = NULL;
    dns_destroy(dns);
    return NULL;
}

bool dns_reconfigure(struct dns *dns, const struct resolver_options *options)
{
    ares_channel next;
    if (open_channel(dns, options, &next) != ARES_SUCCESS) return false;
    /* What is under way is answered with ANSWER_FAILED by the old one's end. */
    ares_channel old = dns->channel;
    dns->channel = next;
    dns->trusts_ad = options->trusts_ad;
    ares_destroy(old);
    empty_cache(dns);
    arm_timer(dns);
    return true;
}

void dns_stop(struct dns *dns)
{
    dns->is_stopping = true;
    ares_cancel(dns->channel);
    timer_disarm(&dns->timer);
    struct dns_socket *socket;
    LIST_FOR_EACH(socket, &dns->sockets, struct dns_socket, node)
    {
        /* c-ares may keep it for the next question, of which there is none. */
        socket->wanted = 0;
        if (socket->watched != 0)
            loop_cancel(dns->loop, &socket->op);
        else
            watch(socket);
    }
}

bool dns_is_idle(const struct dns *dns)
{
    return dns->waiting_count == 0 && dns->polling_count == 0 && dns->questions.count == 0;
}

void dns_destroy(struct dns *dns)
{
    if (dns == NULL) return;
    dns->is_stopping = true;
    if (dns->channel != NULL) ares_destroy(dns->channel);
    ASSERT(dns_is_idle(dns));
    timer_disarm(&dns->timer);
    struct dns_socket *socket;
    LIST_FOR_EACH(socket, &dns->sockets, struct dns_socket, node)
    {
        list_remove(&socket->node);
        free(socket);
    }
    empty_cache(dns);
    map_finish(&dns->questions);
    map_finish(&dns->cache);
    free(dns);
}
