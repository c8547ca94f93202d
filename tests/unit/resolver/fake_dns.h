/* fake_dns.h - a name server on a thread: UDP and TCP on one port of the loopback, answers from a
 * table. */
#pragma once

#include "resolver/answer.h"
#include "tests/unit/ring/ring_support.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>

#define FAKE_RECORDS_MAX 10
#define FAKE_NXDOMAIN 3
#define FAKE_AD 0x20

enum fake_way {
    FAKE_ANSWERS,
    FAKE_SILENT,
    FAKE_TRUNCATES, /* by UDP; the whole comes by TCP */
    FAKE_WRONG_ID,
    FAKE_WRONG_QUESTION,
    FAKE_BAD_LENGTH, /* of the last record */
};

struct fake_record {
    const char *owner; /* NULL: the name of the question */
    enum answer_type type;
    unsigned preference;
    const char *value; /* an address, a name; labels are cut at '.', "." is the root */
};

struct fake_rule {
    const char *name;
    enum answer_type type;
    unsigned flags; /* the low byte of those of the header: the code, AD */
    enum fake_way way;
    struct fake_record records[FAKE_RECORDS_MAX]; /* ends at the first without a value */
};

struct fake_dns {
    const struct fake_rule *rules; /* the first that fits; none: no such record */
    size_t rule_count;
    struct endpoint address;
    int udp, tcp, wake[2];
    pthread_t thread;
    atomic_uint asked, asked_by_tcp;
};

struct fake_message {
    uint8_t data[4096];
    size_t len;
};

static inline void fake_put(struct fake_message *m, unsigned n, unsigned bytes)
{
    while (bytes-- > 0)
        m->data[m->len++] = (uint8_t)(n >> 8 * bytes);
}

static inline void fake_put_name(struct fake_message *m, const char *name)
{
    while (*name != '\0' && strcmp(name, ".") != 0) {
        size_t len = strcspn(name, ".");
        fake_put(m, (unsigned)len, 1);
        memcpy(m->data + m->len, name, len);
        m->len += len;
        name += len + (name[len] == '.');
    }
    fake_put(m, 0, 1);
}

static inline void fake_put_record(struct fake_message *m, const struct fake_record *r)
{
    if (r->owner != NULL)
        fake_put_name(m, r->owner);
    else
        fake_put(m, 0xc00c, 2);
    fake_put(m, (unsigned)r->type, 2);
    fake_put(m, 1, 2);
    fake_put(m, 300, 4);
    size_t at = m->len;
    fake_put(m, 0, 2);
    if (r->type == ANSWER_A || r->type == ANSWER_AAAA) {
        int family = r->type == ANSWER_A ? AF_INET : AF_INET6;
        if (inet_pton(family, r->value, m->data + m->len) != 1) abort();
        m->len += r->type == ANSWER_A ? 4 : 16;
    } else {
        if (r->type == ANSWER_MX) fake_put(m, r->preference, 2);
        fake_put_name(m, r->value);
    }
    m->data[at] = (uint8_t)((m->len - at - 2) >> 8);
    m->data[at + 1] = (uint8_t)(m->len - at - 2);
}

/* The name of the question as text; the length of the question, with its type and class. */
static inline size_t fake_read_question(const uint8_t *query, size_t len, char name[256],
                                        unsigned *type_out)
{
    size_t at = 12, out = 0;
    while (at < len && query[at] != 0) {
        size_t label = query[at++];
        if (out > 0) name[out++] = '.';
        for (size_t i = 0; i < label && out < 255; i++)
            name[out++] = ascii_lower((char)query[at + i]);
        at += label;
    }
    name[out] = '\0';
    *type_out = (unsigned)query[at + 1] << 8 | query[at + 2];
    return at + 5 - 12;
}

