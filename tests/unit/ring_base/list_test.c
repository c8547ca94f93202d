/* list_test.c - the intrusive list. */
#include "ring/base/list.h"
#include "tests/support/test.h"

struct item {
    char name;
    struct list node;
};

static void check_names(const char *name, const struct list *head, const char *want)
{
    char names[16];
    struct buf b = {names, 0, sizeof(names), false};
    for (const struct list *at = head->next; at != head; at = at->next) {
        CHECK(at->next->prev == at && at->prev->next == at);
        buf_append_char(&b, LIST_ENTRY(at, const struct item, node)->name);
    }
    CHECK_BUF(name, b, want);
}

TEST(nodes_come_and_go_in_order)
{
    struct item items[4] = {{'a', {0}}, {'b', {0}}, {'c', {0}}, {'d', {0}}};
    struct list head, other;
    list_init(&head);
    list_init(&other);
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        list_init(&items[i].node);
        list_remove(&items[i].node); /* in no list: does nothing */
    }
    CHECK(list_is_empty(&head));
    CHECK(list_pop_front(&head) == NULL);
    list_push_back(&head, &items[1].node);
    list_push_front(&head, &items[0].node);
    list_push_back(&head, &items[3].node);
    list_insert_after(&items[1].node, &items[2].node);
    check_names("pushed", &head, "abcd");
    list_remove(&items[1].node);
    list_remove(&items[1].node);
    check_names("removed", &head, "acd");
    list_push_back(&other, &items[1].node);
    list_append_all(&other, &head);
    check_names("moved", &other, "bacd");
    check_names("emptied", &head, "");
    list_append_all(&other, &head);
    check_names("nothing moved", &other, "bacd");
    CHECK(list_pop_front(&other) == &items[1].node);
    CHECK(list_is_empty(&items[1].node));
}

TEST(a_walk_may_remove_what_it_stands_on)
{
    struct item items[4] = {{'a', {0}}, {'b', {0}}, {'c', {0}}, {'d', {0}}};
    struct list head;
    list_init(&head);
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        list_push_back(&head, &items[i].node);
    }
    struct item *item;
    LIST_FOR_EACH(item, &head, struct item, node)
    {
        if (item->name == 'a' || item->name == 'c') list_remove(&item->node);
    }
    check_names("left", &head, "bd");
}
