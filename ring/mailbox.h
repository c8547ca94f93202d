/* mailbox.h - messages to the thread of a loop, from any thread.
 *
 * A mail is embedded in what it carries and belongs to the mailbox until deliver() runs on the
 * receiving thread. Posting is lock-free and wakes a sleeping loop. Order is kept between one
 * sender and one receiver. */
#pragma once

#include "ring/loop.h"

struct mail {
    struct mail *next;
    void (*deliver)(struct mail *mail);
};

struct mailbox;

void mailbox_post(struct mailbox *to, struct mail *mail);
/* The mailbox of the loop (the same as loop_mailbox(), by its proper name). */
static inline struct mailbox *mailbox_of(struct loop *loop)
{
    return loop_mailbox(loop);
}

/* For the loop: makes and ends one, and runs what is in it (true when something ran). */
struct mailbox *mailbox_create(struct loop *loop);
void mailbox_destroy(struct mailbox *mailbox);
bool mailbox_drain(struct mailbox *mailbox);
/* True when something waits; the loop asks before it sleeps. */
bool mailbox_has_mail(const struct mailbox *mailbox);