static inline bool fake_answer(struct fake_dns *fake, const uint8_t *query, size_t len, bool is_tcp,
                               struct fake_message *out)
{
    static const struct fake_rule nothing = {.name = ""};
    const struct fake_rule *rule = &nothing;
    char name[256];
    unsigned type, count = 0;
    size_t question_len = fake_read_question(query, len, name, &type);
    for (size_t i = 0; i < fake->rule_count && rule == &nothing; i++) {
        const struct fake_rule *at = &fake->rules[i];
        if (strcmp(at->name, name) == 0 && (unsigned)at->type == type) rule = at;
    }
    if (rule->way == FAKE_SILENT) return false;
    while (count < FAKE_RECORDS_MAX && rule->records[count].value != NULL)
        count++;
    bool is_cut = rule->way == FAKE_TRUNCATES && !is_tcp;
    unsigned id = (unsigned)query[0] << 8 | query[1];
    *out = (struct fake_message){.len = 0};
    fake_put(out, rule->way == FAKE_WRONG_ID ? id ^ 1 : id, 2);
    fake_put(out, 0x8180u | (is_cut ? 0x200u : 0) | rule->flags, 2);
    fake_put(out, 1, 2);
    fake_put(out, is_cut ? 0 : count, 2);
    fake_put(out, 0, 4);
    memcpy(out->data + out->len, query + 12, question_len);
    if (rule->way == FAKE_WRONG_QUESTION) out->data[out->len + 1] ^= 1;
    out->len += question_len;
    for (unsigned i = 0; i < count && !is_cut; i++)
        fake_put_record(out, &rule->records[i]);
    if (rule->way == FAKE_BAD_LENGTH) out->len--;
    return true;
}

static inline void fake_serve_tcp(struct fake_dns *fake)
{
    int fd = accept(fake->tcp, NULL, NULL);
    struct timeval patience = {.tv_sec = 2};
    uint8_t query[1024];
    struct fake_message out, framed = {.len = 0};
    if (fd < 0) return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (recv(fd, query, 2, MSG_WAITALL) == 2) {
        size_t len = (size_t)query[0] << 8 | query[1];
        if (len <= sizeof(query) && recv(fd, query, len, MSG_WAITALL) == (ssize_t)len) {
            atomic_fetch_add(&fake->asked_by_tcp, 1);
            if (fake_answer(fake, query, len, true, &out)) {
                fake_put(&framed, (unsigned)out.len, 2);
                memcpy(framed.data + 2, out.data, out.len);
                (void)!send(fd, framed.data, out.len + 2, MSG_NOSIGNAL);
            }
        }
    }
    close(fd);
}

static inline void *fake_run(void *owner)
{
    struct fake_dns *fake = owner;
    for (;;) {
        struct pollfd fds[] = {
            {fake->udp, POLLIN, 0}, {fake->tcp, POLLIN, 0}, {fake->wake[0], POLLIN, 0}};
        if (poll(fds, 3, -1) < 0 || fds[2].revents != 0) return NULL;
        if (fds[1].revents != 0) fake_serve_tcp(fake);
        if (fds[0].revents == 0) continue;
        struct sockaddr_storage from;
        socklen_t from_len = sizeof(from);
        uint8_t query[1024];
        struct fake_message out;
        ssize_t len =
            recvfrom(fake->udp, query, sizeof(query), 0, (struct sockaddr *)&from, &from_len);
        if (len < 17) continue;
        atomic_fetch_add(&fake->asked, 1);
        if (fake_answer(fake, query, (size_t)len, false, &out))
            sendto(fake->udp, out.data, out.len, 0, (struct sockaddr *)&from, from_len);
    }
}

static inline void fake_start(struct fake_dns *fake, const struct fake_rule *rules, size_t count)
{
    *fake = (struct fake_dns){.rules = rules, .rule_count = count};
    fake->address = support_localhost();
    /* Another may have the TCP port of the UDP port that the kernel gives. */
    for (unsigned tries = 0; tries < 20; tries++) {
        fake->address.addr.v4.sin_port = 0;
        fake->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        fake->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(bind(fake->udp, &fake->address.addr.any, fake->address.addr_len) == 0);
        getsockname(fake->udp, &fake->address.addr.any, &fake->address.addr_len);
        if (bind(fake->tcp, &fake->address.addr.any, fake->address.addr_len) == 0) break;
        close(fake->udp);
        close(fake->tcp);
    }
    CHECK(listen(fake->tcp, 16) == 0);
    CHECK(pipe2(fake->wake, O_CLOEXEC) == 0);
    CHECK(pthread_create(&fake->thread, NULL, fake_run, fake) == 0);
}

static inline void fake_stop(struct fake_dns *fake)
{
    CHECK(write(fake->wake[1], "x", 1) == 1);
    pthread_join(fake->thread, NULL);
    close(fake->wake[0]);
    close(fake->wake[1]);
    close(fake->udp);
    close(fake->tcp);
}
