/* A read-mostly map from a 64-bit hash to a small number: open addressing, a quarter to half full.
 * Filled once, then read by any thread. Two names with one hash count as one name: at 64 bits and
 * thousands of names that does not happen. */
#ifndef LOADTEST_LOOKUP_H
#define LOADTEST_LOOKUP_H

#include <stdint.h>
#include <stdlib.h>

#include "hash.h"

struct lookup {
    uint64_t *keys; /* 0 = empty */
    uint32_t *values;
    uint32_t mask;
};

static inline void lookup_init(struct lookup *l, uint32_t names_max)
{
    uint32_t size = 16;
    while (size < names_max * 2 + 1)
        size *= 2;
    l->keys = calloc(size, sizeof(*l->keys));
    l->values = calloc(size, sizeof(*l->values));
    if (l->keys == NULL || l->values == NULL)
        abort();
    l->mask = size - 1;
}

static inline void lookup_dispose(struct lookup *l)
{
    free(l->keys);
    free(l->values);
}

/* The first value added for a key stays. */
static inline void lookup_add(struct lookup *l, uint64_t key, uint32_t value)
{
    key += key == 0;
    uint32_t at = (uint32_t)hash_mix(key) & l->mask;
    while (l->keys[at] != 0 && l->keys[at] != key)
        at = (at + 1) & l->mask;
    if (l->keys[at] == 0) {
        l->keys[at] = key;
        l->values[at] = value;
    }
}

static inline int64_t lookup_find(const struct lookup *l, uint64_t key) /* -1 = not there */
{
    key += key == 0;
    uint32_t at = (uint32_t)hash_mix(key) & l->mask;
    while (l->keys[at] != 0) {
        if (l->keys[at] == key)
            return l->values[at];
        at = (at + 1) & l->mask;
    }
    return -1;
}

#endif
