/* slots.h - how many connections each destination has open, over all cores.
 *
 * A core joins the slots of a destination as a user, takes a slot before it opens a connection, and
 * gives it back when the connection has closed. A user that is refused waits; users are told by
 * mail, on their own core, when a slot came free, or when others wait and they could give one back.
 *
 * The only state that cores share on the sending side. A lock guards it, taken when a connection
 * opens or closes; per message there is one relaxed load (slots_are_wanted). */
#pragma once

#include "ring/base/map.h"
#include "ring/mailbox.h"
#include "server/delivery/delivery.h"

struct slot; /* of one destination, over all cores */

/* One core's part in one destination; embedded in that. */
struct slots_user {
    struct list node; /* in slot->users */
    struct delivery_slots *slots;
    struct slot *slot;
    struct loop *loop;
    struct mail mail;
    void (*changed)(struct slots_user *user); /* runs on the user's core, by mail */
    uint32_t held;
    uint64_t ticket; /* while waiting: the order of the wishes */
    bool is_waiting;
    bool is_posted; /* `mail` is on its way: the user must live on */
};

void slots_join(struct delivery_slots *slots, struct slice key, struct loop *loop,
                void (*changed)(struct slots_user *user), struct slots_user *user);
/* False while a mail is on its way: then changed() comes, and the call is made again. Every slot
 * must have been given back. */
MUST_USE bool slots_leave(struct slots_user *user);
/* Takes one of `limit` slots. False: all are taken or wished for by who waits longer; the user
 * waits from now on, and changed() runs when it is worth to ask again. */
MUST_USE bool slots_take(struct slots_user *user, uint32_t limit);
/* The user does not want a slot any more. */
void slots_wait_cancel(struct slots_user *user);
void slots_give(struct slots_user *user);
/* True when another core waits for a slot of this destination. */
bool slots_are_wanted(const struct slots_user *user);
/* How many slots this user may keep while others wait: an even part; 0 when there are fewer slots
 * than cores that use them, so that they take turns. */
uint32_t slots_share(const struct slots_user *user, uint32_t limit);
/* Takes one of `per_s` permissions to send a message, which come evenly, a second's worth at most
 * in store, for all cores together. 0: taken; else the nanoseconds until there is one. `now_ns`: a
 * monotonic clock that all cores share. Locks: for destinations that have such a limit. */
uint64_t slots_take_token(struct slots_user *user, uint32_t per_s, uint64_t now_ns);
