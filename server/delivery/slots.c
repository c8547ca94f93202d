/* slots.c - the counts of open connections that all cores share.
 *
 * Everything is under one lock but `waiting_count`, which is written under the lock and read
 * without. Wake-ups go to all waiting users: there are as many as cores at most, and one that no
 * longer wants the slot must not keep it from the others. */
#include "server/delivery/slots.h"

#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
    struct map_node node;
    char *key;
    size_t key_len;
    struct list users;
    uint32_t used;
    uint64_t ticket_next;
    uint64_t token_at_ns;   /* when the next permission comes, if it were taken in time */
    uint32_t waiting_count; /* atomic */
};

struct delivery_slots {
    pthread_mutex_t lock;
    struct map slots;
};

struct delivery_slots *delivery_slots_create(void)
{
    struct delivery_slots *slots = xcalloc(1, sizeof(*slots));
    pthread_mutex_init(&slots->lock, NULL);
    map_init(&slots->slots);
    return slots;
}

void delivery_slots_destroy(struct delivery_slots *slots)
{
    if (slots == NULL) return;
    ASSERT(slots->slots.count == 0);
    map_finish(&slots->slots);
    pthread_mutex_destroy(&slots->lock);
    free(slots);
}

static bool slot_match(const struct map_node *node, struct slice key)
{
    const struct slot *slot = CONTAINER_OF(node, struct slot, node);
    return slice_eq(slice_of(slot->key, slot->key_len), key);
}

static struct slot *find_or_make(struct delivery_slots *slots, struct slice key)
{
    struct map_node *node = map_find(&slots->slots, key, slot_match);
    if (node != NULL) return CONTAINER_OF(node, struct slot, node);
    struct slot *slot = xcalloc(1, sizeof(*slot));
    slot->key = slice_to_cstr(key);
    slot->key_len = key.len;
    list_init(&slot->users);
    map_insert(&slots->slots, slice_of(slot->key, slot->key_len), &slot->node);
    return slot;
}

static void on_mail(struct mail *mail)
{
    struct slots_user *user = CONTAINER_OF(mail, struct slots_user, mail);
    pthread_mutex_lock(&user->slots->lock);
    user->is_posted = false;
    pthread_mutex_unlock(&user->slots->lock);
    user->changed(user);
}

/* Under the lock. */
static void tell(struct slots_user *user)
{
    if (user->is_posted) return;
    user->is_posted = true;
    mailbox_post(mailbox_of(user->loop), &user->mail);
}

/* Under the lock. */
static void set_waiting(struct slots_user *user, bool is_waiting)
{
    if (user->is_waiting == is_waiting) return;
    user->is_waiting = is_waiting;
    if (is_waiting) user->ticket = user->slot->ticket_next++;
    uint32_t count = user->slot->waiting_count;
    __atomic_store_n(&user->slot->waiting_count, is_waiting ? count + 1 : count - 1,
                     __ATOMIC_RELAXED);
}

/* Under the lock. */
static void tell_waiting(const struct slots_user *user)
{
    struct slots_user *other;
    LIST_FOR_EACH(other, &user->slot->users, struct slots_user, node)
    {
        if (other != user && other->is_waiting) tell(other);
    }
}

void slots_join(struct delivery_slots *slots, struct slice key, struct loop *loop,
                void (*changed)(struct slots_user *user), struct slots_user *user)
{
    *user = (struct slots_user){
        .slots = slots, .loop = loop, .changed = changed, .mail = {.deliver = on_mail}};
    pthread_mutex_lock(&slots->lock);
    user->slot = find_or_make(slots, key);
    list_push_back(&user->slot->users, &user->node);
    pthread_mutex_unlock(&slots->lock);
}

