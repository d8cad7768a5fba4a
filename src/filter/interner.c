/* An open-addressing table of numbers, at most half full, beside the array of texts. A slot holds
 * 32 bits of the hash too, so that a text that is not there is seldom compared with another. */
#include "filter/interner.h"

#include <assert.h>
#include <stdlib.h>

#include "arena.h"
#include "hash.h"

struct interner_slot {
    uint32_t number; /* INTERNER_NONE = free */
    uint32_t hash;
};

struct interner {
    struct arena text;
    struct bytes *items;
    uint32_t n, room;
    struct interner_slot *slots;
    uint32_t mask;
};

static struct interner_slot *slots_create(uint32_t size)
{
    struct interner_slot *slots = malloc(size * sizeof(*slots));
    for (uint32_t i = 0; slots != NULL && i < size; i++)
        slots[i].number = INTERNER_NONE;
    return slots;
}

struct interner *interner_create(void)
{
    enum { SLOTS_FIRST = 16 };
    struct interner *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->mask = SLOTS_FIRST - 1;
    t->slots = slots_create(SLOTS_FIRST);
    if (t->slots == NULL) {
        free(t);
        return NULL;
    }
    return t;
}

void interner_destroy(struct interner *t)
{
    if (t == NULL)
        return;
    arena_dispose(&t->text);
    free(t->items);
    free(t->slots);
    free(t);
}

/* The slot that holds the text, or the free one where it belongs. */
static struct interner_slot *place_of(const struct interner *t, struct bytes text, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & t->mask;
    while (t->slots[i].number != INTERNER_NONE &&
           !(t->slots[i].hash == (uint32_t)(hash >> 32) &&
             bytes_equal(t->items[t->slots[i].number], text)))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

static int grow_slots(struct interner *t)
{
    uint32_t size = (t->mask + 1) * 2;
    struct interner_slot *larger = size > t->mask ? slots_create(size) : NULL;
    if (larger == NULL)
        return -1;
    for (uint32_t n = 0; n < t->n; n++) {
        uint64_t hash = hash_bytes(t->items[n], 0);
        uint32_t i = (uint32_t)hash & (size - 1);
        while (larger[i].number != INTERNER_NONE)
            i = (i + 1) & (size - 1);
        larger[i] = (struct interner_slot){n, (uint32_t)(hash >> 32)};
    }
    free(t->slots);
    t->slots = larger;
    t->mask = size - 1;
    return 0;
}

uint32_t interner_add(struct interner *t, struct bytes text)
{
    uint64_t hash = hash_bytes(text, 0);
    struct interner_slot *place = place_of(t, text, hash);
    if (place->number != INTERNER_NONE)
        return place->number;
    if (t->n == t->room) {
        uint32_t room = t->room == 0 ? 16 : t->room * 2;
        struct bytes *larger = realloc(t->items, room * sizeof(*larger));
        if (larger == NULL)
            return INTERNER_NONE;
        t->items = larger;
        t->room = room;
    }
    if (t->n >= (t->mask + 1) / 2) {
        if (grow_slots(t) != 0)
            return INTERNER_NONE;
        place = place_of(t, text, hash);
    }
    char *copy = arena_alloc(&t->text, text.len);
    if (text.len > 0)
        memcpy(copy, text.base, text.len);
    t->items[t->n] = (struct bytes){copy, text.len};
    *place = (struct interner_slot){t->n, (uint32_t)(hash >> 32)};
    return t->n++;
}

uint32_t interner_find(const struct interner *t, struct bytes text)
{
    return place_of(t, text, hash_bytes(text, 0))->number;
}

uint32_t interner_count(const struct interner *t)
{
    return t->n;
}

struct bytes interner_text(const struct interner *t, uint32_t number)
{
    assert(number < t->n);
    return t->items[number];
}
