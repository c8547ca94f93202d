/* fake_server.h - a next hop whose every answer a test may choose.
 *
 * One thread, one poll loop, ordinary sockets. A reply of FAKE_SILENT is not sent, FAKE_CLOSE
 * closes the connection instead. Replies are set before the server starts, or with fake_set(). */
#pragma once

#include "ring/base/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAKE_CONNECTIONS_MAX 64
#define FAKE_INPUT_BYTES (4u << 20)
#define FAKE_SILENT ""
#define FAKE_CLOSE "close"
#define FAKE_EHLO "250-fake.test\r\n250-SIZE\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
#define FAKE_EHLO_BARE "250 fake.test\r\n"

struct fake_connection {
    int fd;
    char *input;
    size_t len;
    bool is_in_data, is_in_chunk, is_pipelining;
    size_t chunk_bytes;
    unsigned accepted, messages;
};

struct fake {
    struct endpoint at;
    int listener, wake[2];
    pthread_t thread;
    pthread_mutex_t lock;
    struct fake_connection connections[FAKE_CONNECTIONS_MAX];

    const char *greeting, *ehlo, *helo, *mail, *rcpt, *data, *dot, *rset;
    const char *rcpt_550, *rcpt_451; /* words in a recipient that is refused so */
    unsigned close_at_mail;          /* closes at the MAIL after so many messages; 0: never */
    bool takes_data_always;          /* 354 without a recipient */

    unsigned connection_count, open_count, open_max, message_count, out_of_turn;
    unsigned quit_count, rset_count, chunk_count;
    char commands[16384];
    size_t commands_len;
    char *body; /* of the last message; by DATA with its dots still stuffed */
    size_t body_len;
};

static inline void fake_close(struct fake *f, struct fake_connection *c)
{
    close(c->fd);
    free(c->input);
    *c = (struct fake_connection){.fd = -1};
    f->open_count--;
}

static inline bool fake_answer(struct fake *f, struct fake_connection *c, const char *reply)
{
    if (strcmp(reply, FAKE_CLOSE) == 0) {
        fake_close(f, c);
        return false;
    }
    size_t len = strlen(reply);
    if (len > 0 && send(c->fd, reply, len, MSG_NOSIGNAL) != (ssize_t)len) {
        fake_close(f, c);
        return false;
    }
    return true;
}

static inline bool fake_rcpt(struct fake *f, struct fake_connection *c, const char *line)
{
    if (f->rcpt_550 != NULL && strstr(line, f->rcpt_550) != NULL)
        return fake_answer(f, c, "550 5.1.1 no such user\r\n");
    if (f->rcpt_451 != NULL && strstr(line, f->rcpt_451) != NULL)
        return fake_answer(f, c, "451 4.2.0 later\r\n");
    c->accepted++;
    return fake_answer(f, c, f->rcpt);
}

static inline bool fake_mail(struct fake *f, struct fake_connection *c)
{
    c->accepted = 0;
    bool is_over = f->close_at_mail > 0 && c->messages >= f->close_at_mail;
    return fake_answer(f, c, is_over ? FAKE_CLOSE : f->mail);
}

static inline bool fake_data(struct fake *f, struct fake_connection *c)
{
    if (c->accepted == 0 && !f->takes_data_always)
        return fake_answer(f, c, "554 5.5.1 no valid recipients\r\n");
    c->is_in_data = strncmp(f->data, "354", 3) == 0;
    return fake_answer(f, c, f->data);
}