bool slots_leave(struct slots_user *user)
{
    ASSERT(user->held == 0);
    struct delivery_slots *slots = user->slots;
    struct slot *empty = NULL;
    pthread_mutex_lock(&slots->lock);
    set_waiting(user, false);
    tell_waiting(user);
    bool is_free = !user->is_posted;
    if (is_free) {
        list_remove(&user->node);
        if (list_is_empty(&user->slot->users)) {
            empty = user->slot;
            map_remove(&slots->slots, &empty->node);
        }
    }
    pthread_mutex_unlock(&slots->lock);
    if (empty != NULL) {
        ASSERT(empty->used == 0);
        free(empty->key);
        free(empty);
    }
    return is_free;
}

/* Under the lock: how many others have wished for longer. */
static uint32_t count_ahead(const struct slots_user *user)
{
    uint32_t count = 0;
    struct slots_user *other;
    LIST_FOR_EACH(other, &user->slot->users, struct slots_user, node)
    {
        bool is_older = !user->is_waiting || other->ticket < user->ticket;
        if (other != user && other->is_waiting && is_older) count++;
    }
    return count;
}

bool slots_take(struct slots_user *user, uint32_t limit)
{
    ASSERT(limit > 0);
    struct slot *slot = user->slot;
    pthread_mutex_lock(&user->slots->lock);
    bool has_room = slot->used + count_ahead(user) < limit;
    if (has_room) {
        slot->used++;
        user->held++;
        set_waiting(user, false);
    } else if (!user->is_waiting) {
        set_waiting(user, true);
        struct slots_user *other;
        LIST_FOR_EACH(other, &slot->users, struct slots_user, node)
        {
            if (other != user && other->held > 0) tell(other);
        }
    }
    pthread_mutex_unlock(&user->slots->lock);
    return has_room;
}

void slots_wait_cancel(struct slots_user *user)
{
    if (!user->is_waiting) return; /* only this core writes it */
    pthread_mutex_lock(&user->slots->lock);
    set_waiting(user, false);
    tell_waiting(user); /* they may be next now */
    pthread_mutex_unlock(&user->slots->lock);
}

void slots_give(struct slots_user *user)
{
    struct slot *slot = user->slot;
    pthread_mutex_lock(&user->slots->lock);
    ASSERT(user->held > 0 && slot->used > 0);
    user->held--;
    slot->used--;
    struct slots_user *other;
    LIST_FOR_EACH(other, &slot->users, struct slots_user, node)
    {
        if (other->is_waiting) tell(other);
    }
    pthread_mutex_unlock(&user->slots->lock);
}

bool slots_are_wanted(const struct slots_user *user)
{
    uint32_t waiting = __atomic_load_n(&user->slot->waiting_count, __ATOMIC_RELAXED);
    return waiting > (user->is_waiting ? 1u : 0u);
}

uint32_t slots_share(const struct slots_user *user, uint32_t limit)
{
    uint32_t users = 0;
    struct slots_user *other;
    pthread_mutex_lock(&user->slots->lock);
    LIST_FOR_EACH(other, &user->slot->users, struct slots_user, node)
    {
        if (other->held > 0 || other->is_waiting) users++;
    }
    pthread_mutex_unlock(&user->slots->lock);
    return limit / MAX(users, 1u);
}

uint64_t slots_take_token(struct slots_user *user, uint32_t per_s, uint64_t now_ns)
{
    ASSERT(per_s > 0);
    struct slot *slot = user->slot;
    uint64_t step_ns = NS_PER_S / per_s, wait_ns = 0;
    pthread_mutex_lock(&user->slots->lock);
    uint64_t oldest_ns = now_ns > NS_PER_S ? now_ns - NS_PER_S : 0;
    uint64_t at_ns = MAX(slot->token_at_ns, oldest_ns + step_ns);
    if (at_ns <= now_ns) {
        slot->token_at_ns = at_ns + step_ns;
    } else {
        wait_ns = at_ns - now_ns;
    }
    pthread_mutex_unlock(&user->slots->lock);
    return wait_ns;
}
