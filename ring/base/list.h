/* list.h - an intrusive doubly linked list with a head.
 *
 * A node that is in no list points to itself, so that list_remove() may be called twice. */
#pragma once

#include "ring/base/base.h"

struct list {
    struct list *next, *prev;
};

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)
/* `entry` may be removed from the list inside the loop. */
#define LIST_FOR_EACH(entry, head, type, member)                                                   \
    for (struct list *entry##_at = (head)->next, *entry##_next = entry##_at->next;                 \
         entry##_at != (head) && ((entry) = LIST_ENTRY(entry##_at, type, member), true);           \
         entry##_at = entry##_next, entry##_next = entry##_at->next)

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}
static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_insert_after(struct list *at, struct list *node)
{
    node->prev = at;
    node->next = at->next;
    at->next->prev = node;
    at->next = node;
}
static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_after(head, node);
}
static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_after(head->prev, node);
}
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
/* The first node, removed; NULL when the list is empty. */
static inline struct list *list_pop_front(struct list *head)
{
    if (list_is_empty(head)) return NULL;
    struct list *node = head->next;
    list_remove(node);
    return node;
}
/* Moves all nodes of `from` to the end of `to`. */
static inline void list_append_all(struct list *to, struct list *from)
{
    if (list_is_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}
