/* Intrusive doubly linked ring: a list is a node that links to itself when empty. A node in no list
 * may be all zero. */
#ifndef PROXY_NET_LIST_H
#define PROXY_NET_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_ITEM(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next != NULL;
}

static inline void list_insert_after(struct list *at, struct list *node)
{
    node->next = at->next;
    node->prev = at;
    at->next->prev = node;
    at->next = node;
}

static inline void list_push_front(struct list *l, struct list *node)
{
    list_insert_after(l, node);
}

static inline void list_push_back(struct list *l, struct list *node)
{
    list_insert_after(l->prev, node);
}

static inline void list_unlink(struct list *node)
{
    if (node->next == NULL)
        return;
    node->next->prev = node->prev;
    node->prev->next = node->next;
    node->next = node->prev = NULL;
}

#endif