/* False when the connection is closed. */
static inline bool fake_command(struct fake *f, struct fake_connection *c, const char *line)
{
    size_t len = strlen(line);
    if (f->commands_len + len + 2 < sizeof(f->commands)) {
        memcpy(f->commands + f->commands_len, line, len);
        f->commands_len += len;
        f->commands[f->commands_len++] = '|';
        f->commands[f->commands_len] = '\0';
    }
    if (strncmp(line, "EHLO", 4) == 0) {
        c->is_pipelining = strstr(f->ehlo, "PIPELINING") != NULL;
        return fake_answer(f, c, f->ehlo);
    }
    if (strncmp(line, "HELO", 4) == 0) return fake_answer(f, c, f->helo);
    if (strncmp(line, "MAIL", 4) == 0) return fake_mail(f, c);
    if (strncmp(line, "RCPT", 4) == 0) return fake_rcpt(f, c, line);
    if (strncmp(line, "DATA", 4) == 0) return fake_data(f, c);
    if (strncmp(line, "BDAT", 4) == 0) {
        c->is_in_chunk = true; /* answered after its bytes */
        c->chunk_bytes = strtoul(line + 4, NULL, 10);
        return true;
    }
    if (strncmp(line, "RSET", 4) == 0) {
        f->rset_count++;
        return fake_answer(f, c, f->rset);
    }
    if (strncmp(line, "QUIT", 4) == 0) {
        f->quit_count++;
        if (!fake_answer(f, c, "221 bye\r\n")) return false;
        fake_close(f, c);
        return false;
    }
    return fake_answer(f, c, "500 what\r\n");
}

static inline void fake_consume(struct fake_connection *c, size_t bytes)
{
    memmove(c->input, c->input + bytes, c->len - bytes);
    c->len -= bytes;
}

static inline bool fake_end_body(struct fake *f, struct fake_connection *c, size_t body_len,
                                 size_t taken)
{
    free(f->body);
    f->body = malloc(body_len + 1);
    memcpy(f->body, c->input, body_len);
    f->body_len = body_len;
    fake_consume(c, taken);
    c->messages++;
    f->message_count++;
    return fake_answer(f, c, f->dot);
}

/* The only chunk of a message. */
static inline bool fake_take_chunk(struct fake *f, struct fake_connection *c)
{
    if (c->len < c->chunk_bytes) return false;
    c->is_in_chunk = false;
    f->chunk_count++;
    return fake_end_body(f, c, c->chunk_bytes, c->chunk_bytes);
}

/* True when it may go on with what is left. */
static inline bool fake_take_body(struct fake *f, struct fake_connection *c)
{
    char *end = NULL;
    size_t body_len = 0, taken = 0;
    if (c->len >= 3 && memcmp(c->input, ".\r\n", 3) == 0) {
        taken = 3;
    } else if ((end = memmem(c->input, c->len, "\r\n.\r\n", 5)) != NULL) {
        body_len = (size_t)(end - c->input) + 2;
        taken = body_len + 3;
    } else {
        return false;
    }
    c->is_in_data = false;
    return fake_end_body(f, c, body_len, taken);
}

static inline bool fake_take_line(struct fake *f, struct fake_connection *c)
{
    char *lf = memchr(c->input, '\n', c->len);
    if (lf == NULL) return false;
    char line[1024];
    size_t bytes = (size_t)(lf - c->input) + 1;
    snprintf(line, sizeof(line), "%.*s", (int)bytes - 2, c->input);
    fake_consume(c, bytes);
    if (!fake_command(f, c, line)) return false;
    if (!c->is_pipelining && !c->is_in_chunk && c->len > 0) f->out_of_turn++;
    return true;
}

static inline void fake_read(struct fake *f, struct fake_connection *c)
{
    ssize_t got = recv(c->fd, c->input + c->len, FAKE_INPUT_BYTES - c->len, 0);
    if (got <= 0) {
        fake_close(f, c);
        return;
    }
    c->len += (size_t)got;
    while (c->fd >= 0 && (c->len > 0 || c->is_in_chunk) &&
           (c->is_in_data    ? fake_take_body(f, c)
            : c->is_in_chunk ? fake_take_chunk(f, c)
                             : fake_take_line(f, c)))
        ;
}

