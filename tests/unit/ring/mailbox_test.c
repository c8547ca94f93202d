/* Mails: order, wake-ups, many senders at once. */
#include "ring/mailbox.h"
#include "tests/unit/ring/ring_support.h"

#include <pthread.h>

enum { SENDERS = 4, MAILS = 20000 };

struct numbered {
    struct mail mail;
    unsigned sender, number;
};

static unsigned received, next_number[SENDERS];
static struct loop *reply_loop;

static void deliver(struct mail *mail)
{
    struct numbered *numbered = CONTAINER_OF(mail, struct numbered, mail);
    CHECK_EQ("order of a sender", numbered->number, next_number[numbered->sender]);
    next_number[numbered->sender]++;
    received++;
}

struct sender {
    pthread_t thread;
    struct mailbox *to;
    struct numbered *mails;
    unsigned index;
};

static void *send_all(void *argument)
{
    struct sender *sender = argument;
    for (unsigned i = 0; i < MAILS; i++) {
        sender->mails[i] = (struct numbered){.mail.deliver = deliver, sender->index, i};
        mailbox_post(sender->to, &sender->mails[i].mail);
        if (i % 1000 == 999) { /* lets the loop fall asleep now and then */
            struct timespec moment = {0, 200000};
            nanosleep(&moment, NULL);
        }
    }
    return NULL;
}

TEST(many_senders_keep_their_order_and_lose_nothing)
{
    struct loop *loop = support_loop(8, 16, 4);
    CHECK(loop_mailbox(loop) == mailbox_of(loop));
    struct sender senders[SENDERS];
    received = 0;
    memset(next_number, 0, sizeof(next_number));
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i].to = mailbox_of(loop);
        senders[i].index = i;
        senders[i].mails = malloc(MAILS * sizeof(struct numbered));
        CHECK(senders[i].mails != NULL);
        CHECK(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]) == 0);
    }
    /* Without a timer: a lost wake-up would hang here, and the test's time limit tells. */
    while (received < SENDERS * MAILS)
        CHECK_EQ("turn", loop_turn(loop, true), 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        CHECK(pthread_join(senders[i].thread, NULL) == 0);
        free(senders[i].mails);
    }
    CHECK(!mailbox_has_mail(mailbox_of(loop)));
    CHECK(!mailbox_drain(mailbox_of(loop)));
    loop_destroy(loop);
}

static void deliver_and_post(struct mail *mail)
{
    struct numbered *numbered = CONTAINER_OF(mail, struct numbered, mail);
    received++;
    if (--numbered->number > 0) mailbox_post(mailbox_of(reply_loop), mail);
}

TEST(a_mail_posted_by_a_mail_comes_in_the_next_turn)
{
    struct loop *loop = reply_loop = support_loop(8, 16, 4);
    struct numbered numbered = {.mail.deliver = deliver_and_post, .number = 3};
    received = 0;
    mailbox_post(mailbox_of(loop), &numbered.mail);
    CHECK(mailbox_has_mail(mailbox_of(loop)));
    for (unsigned i = 1; i <= 3; i++) {
        CHECK_EQ("turn", loop_turn(loop, true), 0);
        CHECK_EQ("one a turn", received, i);
    }
    loop_destroy(loop);
}

static void deliver_and_free(struct mail *mail)
{
    received++;
    free(CONTAINER_OF(mail, struct numbered, mail));
}

TEST(a_mail_may_be_freed_by_its_delivery)
{
    struct loop *loop = support_loop(8, 16, 4);
    received = 0;
    for (unsigned i = 0; i < 10; i++) {
        struct numbered *numbered = malloc(sizeof(*numbered));
        CHECK(numbered != NULL);
        numbered->mail.deliver = deliver_and_free;
        mailbox_post(mailbox_of(loop), &numbered->mail);
    }
    CHECK_EQ("turn", loop_turn(loop, true), 0);
    CHECK_EQ("all in one turn", received, 10);
    loop_destroy(loop);
}
