/* control.c - one thread in poll(2) over a signalfd, standard input and an eventfd that ends it.
 *
 * Each command is one allocation, the mail's until it has been delivered on the loop's thread.
 * control_stop() delivers what was still posted, so its caller's handler must bear that. */
#include "bench/control.h"

#include "ring/base/buf.h"
#include "ring/base/memory.h"
#include "ring/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct control {
    struct loop *loop;
    control_handler *handler;
    void *owner;
    pthread_t thread;
    int signals, end_event, input; /* input: -1 when it is not read, or has ended */
    unsigned stop_signals;
    size_t line_len;
    char line[CONTROL_LINE_BYTES_MAX];
};

struct command {
    struct mail mail;
    struct control *control;
    size_t len;
    char text[];
};

static void command_deliver(struct mail *mail)
{
    struct command *command = CONTAINER_OF(mail, struct command, mail);
    struct control *control = command->control;
    control->handler(control->owner, slice_of(command->text, command->len));
    free(command);
}

static void post(struct control *control, struct slice text)
{
    struct command *command = xmalloc(sizeof(*command) + text.len);
    command->mail = (struct mail){.deliver = command_deliver};
    command->control = control;
    command->len = text.len;
    memcpy(command->text, text.data, text.len);
    mailbox_post(mailbox_of(control->loop), &command->mail);
}

static void on_signal(struct control *control)
{
    struct signalfd_siginfo info;
    if (read(control->signals, &info, sizeof(info)) != (ssize_t)sizeof(info)) return;
    if (info.ssi_signo == SIGUSR1) {
        post(control, SLICE("report"));
        return;
    }
    if (++control->stop_signals > 1) _exit(1);
    post(control, SLICE("stop"));
}

/* Posts the whole lines that are there; a line that fills the buffer without an end is cut. */
static void on_stdin(struct control *control)
{
    ssize_t n = read(control->input, control->line + control->line_len,
                     sizeof(control->line) - control->line_len);
    if (n <= 0) {
        if (n == 0 || errno != EINTR) control->input = -1;
        return;
    }
    struct buf lines = {control->line, control->line_len + (size_t)n, sizeof(control->line), false};
    char *newline;
    while (lines.len > 0 && (newline = memchr(lines.data, '\n', lines.len)) != NULL) {
        size_t len = (size_t)(newline - lines.data);
        struct slice text = slice_trim(slice_of(lines.data, len));
        if (text.len > 0) post(control, text);
        buf_consume(&lines, len + 1);
    }
    control->line_len = lines.len == sizeof(control->line) ? 0 : lines.len;
}

static void *control_run(void *arg)
{
    struct control *control = arg;
    for (;;) {
        struct pollfd files[] = {{.fd = control->end_event, .events = POLLIN},
                                 {.fd = control->signals, .events = POLLIN},
                                 {.fd = control->input, .events = POLLIN}};
        if (poll(files, ARRAY_LEN(files), -1) < 0) continue;
        if (files[0].revents != 0) return NULL;
        if (files[1].revents != 0) on_signal(control);
        if (files[2].revents != 0) on_stdin(control);
    }
}

static void set_of_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGUSR1);
}

void control_block_signals(void)
{
    sigset_t set;
    set_of_signals(&set);
    int err = pthread_sigmask(SIG_BLOCK, &set, NULL);
    ASSERT(err == 0);
    /* A job in the background that reads its terminal would be stopped: let the read fail. */
    signal(SIGTTIN, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

struct control *control_start(struct loop *loop, bool reads_stdin, control_handler *handler,
                              void *owner)
{
    sigset_t set;
    set_of_signals(&set);
    struct control *control = xcalloc(1, sizeof(*control));
    control->loop = loop;
    control->handler = handler;
    control->owner = owner;
    control->signals = signalfd(-1, &set, SFD_CLOEXEC);
    control->end_event = eventfd(0, EFD_CLOEXEC);
    control->input = reads_stdin ? STDIN_FILENO : -1;
    ASSERT(control->signals >= 0);
    ASSERT(control->end_event >= 0);
    int err = pthread_create(&control->thread, NULL, control_run, control);
    ASSERT(err == 0);
    return control;
}

void control_stop(struct control *control)
{
    if (control == NULL) return;
    uint64_t one = 1;
    ssize_t n = write(control->end_event, &one, sizeof(one));
    ASSERT(n == (ssize_t)sizeof(one));
    pthread_join(control->thread, NULL);
    mailbox_drain(mailbox_of(control->loop)); /* what was posted meanwhile */
    close(control->signals);
    close(control->end_event);
    free(control);
}
