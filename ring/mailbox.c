/* mailbox.c - a stack that any thread pushes to and one thread empties.
 *
 * Pushing is one compare-and-swap. The receiver takes the whole stack with one exchange and
 * reverses it, which restores the order of each sender. A sender wakes the loop only after its
 * push, and the loop empties the stack only after it has noted that it is awake: so no mail is
 * left behind (loop_wake() has the other half of this). */
#include "ring/mailbox.h"

#include "ring/base/memory.h"

#include <stdlib.h>

struct mailbox {
    struct loop *loop;
    /* Written by all threads; on a line of its own. */
    _Alignas(64) struct mail *newest;
};

struct mailbox *mailbox_create(struct loop *loop)
{
    struct mailbox *mailbox = aligned_alloc(_Alignof(struct mailbox), sizeof(*mailbox));
    ASSERT(mailbox != NULL);
    *mailbox = (struct mailbox){.loop = loop};
    return mailbox;
}

void mailbox_destroy(struct mailbox *mailbox)
{
    free(mailbox);
}

void mailbox_post(struct mailbox *to, struct mail *mail)
{
    ASSERT(mail->deliver != NULL);
    struct mail *newest = __atomic_load_n(&to->newest, __ATOMIC_RELAXED);
    do {
        mail->next = newest;
    } while (!__atomic_compare_exchange_n(&to->newest, &newest, mail, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
    /* Who pushes onto a mail that waits already need not wake: the sender of the first one does,
     * and the receiver takes all. */
    if (newest == NULL) loop_wake(to->loop);
}

bool mailbox_has_mail(const struct mailbox *mailbox)
{
    return __atomic_load_n(&mailbox->newest, __ATOMIC_RELAXED) != NULL;
}

bool mailbox_drain(struct mailbox *mailbox)
{
    if (!mailbox_has_mail(mailbox)) return false;
    struct mail *mail = __atomic_exchange_n(&mailbox->newest, NULL, __ATOMIC_ACQUIRE);
    struct mail *oldest = NULL;
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail->next = oldest;
        oldest = mail;
        mail = next;
    }
    while (oldest != NULL) {
        struct mail *next = oldest->next; /* deliver() may free the mail */
        oldest->deliver(oldest);
        oldest = next;
    }
    return true;
}
