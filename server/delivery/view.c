/* view.c - shows the destinations of a core to the control thread.
 *
 *     control thread: asks by mail, waits ----> core: copies, signals ----> takes the copy
 *
 * The question is held by both sides: who leaves last frees it, so that a core that answers too
 * late touches nothing that is gone. */
#include "server/delivery/delivery_internal.h"
#include "server/delivery/destination.h"

#include "ring/mailbox.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct question {
    struct mail mail;
    struct delivery *delivery;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool is_answered;
    unsigned holders; /* under the lock */
    struct destination_view *views;
    size_t count;
};

void delivery_view_free(struct destination_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(views[i].name);
        free(views[i].route);
        free(views[i].reason);
    }
    free(views);
}

static void leave(struct question *question)
{
    pthread_mutex_lock(&question->lock);
    bool is_last = --question->holders == 0;
    pthread_mutex_unlock(&question->lock);
    if (!is_last) return;
    delivery_view_free(question->views, question->count);
    pthread_cond_destroy(&question->answered);
    pthread_mutex_destroy(&question->lock);
    free(question);
}

/* Wall time of a loop time that is to come. */
static uint64_t wall_of(const struct loop *loop, uint64_t at_ns)
{
    return loop_wall_ms(loop) + (at_ns - loop_now_ns(loop)) / NS_PER_MS;
}

static void view_hosts(const struct destination *d, struct destination_view *view)
{
    const struct loop *loop = d->delivery->loop;
    uint64_t now_ns = loop_now_ns(loop), until_ns = UINT64_MAX;
    struct host *host;
    bool is_up = list_is_empty(&d->hosts) && d->search.down_until_ns <= now_ns;
    LIST_FOR_EACH(host, &d->hosts, struct host, node)
    {
        if (host->is_proven || host->down_until_ns <= now_ns) is_up = true;
        until_ns = MIN(until_ns, host->down_until_ns);
    }
    if (is_up) return;
    if (list_is_empty(&d->hosts)) until_ns = d->search.down_until_ns;
    view->condition = DESTINATION_DOWN;
    view->until_ms = wall_of(loop, until_ns);
}

static void view_one(struct destination *d, struct destination_view *view)
{
    *view = (struct destination_view){
        .name = xstrdup(d->name),
        .route = xstrdup(d->route),
        .condition = DESTINATION_GOOD,
        .waiting = d->waiting_count,
        .connections = d->client_count,
    };
    const struct suspension *suspension = suspensions_find(
        d->delivery->suspensions, slice_of_cstr(d->name), loop_wall_ms(d->delivery->loop));
    if (suspension != NULL) {
        view->condition = DESTINATION_SUSPENDED;
        view->until_ms = suspension->until_ms;
        view->reason = xstrdup(suspension->reason);
        return;
    }
    view_hosts(d, view);
    view->reason = slice_to_cstr(slice_of(d->reason, d->reason_len));
}

static void on_question(struct mail *mail)
{
    struct question *question = CONTAINER_OF(mail, struct question, mail);
    struct delivery *delivery = question->delivery;
    size_t count = 0;
    struct destination_view *views = xcalloc(delivery->destinations.count + 1, sizeof(*views));
    struct destination *d;
    LIST_FOR_EACH(d, &delivery->destination_list, struct destination, all)
    {
        view_one(d, &views[count++]);
    }
    pthread_mutex_lock(&question->lock);
    question->views = views;
    question->count = count;
    question->is_answered = true;
    pthread_cond_signal(&question->answered);
    pthread_mutex_unlock(&question->lock);
    leave(question);
}

static struct question *ask(struct delivery *delivery)
{
    struct question *question = xcalloc(1, sizeof(*question));
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&question->lock, NULL);
    pthread_cond_init(&question->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);
    question->delivery = delivery;
    question->holders = 2;
    question->mail.deliver = on_question;
    mailbox_post(mailbox_of(delivery->loop), &question->mail);
    return question;
}

int delivery_view(struct delivery *delivery, struct destination_view **views_out, size_t *count_out)
{
    struct question *question = ask(delivery);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += DELIVERY_VIEW_MS_MAX / 1000;
    int err = 0;
    pthread_mutex_lock(&question->lock);
    while (!question->is_answered && err == 0)
        err = -pthread_cond_timedwait(&question->answered, &question->lock, &until);
    if (question->is_answered) err = 0;
    *views_out = question->views;
    *count_out = question->count;
    question->views = NULL;
    question->count = 0;
    pthread_mutex_unlock(&question->lock);
    leave(question);
    return err;
}