static inline void fake_accept(struct fake *f)
{
    int fd = accept(f->listener, NULL, NULL);
    if (fd < 0) return;
    int on = 1; /* each reply goes out by itself */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    for (size_t i = 0; i < FAKE_CONNECTIONS_MAX; i++) {
        struct fake_connection *c = &f->connections[i];
        if (c->fd >= 0) continue;
        *c = (struct fake_connection){.fd = fd, .input = malloc(FAKE_INPUT_BYTES)};
        f->connection_count++;
        f->open_count++;
        if (f->open_count > f->open_max) f->open_max = f->open_count;
        (void)fake_answer(f, c, f->greeting);
        return;
    }
    close(fd);
}

static inline void *fake_main(void *argument)
{
    struct fake *f = argument;
    for (;;) {
        struct pollfd polls[FAKE_CONNECTIONS_MAX + 2];
        polls[0] = (struct pollfd){f->listener, POLLIN, 0};
        polls[1] = (struct pollfd){f->wake[0], POLLIN, 0};
        for (size_t i = 0; i < FAKE_CONNECTIONS_MAX; i++)
            polls[i + 2] = (struct pollfd){f->connections[i].fd, POLLIN, 0};
        if (poll(polls, FAKE_CONNECTIONS_MAX + 2, -1) < 0) continue;
        pthread_mutex_lock(&f->lock);
        if (polls[0].revents != 0) fake_accept(f);
        for (size_t i = 0; i < FAKE_CONNECTIONS_MAX; i++) {
            struct fake_connection *c = &f->connections[i];
            if (polls[i + 2].revents != 0 && c->fd == polls[i + 2].fd && c->fd >= 0)
                fake_read(f, c);
        }
        pthread_mutex_unlock(&f->lock);
        if (polls[1].revents != 0) return NULL;
    }
}

/* A server that takes everything, not started yet. */
static inline struct fake *fake_create(void)
{
    struct fake *f = calloc(1, sizeof(*f));
    pthread_mutex_init(&f->lock, NULL);
    f->greeting = "220 fake.test\r\n";
    f->ehlo = FAKE_EHLO;
    f->helo = "250 fake.test\r\n";
    f->mail = f->rcpt = f->dot = f->rset = "250 2.0.0 ok\r\n";
    f->data = "354 go\r\n";
    for (size_t i = 0; i < FAKE_CONNECTIONS_MAX; i++)
        f->connections[i].fd = -1;
    f->at.addr.v4 = (struct sockaddr_in){.sin_family = AF_INET};
    f->at.addr.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->at.addr_len = sizeof(f->at.addr.v4);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(f->at.addr.v4);
    if (f->listener < 0 || pipe2(f->wake, O_CLOEXEC) != 0 ||
        bind(f->listener, &f->at.addr.any, len) != 0 || listen(f->listener, 128) != 0 ||
        getsockname(f->listener, &f->at.addr.any, &len) != 0) {
        perror("fake server");
        exit(1);
    }
    return f;
}

static inline void fake_start(struct fake *f)
{
    if (pthread_create(&f->thread, NULL, fake_main, f) != 0) exit(1);
}

static inline void fake_set(struct fake *f, const char **reply, const char *text)
{
    pthread_mutex_lock(&f->lock);
    *reply = text;
    pthread_mutex_unlock(&f->lock);
}

static inline unsigned fake_get(struct fake *f, const unsigned *number)
{
    pthread_mutex_lock(&f->lock);
    unsigned value = *number;
    pthread_mutex_unlock(&f->lock);
    return value;
}

/* Ends the thread; what was seen may still be read. */
static inline void fake_stop(struct fake *f)
{
    if (write(f->wake[1], "x", 1) != 1) exit(1);
    pthread_join(f->thread, NULL);
    for (size_t i = 0; i < FAKE_CONNECTIONS_MAX; i++)
        if (f->connections[i].fd >= 0) fake_close(f, &f->connections[i]);
    close(f->listener);
    close(f->wake[0]);
    close(f->wake[1]);
}

static inline void fake_destroy(struct fake *f)
{
    free(f->body);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
